// Tokens end: a client that refreshes stays, one that does not is closed when its grace is over.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { startBroker, until } from "./broker.mjs";
import {
  Raw, WebSocket, assertClosedOnTime, hears, listen2, listen2protobuf, listen3, listen3protobuf, listen4, listen4protobuf,
  listen5, listen5protobuf, token,
} from "./clients.mjs";

/** A WebSocket class that also keeps every frame that came and every close, with code, reason and time. */
function recorded() {
  const seen = { frames: [], closes: [] };
  class Recorded extends WebSocket {
    constructor(...parameters) {
      super(...parameters);
      this.on("message", (data) => seen.frames.push(data.toString()));
      this.on("close", (code, reason) => seen.closes.push({ code, reason: reason.toString(), at_ms: Date.now() }));
    }
  }
  return { seen, Recorded };
}

describe("expiry", { concurrency: true }, () => {
  const fresh = () => token("42", { seconds: 3 });
  const refreshing = [
    ["centrifuge-js 2.8.5", listen2, { onRefresh: (_, answer) => answer({ status: 200, data: { token: fresh() } }) }],
    ["centrifuge-js 5", listen5, { getToken: async () => fresh() }],
  ];
  for (const [name, listen, options] of refreshing) {
    test(`${name} refreshes a 3-second token and loses none of 200 publications`, async (t) => {
      const broker = await startBroker(t);
      const listener = await listen(t, broker, "chat", { token: fresh(), ...options });
      const begin = performance.now();
      for (let number = 0; number < 200; number++) {
        await broker.publish("chat", number);
        await pause(Math.max(0, begin + (number + 1) * 50 - performance.now()));
      }
      await hears(listener, 200);
      await pause(200);
      assert.deepEqual(listener.heard.map(({ data }) => data), [...Array(200).keys()]);
      assert.ok(performance.now() - begin >= 10_000);
      assert.equal(listener.connects.length, 1, "one connection all the time");
      assert.deepEqual(listener.ends, []);
    });
  }

  // The current ones send connect and subscribe in one frame: the subscribe must not end what connect was told to mend.
  const returning = [
    ["centrifuge-js 2.8.5", listen2], ["centrifuge-js 2.8.5 in Protobuf", listen2protobuf],
    ["centrifuge-js 3", listen3], ["centrifuge-js 3 in Protobuf", listen3protobuf],
    ["centrifuge-js 4", listen4], ["centrifuge-js 4 in Protobuf", listen4protobuf],
    ["centrifuge-js 5", listen5], ["centrifuge-js 5 in Protobuf", listen5protobuf],
  ];
  for (const [name, listen] of returning) {
    test(`${name} comes with a token that has expired, asks for another and is subscribed`, async (t) => {
      const broker = await startBroker(t);
      let asked = 0;
      const another = () => { asked += 1; return token("42"); };
      const getToken = async () => another();
      const onRefresh = (_, answer) => answer({ status: 200, data: { token: another() } });
      const sources = listen === listen2 || listen === listen2protobuf ? { onRefresh } : { getToken };
      const listener = await listen(t, broker, "chat", { token: token("42", { seconds: -60 }), ...sources });
      assert.equal(asked, 1);
      await broker.publish("chat", 1);
      assert.deepEqual(await hears(listener, 1), [1]);
    });
  }

  test("centrifuge-js 5 with a getToken that answers too late is closed, then told 109", async (t) => {
    const broker = await startBroker(t);
    const text = fresh();
    const { seen, Recorded } = recorded();
    const late = () => new Promise((resolve) => setTimeout(() => resolve(fresh()), 40_000).unref());
    const listener = await listen5(t, broker, "chat", { token: text, getToken: late, websocket: Recorded });
    await until(() => seen.closes.length, "the close", 35_000);
    const [{ code, reason, at_ms }] = seen.closes;
    assert.deepEqual({ code, reason }, { code: 3005, reason: "connection expired" });
    assertClosedOnTime(at_ms, text);
    // The SDK returns with the token it has, the one that expired.
    await until(() => listener.errors.some(({ error }) => error.code === 109), "error 109");
    assert.ok(seen.frames.some((frame) => frame.includes('"code":109')));
  });

  for (const generation of ["1", "2"]) {
    test(`a raw client of version ${generation} that never refreshes is closed, then told 109`, async (t) => {
      const broker = await startBroker(t);
      const text = fresh();
      const login = generation === "1" ? { id: 1, params: { token: text } } : { id: 1, connect: { token: text } };
      const raw = await Raw.open(t, broker);
      const { exp } = JSON.parse(Buffer.from(text.split(".")[1], "base64url").toString());
      const left_s = () => exp - Math.floor(Date.now() / 1000);
      const most_s = left_s();
      const answer = await raw.ask(login);
      const result = answer.connect ?? answer.result;
      assert.equal(result.expires, true);
      assert.ok(left_s() <= result.ttl && result.ttl <= most_s, `ttl ${result.ttl}, ${left_s()} to ${most_s}`);
      // Version 2 must answer pings, or it would be closed for silence.
      raw.socket.on("message", (data) => { if (data.toString() === "{}") raw.socket.send("{}"); });
      const { code, reason, at_ms } = await raw.closed;
      assert.equal(code, 3005);
      if (generation === "1") assert.deepEqual(JSON.parse(reason), { reason: "expired", reconnect: true });
      else assert.equal(reason, "connection expired");
      assertClosedOnTime(at_ms, text);
      assert.equal((await broker.metrics()).sum("polycast_connections_expired_total"), 1);

      const refused = await (await Raw.open(t, broker)).ask(login);
      assert.equal(refused.id, 1);
      assert.equal(refused.error.code, 109);
      assert.equal(refused.error.message, "token expired");
      assert.equal(refused.connect ?? refused.result, undefined);
    });
  }

  test("a browser from an origin that is not listed is refused", async (t) => {
    const broker = await startBroker(t, { server: 'allowed_origins = ["http://elsewhere.test"]' });
    const attempt = Raw.open(t, broker, { socket: { origin: "http://127.0.0.1:1" } });
    await assert.rejects(attempt, /403/);
    await Raw.open(t, broker, { socket: { origin: "http://elsewhere.test" } });
    await until(() => broker.output().includes("allowed_origins"), "the log names the setting");
  });
});
