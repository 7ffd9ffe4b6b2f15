// Clients that speak the protocol and misuse it, named by the row of the threat table they show.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { OPEN_NAMESPACE, startBroker } from "../sdk/broker.mjs";
import { Raw, hears, listen5, token, within } from "../sdk/clients.mjs";

async function connected(t, broker, user = "42") {
  const raw = await Raw.open(t, broker);
  await raw.ask({ id: 1, connect: { token: token(user) } });
  return raw;
}

const code = (reply) => reply.error?.code;

describe("abuse", { concurrency: true }, () => {
  test("T7.1 no connect in time: 3502, or 3007 to version 1's reader", async (t) => {
    const broker = await startBroker(t, { app: '[apps.centrifuge]\nstale_close_delay = "1s"' });
    const began = performance.now();
    const silent = await Raw.open(t, broker);
    const refused = await Raw.open(t, broker);
    assert.equal(code(await refused.ask({ id: 1, connect: { token: token("42", { seconds: -5 }) } })), 109);
    for (const raw of [silent, refused]) {
      const end = await within(raw.closed, "the close");
      // A socket that said nothing has told no version yet.
      assert.ok([3502, 3007].includes(end.code), `${end.code}`);
    }
    const after_ms = performance.now() - began;
    assert.ok(after_ms > 900 && after_ms < 3_000, `${after_ms} ms`);
  });

  test("T7.2 more commands in one frame than allowed: bad request", async (t) => {
    const broker = await startBroker(t);
    const commands = (count) => [...Array(count)].map((_, id) => ({ id: id + 2, unsubscribe: { channel: "c" } }));
    const good = await connected(t, broker);
    good.send(...commands(256));
    for (let number = 0; number < 256; number++) assert.deepEqual(await good.next(), { id: number + 2, unsubscribe: {} });
    const bad = await connected(t, broker);
    bad.send(...commands(300));
    assert.equal((await within(bad.closed, "the close")).code, 3501);
  });

  test("T7.3 many errors in a row: 3509", async (t) => {
    const broker = await startBroker(t, { namespaces: "" });
    const raw = await connected(t, broker);
    for (let id = 2; id < 60; id++) raw.send({ id, subscribe: { channel: `c${id}` } });
    assert.equal((await within(raw.closed, "the close")).code, 3509);
    const errors = raw.messages.filter((message) => code(message) === 103);
    assert.ok(errors.length >= 49 && errors.length <= 50, `${errors.length} errors before it`);
  });

  test("T7.3 nothing but errors for odd commands, and the connection lives", async (t) => {
    const broker = await startBroker(t);
    const raw = await connected(t, broker);
    assert.deepEqual(await raw.ask({ id: 7, subscribe: { channel: "a" } }), { id: 7, subscribe: {} });
    assert.deepEqual(await raw.ask({ id: 7, subscribe: { channel: "b" } }), { id: 7, subscribe: {} }, "a repeated id");
    assert.equal(code(await raw.ask({ id: 8, rpc: { method: "x", data: {} } })), 108);
    assert.deepEqual(await raw.ask({ id: 4294967295, unsubscribe: { channel: "a" } }), { id: 4294967295, unsubscribe: {} });
  });

  test("T7.3 what is no command at all: 3501", async (t) => {
    const broker = await startBroker(t);
    const texts = ["", "[]", "null", "1", "{", '{"id":2}', '{"id":2,"nonsense":{}}', '{"id":"2","subscribe":{"channel":"c"}}',
      '{"id":-1,"subscribe":{"channel":"c"}}', '{"id":9223372036854775808,"subscribe":{"channel":"c"}}',
      '{"id":2,"subscribe":{"channel":7}}', '{"id":2,"subscribe":[]}', `{"id":2,"publish":{"channel":"c","data":${"[".repeat(5_000)}}}`];
    const codes = {};
    for (const text of texts) {
      const raw = await connected(t, broker);
      raw.socket.send(text);
      // Either an error reply, or the end: what must not happen is silence.
      const answer = await Promise.race([raw.next().then(code), raw.closed.then((end) => end.code)]);
      codes[text.slice(0, 60)] = answer;
      assert.ok([107, 108, 3501].includes(answer), `${text.slice(0, 60)}: ${answer}`);
    }
  });

  test("T7.4 channels: too many, twice, too long, none", async (t) => {
    const broker = await startBroker(t, { app: "[apps.centrifuge]\nchannel_limit = 3" });
    const raw = await connected(t, broker);
    let id = 2;
    const subscribe = (channel) => raw.ask({ id: id++, subscribe: { channel } });
    for (const channel of ["a", "b", "c"]) assert.deepEqual(Object.keys(await subscribe(channel)), ["id", "subscribe"]);
    assert.equal(code(await subscribe("d")), 106);
    assert.equal(code(await subscribe("a")), 105);
    await raw.ask({ id: id++, unsubscribe: { channel: "a" } });
    assert.equal(code(await subscribe("x".repeat(256))), 107);
    assert.equal(code(await subscribe("x\0y")), 107);
    assert.equal(code(await subscribe("unknown:channel")), 102);
    assert.equal(code(await subscribe("$private")), 103);
    assert.equal(code(await subscribe("x".repeat(255))), undefined);
    assert.equal(code(await subscribe("")), 107);
  });

  test("T7.5 subscribe and unsubscribe without end: 111", async (t) => {
    const broker = await startBroker(t, { limits: "subscribes_per_second_max = 100" });
    const bystander = await listen5(t, broker, "chat", { token: token("43") });
    const raw = await connected(t, broker);
    const pairs = 150;
    for (let number = 0; number < pairs; number++) {
      raw.send({ id: 2 * number + 2, subscribe: { channel: "c" } }, { id: 2 * number + 3, unsubscribe: { channel: "c" } });
    }
    // So many refusals in a row also end the connection.
    assert.equal((await within(raw.closed, "the close")).code, 3509);
    const answers = raw.messages.slice(1).map(code);
    assert.ok(answers.includes(111), "some were too many");
    assert.ok(answers.filter((answer) => answer === undefined).length >= 100, "what is allowed was served");
    await broker.publish("chat", "undisturbed");
    assert.deepEqual(await hears(bystander, 1), ["undisturbed"]);
  });

  test("anonymous users enter only where the namespace says so", async (t) => {
    const open = `${OPEN_NAMESPACE}\n[[apps.namespaces]]\nname = "public"\nallow_subscribe_for_anonymous = true\n`;
    const broker = await startBroker(t, { namespaces: open });
    const raw = await connected(t, broker, "");
    assert.equal(code(await raw.ask({ id: 2, subscribe: { channel: "chat" } })), 103);
    assert.deepEqual(await raw.ask({ id: 3, subscribe: { channel: "public:news" } }), { id: 3, subscribe: {} });
    assert.equal(code(await raw.ask({ id: 4, publish: { channel: "public:news", data: 1 } })), 103);

    const stranger = await Raw.open(t, broker);
    stranger.send({ id: 1, connect: {} });
    assert.equal((await within(stranger.closed, "the close")).code, 3501);
  });
});
