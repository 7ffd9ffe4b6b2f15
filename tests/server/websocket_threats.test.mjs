// Hostile frames, named by the row of the threat table they show: each costs its own connection only.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { startBroker, until } from "../sdk/broker.mjs";
import { Raw, hears, listen5, token } from "../sdk/clients.mjs";
import { Tcp, frame, upgradeRequest, upgraded } from "../sdk/tcp.mjs";

const TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, CONTINUATION = 0;
const login = (extra = {}) => JSON.stringify({ id: 1, connect: { token: token("42"), ...extra } });
const closeBody = (code, reason = "") => Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)]);

/** Each of `table`, [name, bytes], sent on its own connection, is answered with the close code `want`. */
async function answeredWith(t, want, table) {
  const broker = await startBroker(t);
  for (const [name, bytes] of table) {
    const tcp = await upgraded(t, broker);
    tcp.write(bytes);
    assert.equal(await tcp.closeCode().catch((error) => error.message), want, name);
  }
  return broker;
}

describe("WebSocket frames", { concurrency: true }, () => {
  test("T6.1 frames against the protocol: 1002", async (t) => {
    const opcodes = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => [`opcode ${opcode}`, frame(opcode)]);
    await answeredWith(t, 1002, [
      ["unmasked", frame(TEXT, "{}", { masked: false })],
      ...[1, 2, 4].map((rsv) => [`RSV ${rsv}`, frame(TEXT, "{}", { rsv })]),
      ...opcodes,
      ["a long ping", frame(PING, "x".repeat(126))],
      ["a fragmented ping", frame(PING, "x", { fin: false })],
      ["continuation without start", frame(CONTINUATION, "x")],
      ["a new message inside a message", Buffer.concat([frame(TEXT, "{", { fin: false }), frame(TEXT, "}")])],
    ]);
  });

  test("T6.2 lengths that cannot be or are coded too long: 1002", async (t) => {
    const huge = Buffer.from([0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    await answeredWith(t, 1002, [
      ["top bit set", huge],
      ["5 bytes in 16 bits", frame(TEXT, "12345", { length: 16 })],
      ["5 bytes in 64 bits", frame(TEXT, "12345", { length: 64 })],
      ["200 bytes in 64 bits", frame(TEXT, "x".repeat(200), { length: 64 })],
    ]);
  });

  test("T6.3 a message over its bound: 1009, at the header", async (t) => {
    const announced = Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 9, 9, 9, 9]);
    const half = frame(TEXT, "x".repeat(40_000), { fin: false });
    const rest = frame(CONTINUATION, "x".repeat(40_000)).subarray(0, 8);
    await answeredWith(t, 1009, [
      ["65,537 bytes announced, none sent", announced],
      ["accumulated by fragments", Buffer.concat([half, rest])],
    ]);
  });

  test("T6.4 text that is not UTF-8: 1007", async (t) => {
    const split = [frame(TEXT, Buffer.from([0xc3]), { fin: false }), frame(CONTINUATION, Buffer.from([0x28]))];
    await answeredWith(t, 1007, [
      ["a lone byte", frame(TEXT, Buffer.from([0xff]))],
      ["overlong", frame(TEXT, Buffer.from([0xc0, 0xaf]))],
      ["a surrogate", frame(TEXT, Buffer.from([0xed, 0xa0, 0x80]))],
      ["beyond U+10FFFF", frame(TEXT, Buffer.from([0xf4, 0x90, 0x80, 0x80]))],
      ["split over fragments", Buffer.concat(split)],
      ["cut short", frame(TEXT, Buffer.from([0xe2, 0x82]))],
      ["a close reason", frame(CLOSE, Buffer.concat([closeBody(1000), Buffer.from([0xff])]))],
    ]);
  });

  test("T6.4 a character split over fragments is no mistake", async (t) => {
    const broker = await startBroker(t);
    const text = Buffer.from(login({ name: "é€😀" }));
    const at = text.indexOf(Buffer.from("€")) + 1;
    const tcp = await upgraded(t, broker);
    tcp.write(Buffer.concat([frame(TEXT, text.subarray(0, at), { fin: false }), frame(CONTINUATION, text.subarray(at))]));
    assert.ok((await tcp.message()).connect.client);
  });

  test("T6.5 close codes nobody may send: 1002", async (t) => {
    const codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535];
    const broker = await answeredWith(t, 1002, [
      ...codes.map((code) => [`code ${code}`, frame(CLOSE, closeBody(code))]),
      ["one byte", frame(CLOSE, "x")],
    ]);
    for (const [code, body] of [[1000, closeBody(1000)], [3000, closeBody(3000, "bye")], [4999, closeBody(4999)]]) {
      const tcp = await upgraded(t, broker);
      tcp.write(frame(CLOSE, body));
      assert.ok([code, 1000].includes(await tcp.closeCode()), `${code} is answered politely`);
    }
    const tcp = await upgraded(t, broker);
    tcp.write(frame(CLOSE));
    assert.ok([1000, 1005].includes(await tcp.closeCode()));
  });

  test("T6.6 too many fragments, empty ones too: 1008", async (t) => {
    const tiny = (payload) => Buffer.concat([
      frame(TEXT, payload, { fin: false }), ...[...Array(1_100)].map(() => frame(CONTINUATION, payload, { fin: false })),
    ]);
    await answeredWith(t, 1008, [["empty", tiny("")], ["one byte each", tiny(" ")]]);
  });

  test("T6.7 a message that is never finished: 1008", async (t) => {
    const broker = await startBroker(t, { limits: 'fragment_timeout = "1s"' });
    const tcp = await upgraded(t, broker);
    tcp.write(Buffer.concat([frame(TEXT, login()), frame(TEXT, "{", { fin: false })]));
    const began = performance.now();
    for (let drip = 0; drip < 3; drip++) {
      await pause(300);
      tcp.write(frame(CONTINUATION, " ", { fin: false }));
    }
    assert.equal(await tcp.closeCode(), 1008);
    assert.ok(performance.now() - began < 3_000);
  });

  test("T6.8 a message of 8 KiB, one byte per segment, works", async (t) => {
    const broker = await startBroker(t);
    const tcp = await upgraded(t, broker);
    const bytes = frame(TEXT, login({ name: "x".repeat(8_192) }));
    for (const [index, byte] of bytes.entries()) {
      tcp.write(Buffer.from([byte]));
      // Without a pause now and then the kernel would join what was written apart.
      if (index % 64 === 0) await pause(0);
    }
    assert.ok((await tcp.message()).connect.client);
  });

  test("T6.9 a flood of pings: few pongs, then 1008; pongs nobody asked for are nothing", async (t) => {
    const broker = await startBroker(t);
    const polite = await upgraded(t, broker, frame(TEXT, login()));
    for (let number = 0; number < 1_000; number++) polite.write(frame(PONG, `${number}`));
    polite.write(frame(PING, "still there?"));
    await polite.message();
    const pong = await polite.frame();
    assert.deepEqual([pong.opcode, pong.payload.toString()], [PONG, "still there?"]);

    const flood = await upgraded(t, broker);
    const burst = Buffer.concat([...Array(100)].map((_, number) => frame(PING, `${number}`)));
    let pongs = 0, code;
    const counting = (async () => {
      while (code === undefined) {
        const { opcode, payload } = await flood.frame(15_000);
        if (opcode === PONG) pongs += 1;
        if (opcode === CLOSE) code = payload.readUInt16BE(0);
      }
    })();
    counting.catch(() => {});
    let sent = 0;
    while (code === undefined && sent < 20_000 && !flood.closed) {
      flood.write(burst);
      sent += 100;
      await pause(50);
    }
    await counting;
    assert.equal(code, 1008);
    assert.ok(pongs < sent / 2, `${pongs} pongs for ${sent} pings: only the latest owed one is sent`);
  });

  test("T6.10 what comes after our close frame is read away, then the end", async (t) => {
    const broker = await startBroker(t);
    for (const more of [1_000, 1_000_000]) {
      const tcp = await upgraded(t, broker);
      tcp.write(frame(3));
      assert.equal(await tcp.closeCode(), 1002);
      tcp.write(frame(BINARY, "x".repeat(more)));
      await until(() => tcp.closed, "the end of the connection", 7_000);
      assert.equal(tcp.bytes.length, 0, "nothing more was said");
    }
  });

  test("T6.10 a frame that our close cuts in two is read to its end, and the close is not lost", async (t) => {
    const broker = await startBroker(t);
    const tcp = await upgraded(t, broker, frame(TEXT, login()));
    await tcp.message();
    // The end of the second frame would be an impossible header, were it taken for one.
    const cut = frame(BINARY, "x".repeat(300)).fill(0xff, 8);
    tcp.write(Buffer.concat([frame(TEXT, '{"id":2}'), cut.subarray(0, 20)]));
    assert.equal(await tcp.closeCode(), 3501);
    tcp.write(cut.subarray(20));
    await pause(300);
    assert.ok(!tcp.closed, "the peer has time to answer");
    tcp.write(frame(CLOSE, closeBody(3501)));
    await until(() => tcp.closed, "the end, answered", 1_000);
  });

  test("T6.10 a peer in the middle of sending still learns why it was closed", async (t) => {
    const broker = await startBroker(t, { limits: "errors_in_a_row_max = 5" });
    const command = (id) => frame(TEXT, JSON.stringify({ id, subscribe: { channel: "unknown:channel" } }));
    for (let round = 0; round < 30; round++) {
      const tcp = await upgraded(t, broker, frame(TEXT, login()));
      await tcp.message();
      for (let id = 2; id < 150; id++) tcp.write(command(id));
      assert.equal(await tcp.closeCode(), 3509, `round ${round}`);
      tcp.socket.destroy();
    }
  });

  test("T6.12 compression is declined, whatever is offered", async (t) => {
    const broker = await startBroker(t);
    const offers = ["permessage-deflate", "permessage-deflate; client_max_window_bits=7",
      "permessage-deflate, permessage-deflate; nonsense=1", "nonsense; a=\"b, c\""];
    for (const offer of offers) {
      const tcp = await Tcp.open(t, broker);
      tcp.write(upgradeRequest(broker, { "Sec-WebSocket-Extensions": offer }));
      const { status, headers } = await tcp.response();
      assert.equal(status, 101, offer);
      assert.ok(!headers.some((line) => line.startsWith("sec-websocket-extensions")), headers.join());
      tcp.write(frame(TEXT, login()));
      assert.ok((await tcp.message()).connect.client);
    }
  });

  test("T6.13 T7.10 one of six stops reading: it goes, the others lose nothing", async (t) => {
    const broker = await startBroker(t);
    const readers = [];
    for (let number = 0; number < 5; number++) readers.push(await listen5(t, broker, "chat", { token: token(`${number}`) }));
    const stalled = await Raw.open(t, broker);
    await stalled.ask({ id: 1, connect: { token: token("stalled") } });
    await stalled.ask({ id: 2, subscribe: { channel: "chat" } });
    stalled.socket.pause();
    stalled.socket._socket.pause();
    const data = "x".repeat(48_000);
    const count = 300;
    for (let number = 0; number < count; number++) await broker.publish("chat", { number, data });
    for (const reader of readers) {
      const numbers = (await hears(reader, count, 30_000)).map(({ number }) => number);
      assert.deepEqual(numbers, [...Array(count).keys()]);
    }
    const slow = async () => (await broker.metrics()).sum("polycast_slow_consumers_total");
    await until(async () => await slow() === 1, "the stalled client is gone, and counted", 20_000);
    const queued = async () => (await broker.metrics()).sum("polycast_queue_bytes");
    // Chunks that are being filled stay: a few of 16 to 64 KiB, however many clients there are.
    await until(async () => await queued() < 256 * 1024, "its queue is given back", 20_000);
  });

  test("T6.14 a reset in the middle of anything is worth no log line", async (t) => {
    const broker = await startBroker(t);
    const listener = await listen5(t, broker, "chat", { token: token("42") });
    const before = broker.output();
    const starts = ["GET /conn", upgradeRequest(broker)];
    for (const start of starts) {
      const tcp = await Tcp.open(t, broker);
      tcp.write(start);
      await pause(20);
      tcp.socket.resetAndDestroy();
    }
    const inFrame = await upgraded(t, broker, frame(TEXT, login()));
    await inFrame.message();
    inFrame.write(frame(TEXT, "x".repeat(500)).subarray(0, 200));
    await pause(20);
    inFrame.socket.resetAndDestroy();
    await broker.publish("chat", "undisturbed");
    assert.deepEqual(await hears(listener, 1), ["undisturbed"]);
    assert.equal(broker.output().slice(before.length), "");
  });
});
