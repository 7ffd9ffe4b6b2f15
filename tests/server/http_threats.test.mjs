// Hostile upgrades and requests, named by the row of the threat table they show: each costs its own connection only.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { API_KEY, startBroker, until } from "../sdk/broker.mjs";
import { hears, listen5, token, within } from "../sdk/clients.mjs";
import { Tcp, frame, upgradeRequest, upgraded } from "../sdk/tcp.mjs";

// Long enough that a busy test process gets its first byte out in time.
const SHORT_S = 3;
const IMPATIENT = { limits: `header_timeout = "${SHORT_S}s"` };

/** Sends `bytes` on a new connection; the status that comes back. */
async function statusOf(t, broker, bytes) {
  const tcp = await Tcp.open(t, broker);
  tcp.write(bytes);
  return { tcp, ...await tcp.response() };
}

async function ends(tcp, what, limit_ms = 2_000) {
  await until(() => tcp.closed, `the end of ${what}`, limit_ms);
}

const apiRequest = (headers, body = "", path = "/api/publish") =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nX-API-Key: ${API_KEY}\r\n${headers}\r\n${body}`;
const publication = JSON.stringify({ channel: "chat", data: 1 });

describe("upgrade and HTTP", { concurrency: true }, () => {
  test("T5.1 a header block over its bounds: 431, before all of it came", async (t) => {
    const broker = await startBroker(t);
    const many = Object.fromEntries([...Array(101).keys()].map((number) => [`X-${number}`, "y"]));
    for (const headers of [{ "X-Large": "y".repeat(17_000) }, many]) {
      const { tcp, status } = await statusOf(t, broker, upgradeRequest(broker, headers));
      assert.equal(status, 431);
      await ends(tcp, "an oversized request");
    }
    const tcp = await Tcp.open(t, broker);
    tcp.write(upgradeRequest(broker).slice(0, -2) + "X-Endless: ");
    for (let sent = 0; sent < 1_000_000 && !tcp.closed && tcp.bytes.length === 0; sent += 64) {
      tcp.write("y".repeat(64));
      if (sent % 4096 === 0) await pause(1);
    }
    assert.equal((await tcp.response()).status, 431);
  });

  test("T5.2 no complete header block in time: 408", async (t) => {
    const broker = await startBroker(t, IMPATIENT);
    const began = performance.now();
    const stalled = await Tcp.open(t, broker);
    stalled.write("GET / HTTP/1.1\r\nHost: x\r\n");
    const dripping = await Tcp.open(t, broker);
    for (const byte of upgradeRequest(broker).slice(0, 40)) {
      // Bytes sent after the answer would meet a closed socket, and its reset could overtake the answer.
      if (dripping.closed || dripping.bytes.length > 0) break;
      dripping.write(byte);
      await pause(100);
    }
    for (const tcp of [stalled, dripping]) {
      assert.equal((await tcp.response()).status, 408);
      await ends(tcp, "a late request");
    }
    assert.ok(performance.now() - began < SHORT_S * 1000 + 5_000);
  });

  test("T5.3 a connection that says nothing is closed", async (t) => {
    const broker = await startBroker(t, IMPATIENT);
    const began = performance.now();
    const silent = await Tcp.open(t, broker);
    const after_ms = await within(silent.ended, "the end") - began;
    assert.ok(after_ms >= SHORT_S * 1000 - 100 && after_ms < SHORT_S * 1000 + 4_000, `${after_ms} ms`);
  });

  test("T5.4 no upgrade, another method, an old version", async (t) => {
    const broker = await startBroker(t);
    const table = [
      ["POST", upgradeRequest(broker, {}, { method: "POST" }), 405],
      ["HTTP/1.0", upgradeRequest(broker, {}, { version: "1.0" }), 400],
      ["no Upgrade", upgradeRequest(broker, { Upgrade: undefined }), 400],
      ["another Upgrade", upgradeRequest(broker, { Upgrade: "h2c" }), 400],
      ["no Connection", upgradeRequest(broker, { Connection: "keep-alive" }), 400],
    ];
    for (const [name, request, want] of table) {
      const { status, headers } = await statusOf(t, broker, request);
      assert.equal(status, want, name);
      if (want === 405) assert.ok(headers.some((line) => line.startsWith("allow: get")), headers.join());
    }
    const listed = await statusOf(t, broker, upgradeRequest(broker, { Connection: "keep-alive, Upgrade" }));
    assert.equal(listed.status, 101, "a list of tokens, as Firefox sends it");
  });

  test("T5.5 a key that is absent, no 16 bytes of base64, or twice there: 400", async (t) => {
    const broker = await startBroker(t);
    const good = "dGhlIHNhbXBsZSBub25jZQ==";
    for (const key of [undefined, "", "short", "dGhlIHNhbXBsZSBub25jZ!==", `${good}AAAA`, [good, good]]) {
      assert.equal((await statusOf(t, broker, upgradeRequest(broker, { "Sec-WebSocket-Key": key }))).status, 400, `${key}`);
    }
  });

  test("T5.6 another version of the protocol: 426 names ours", async (t) => {
    const broker = await startBroker(t);
    for (const version of ["12", "0", "014"]) {
      const { status, headers } = await statusOf(t, broker, upgradeRequest(broker, { "Sec-WebSocket-Version": version }));
      assert.equal(status, 426, version);
      assert.ok(headers.includes("sec-websocket-version: 13"), headers.join());
    }
  });

  test("T5.7 sub-protocols: linear time", async (t) => {
    const broker = await startBroker(t);
    for (const text of [" ".repeat(10_000), ",".repeat(10_000), "a, ".repeat(3_000), "a,".repeat(9_000)]) {
      const began = performance.now();
      const { status } = await statusOf(t, broker, upgradeRequest(broker, { "Sec-WebSocket-Protocol": `x${text}` }));
      assert.ok([101, 400, 431].includes(status), `${status}`);
      // Far above what it costs and far below what anything quadratic would, also beside busy neighbours.
      assert.ok(performance.now() - began < 3_000);
    }
  });

  test("T5.8 control characters: 400, and nothing of it comes back", async (t) => {
    const broker = await startBroker(t);
    const paths = ["/a\0marker", "/a\rmarker", "/a\nmarker", "/a\x01marker"];
    const values = ["a\0marker", "a\rmarker", "a\x01marker"];
    const requests = [
      ...paths.map((path) => upgradeRequest(broker, {}, { path })),
      ...values.map((value) => upgradeRequest(broker, { "X-Any": value })),
      ...values.map((value) => upgradeRequest(broker, { "Sec-WebSocket-Protocol": value })),
    ];
    for (const request of requests) {
      const { tcp, status, headers } = await statusOf(t, broker, request);
      assert.equal(status, 400, JSON.stringify(request));
      await ends(tcp, "it");
      assert.ok(!(headers.join() + tcp.bytes).includes("marker"));
    }
  });

  test("T5.9 origins: exact scheme, host and port; no look-alikes", async (t) => {
    const broker = await startBroker(t, { server: 'allowed_origins = ["https://app.example.com", "https://*.example.org"]' });
    const table = [
      [undefined, 101], ["https://app.example.com", 101], ["https://a.example.org", 101],
      [`http://127.0.0.1:${broker.ports.http}`, 101],
      ["http://app.example.com", 403], ["https://app.example.com:8443", 403], ["https://app.example.com.evil.test", 403],
      ["https://evilapp.example.com", 403], ["https://evil.test/app.example.com", 403], ["https://aexample.org", 403],
      ["https://example.org.evil.test", 403], ["null", 403], ["https://evil.test", 403],
    ];
    for (const [origin, want] of table) {
      assert.equal((await statusOf(t, broker, upgradeRequest(broker, { Origin: origin }))).status, want, `${origin}`);
    }
  });

  test("T5.10 requests that two servers would read differently: 400 and close", async (t) => {
    const broker = await startBroker(t);
    const length = publication.length;
    const chunked = `${length.toString(16)}\r\n${publication}\r\n0\r\n\r\n`;
    const table = [
      ["both lengths", `Content-Length: ${length}\r\nTransfer-Encoding: chunked\r\n`, chunked],
      ["two lengths", `Content-Length: ${length}\r\nContent-Length: ${length + 1}\r\n`, publication],
      ["a list of lengths", `Content-Length: ${length}, ${length + 1}\r\n`, publication],
      ["chunked not last", "Transfer-Encoding: chunked, gzip\r\n", chunked],
      ["chunked in a look-alike", "Transfer-Encoding: xchunked\r\n", chunked],
      ["+10", `Content-Length: +${length}\r\n`, publication],
      ["-1", "Content-Length: -1\r\n", ""],
      ["0x10", "Content-Length: 0x10\r\n", publication],
      ["2^64", "Content-Length: 18446744073709551616\r\n", publication],
      ["space before the colon", `Content-Length : ${length}\r\n`, publication],
      ["folded header", `X-A: b\r\n c\r\nContent-Length: ${length}\r\n`, publication],
      ["chunk size overflow", "Transfer-Encoding: chunked\r\n", `ffffffffffffffff1\r\n${publication}\r\n0\r\n\r\n`],
      ["chunk size with a sign", "Transfer-Encoding: chunked\r\n", `+${chunked}`],
      ["chunk without its end", "Transfer-Encoding: chunked\r\n", `${length.toString(16)}\r\n${publication}xx0\r\n\r\n`],
    ];
    for (const [name, headers, body] of table) {
      const { tcp, status } = await statusOf(t, broker, apiRequest(headers, body));
      // A coding that nobody knows is 501 (RFC 9112 section 6.1); it too ends the connection.
      assert.ok(status === 400 || (status === 501 && name.includes("look-alike")), `${name}: ${status}`);
      await ends(tcp, name);
    }
    const bare = await statusOf(t, broker, `POST /api HTTP/1.1\nHost: x\nContent-Length: 0\n\n\r\n\r\n`);
    assert.equal(bare.status, 400, "bare LF");
    const good = await statusOf(t, broker, apiRequest("Transfer-Encoding: chunked\r\n", chunked));
    assert.equal(good.status, 200, "what is well-formed still works");
  });

  test("T5.11 bytes behind an upgrade are WebSocket, never a second request", async (t) => {
    const broker = await startBroker(t);
    const login = frame(1, JSON.stringify({ id: 1, connect: { token: token("42") } }));
    const tcp = await upgraded(t, broker, login);
    assert.ok((await tcp.message()).connect.client);

    const second = await upgraded(t, broker, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert.equal(await second.closeCode(), 1002);
    assert.ok(!second.bytes.includes("HTTP/1.1"));
  });

  test("T5.12 a body over its limit: 413 before it is read, and no 100", async (t) => {
    const broker = await startBroker(t);
    for (const expect of ["", "Expect: 100-continue\r\n"]) {
      const { status } = await statusOf(t, broker, apiRequest(`Content-Length: 2000000\r\n${expect}`));
      assert.equal(status, 413);
    }
    const chunk = `10000\r\n${"x".repeat(65_536)}\r\n`;
    const { status } = await statusOf(t, broker, apiRequest("Transfer-Encoding: chunked\r\n", chunk.repeat(20)));
    assert.equal(status, 413);
  });

  test("T5.13 the API without its key: 401", async (t) => {
    const broker = await startBroker(t);
    const table = [
      [{}, "", 401], [{ "X-API-Key": "wrong" }, "", 401], [{ "X-API-Key": API_KEY.toUpperCase() }, "", 401],
      [{ "X-API-Key": `${API_KEY} x` }, "", 401], [{ Authorization: `Bearer ${API_KEY}` }, "", 401],
      [{}, "?api_key=wrong", 401], [{}, `?api_key=${API_KEY}`, 200], [{ Authorization: `APIKEY ${API_KEY}` }, "", 200],
    ];
    for (const [headers, query, want] of table) {
      for (const path of ["/api", "/api/publish"]) {
        const body = path === "/api" ? { method: "publish", params: { channel: "c", data: 1 } } : { channel: "c", data: 1 };
        const response = await fetch(broker.http + path + query, { method: "POST", headers, body: JSON.stringify(body) });
        assert.equal(response.status, want, `${path}${query} ${JSON.stringify(headers)}`);
        await response.arrayBuffer();
      }
    }
  });

  test("T5.14 odd questions to the API", async (t) => {
    const broker = await startBroker(t);
    const ask = async (path, body) => {
      const response = await fetch(broker.http + path, { method: "POST", headers: { "X-API-Key": API_KEY }, body });
      return { status: response.status, text: await response.text() };
    };
    for (const body of ["[]", "null", "1", '"publish"', "{", "", '{"channel":"c","data":1}}', `${"[".repeat(5_000)}`]) {
      assert.equal((await ask("/api/publish", body)).status, 400, body.slice(0, 40));
    }
    const unknown = await ask("/api/nonsense", "{}");
    assert.ok(unknown.status === 404 || unknown.text.includes('"code":104'), unknown.text);
    const older = await ask("/api", '{"method":"nonsense","params":{}}');
    assert.ok(older.status === 404 || older.text.includes('"code":104'), older.text);
    const channels = [...Array(100_000).keys()].map((number) => `c${number}`);
    const many = await ask("/api/broadcast", JSON.stringify({ channels, data: 1 }));
    assert.ok(many.status === 413 || many.text.includes('"code":106'), `${many.status} ${many.text.slice(0, 100)}`);
  });

  test("T5.15 operations are not on the public listener", async (t) => {
    const broker = await startBroker(t);
    assert.equal((await fetch(`${broker.http}/metrics`)).status, 404);
    const unknown = await fetch(`${broker.http}/nonsense`);
    assert.equal(unknown.status, 404);
    assert.match(await unknown.text(), /\/connection\/websocket/, "the answer names the endpoints");
    for (const path of ["/health", "/ready"]) {
      assert.equal((await fetch(broker.http + path)).status, 200);
      assert.equal(await broker.status(path), 200);
    }
    assert.equal(await broker.status("/metrics"), 200);
  });

  test("T5.16 a query never reaches the log", async (t) => {
    const broker = await startBroker(t, { server: 'log_level = "trace"' });
    const text = token("42");
    const path = `/connection/websocket?token=${text}&api_key=marker-in-the-query`;
    await statusOf(t, broker, upgradeRequest(broker, { Origin: "https://evil.test" }, { path }));
    await statusOf(t, broker, upgradeRequest(broker, {}, { path }));
    await statusOf(t, broker, `GET /nonsense?api_key=marker-in-the-query HTTP/1.1\r\nHost: x\r\n\r\n`);
    await pause(100);
    assert.ok(!broker.output().includes("marker-in-the-query") && !broker.output().includes(text), broker.output());
  });

  test("T1.9 none of it disturbs a client", async (t) => {
    const broker = await startBroker(t);
    const listener = await listen5(t, broker, "chat", { token: token("42") });
    for (const bytes of ["\0\0\0\0", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00", frame(1, "early")]) {
      const tcp = await Tcp.open(t, broker);
      tcp.write(bytes);
      tcp.socket.end();
    }
    await broker.publish("chat", "undisturbed");
    assert.deepEqual(await hears(listener, 1), ["undisturbed"]);
  });
});
