// What each class of bad token is told, over the wire, in both generations of the protocol.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { describe, test } from "node:test";
import { SECRET, startBroker, until } from "../sdk/broker.mjs";
import { Raw, token, within } from "../sdk/clients.mjs";

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** Any header and payload, rightly signed. */
function signed(header, payload) {
  const text = `${encode(header)}.${encode(payload)}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}

const HS256 = { alg: "HS256", typ: "JWT" };

/** The answer to a connect: an error's code, the code of a close, or the result. */
async function answer(t, broker, generation, text) {
  const raw = await Raw.open(t, broker);
  raw.send(generation === 1 ? { id: 1, params: { token: text } } : { id: 1, connect: { token: text } });
  const reply = raw.next().then((message) => message.error?.code ?? message.connect ?? message.result, () => undefined);
  return within(Promise.race([reply, raw.closed.then((end) => end)]), "an answer");
}

/** Row, class, tokens, and what version 2 is told; version 1 has its own number for the same close. */
const CLASSES = [
  ["T2.1", "no token", [""], 3501],
  ["T2.2", "malformed, too large", ["a.b", `${token("42")} `, token("x".repeat(20_000)), signed({ ...HS256, crit: ["x"] }, { sub: "42" })], 3500],
  ["T2.3", "another algorithm", [signed({ alg: "none" }, { sub: "42" }), signed({ alg: "HS512" }, { sub: "42" })], 3500],
  ["T2.4", "bad signature", [token("42", { secret: "another" }), token("42", { secret: "another", seconds: -5 })], 3500],
  ["T2.5", "bad claim", [signed(HS256, { sub: 42 }), signed(HS256, { sub: "42", exp: "soon" }), signed(HS256, { sub: "42", channel: "c" })], 3500],
  ["T2.6", "expired", [token("42", { seconds: -1 })], 109],
  ["T2.7", "not yet valid", [token("42", { nbf: Math.floor(Date.now() / 1000) + 60 })], 109],
];

/** Centrifuge's close codes of version 2 and what version 1 calls them. */
const OLDER = { 3500: 3002, 3501: 3003, 3507: 3003, 109: 109 };

describe("tokens", { concurrency: true }, () => {
  for (const [row, name, texts, want] of CLASSES) {
    test(`${row} ${name}: ${want}`, async (t) => {
      const broker = await startBroker(t);
      for (const text of texts) {
        for (const generation of [1, 2]) {
          const wanted = generation === 1 ? OLDER[want] : want;
          const got = await answer(t, broker, generation, text);
          assert.equal(got.code ?? got, wanted, `version ${generation}: ${text.slice(0, 60)} ${JSON.stringify(got)}`);
          if (got.code && generation === 1) {
            // Version 1 looks only at `reconnect`: with a plain reason it would return for ever.
            assert.equal(JSON.parse(got.reason).reconnect, false);
          }
        }
      }
    });
  }

  test("T2.8 no user: anonymous where that is allowed, else 3507", async (t) => {
    const open = await startBroker(t);
    const closed = await startBroker(t, { app: "[apps.centrifuge]\ndisallow_anonymous_connection_tokens = true" });
    for (const payload of [{ sub: "" }, {}]) {
      for (const generation of [1, 2]) {
        assert.ok((await answer(t, open, generation, signed(HS256, payload))).client);
        const refused = await answer(t, closed, generation, signed(HS256, payload));
        assert.equal(refused.code, generation === 1 ? OLDER[3507] : 3507);
      }
    }
  });

  test("T3.41 refresh: another user 3500, expired 3005, the same token again is fine", async (t) => {
    const broker = await startBroker(t);
    const first = token("42", { seconds: 60 });
    const refresh = async (text) => {
      const raw = await Raw.open(t, broker);
      await raw.ask({ id: 1, connect: { token: first } });
      raw.send({ id: 2, refresh: { token: text } });
      const reply = raw.next().then((message) => message, () => undefined);
      return within(Promise.race([reply, raw.closed]), "an answer");
    };
    assert.equal((await refresh(token("43", { seconds: 60 }))).code, 3500);
    assert.equal((await refresh(token("42", { seconds: -1 }))).code, 3005);
    assert.equal((await refresh(token("42", { seconds: 60, secret: "another" }))).code, 3500);
    assert.equal((await refresh("")).code, 3501);
    assert.equal((await refresh(first)).refresh.expires, true);
    assert.equal((await refresh(token("42"))).refresh.expires, undefined, "a token without exp ends expiry");
  });

  test("every refusal is logged with its class and a precise reason", async (t) => {
    const broker = await startBroker(t);
    const logged = async (pattern) => until(() => pattern.test(broker.output()), () => `${pattern}\n${broker.output()}`);
    for (const [text, pattern] of [
      ["", /no token/],
      ["a.b", /malformed.*exactly three segments/],
      [signed(HS256, { sub: "42", exp: "soon" }), /bad_claim.*exp is a string, must be a number/],
      [signed(HS256, { sub: "42", channel: "c" }), /bad_claim.*channel must not be in a connection token/],
      [signed(HS256, { sub: "42", exp: 7 }), /expired.*exp is 7, and it is \d+ now/],
      [signed(HS256, { sub: "42", expire_at: 7 }), /connect refused.*42.*expired/],
      [signed(HS256, { sub: "42", channels: ["none:c"] }), /connect refused.*42.*unknown channel/],
    ]) {
      await answer(t, broker, 2, text);
      await logged(pattern);
    }
    for (const [command, pattern] of [
      [{ refresh: { token: token("43") } }, /bad_claim.*sub is another than that of the connection/],
      [{ subscribe: { channel: "$c", token: signed(HS256, { sub: "42", channel: "$d" }) } }, /bad_claim.*channel is another/],
      [{ subscribe: { channel: "$c", token: signed({ alg: "none" }, {}) } }, /alg_not_allowed/],
    ]) {
      const raw = await Raw.open(t, broker);
      await raw.ask({ id: 1, connect: { token: token("42") } });
      raw.send({ id: 2, ...command });
      await logged(pattern);
    }
  });

  test("the previous secret stays valid beside the new one", async (t) => {
    const broker = await startBroker(t, { secret: "new", app: 'token_hmac_previous_secret_key = "old"' });
    for (const secret of ["new", "old"]) assert.ok((await answer(t, broker, 2, token("42", { secret }))).client);
    assert.equal((await answer(t, broker, 2, token("42", { secret: "older" }))).code, 3500);
  });
});
