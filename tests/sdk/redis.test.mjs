// Unmodified Redis clients with their default options publish; a Centrifuge client hears everything in order.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { API_KEY, ROOT, startBroker } from "./broker.mjs";
import { hears, listen5, token } from "./clients.mjs";

const run = promisify(execFile);
const CRATE = join(ROOT, "target/redis-crate/debug/redis-crate");
const SINGLE = 20;

const range = (from, to) => [...Array(to - from).keys()].map((index) => from + index);
const url = (broker) => `redis://default:${API_KEY}@127.0.0.1:${broker.ports.tcp}`;

/** A connected client of the package redis, which ends with the test. */
async function connected(t, options) {
  const client = createClient(options).on("error", () => {});
  t.after(() => { if (client.isOpen) client.destroy(); });
  return client.connect();
}

/** Runs redis-cli with lines on its standard input and returns what it prints. */
async function redisCli(broker, options, input = "") {
  const port = ["-p", `${broker.ports.tcp}`];
  const child = spawn("redis-cli", [...port, "-a", API_KEY, "--no-auth-warning", ...options]);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => { output += chunk; });
  // With a command among its arguments it may be gone before it has read anything: its exit code tells enough.
  child.stdin.on("error", () => {}).end(input);
  const code = await new Promise((resolve, reject) => child.on("close", resolve).on("error", reject));
  assert.equal(code, 0, output);
  return output.trim();
}

for (const shards of [1, 2]) {
  describe(`redis clients, shards: ${shards}`, { concurrency: true }, () => {
    /** A broker and somebody who hears `chat`. */
    const begin = async (t) => {
      const broker = await startBroker(t, { shards });
      return { broker, listener: await listen5(t, broker, "chat", { token: token("42") }) };
    };

    test("redis-cli: arguments, lines, RESP3, bulk loading", async (t) => {
      const { broker, listener } = await begin(t);
      const want = [];
      for (const payload of ['{"text":"hello"}', "hello", "12.50", "ä \"quoted\""]) {
        assert.equal(await redisCli(broker, ["PUBLISH", "chat", payload]), "1");
        want.push(/^[{1]/.test(payload) ? JSON.parse(payload) : payload);
      }
      assert.equal(await redisCli(broker, ["-3", "PUBLISH", "chat", "1"]), "1");
      assert.equal(await redisCli(broker, ["-x", "PUBLISH", "chat"], "from standard input"), "1");
      want.push(1, "from standard input");
      const lines = range(0, 50).map((number) => `PUBLISH chat ${number}\n`).join("");
      assert.equal(await redisCli(broker, [], lines), Array(50).fill("1").join("\n"));
      want.push(...range(0, 50));
      const pipe = range(50, 1_050).map((number) => `PUBLISH chat ${number}\r\n`).join("");
      assert.match(await redisCli(broker, ["--pipe"], pipe), /errors: 0, replies: 1000$/);
      want.push(...range(50, 1_050));
      assert.deepEqual(await hears(listener, want.length), want);
      assert.match(await redisCli(broker, ["SUBSCRIBE", "chat"]), /ERR unknown command/);
      const { stdout } = await run("redis-cli", ["-p", `${broker.ports.tcp}`, "PUBLISH", "chat", "1"]);
      assert.match(stdout, /NOAUTH/);
    });

    test("ioredis: single, pipeline, transaction, automatic pipelining", async (t) => {
      const { broker, listener } = await begin(t);
      const redis = new Redis(url(broker));
      t.after(() => redis.disconnect());
      for (const number of range(0, SINGLE)) assert.equal(await redis.publish("chat", number), 1);
      const pipeline = redis.pipeline();
      for (const number of range(20, 500)) pipeline.publish("chat", number);
      assert.deepEqual(await pipeline.exec(), Array(480).fill([null, 1]));
      const transaction = redis.multi();
      for (const number of range(500, 600)) transaction.publish("chat", number);
      assert.deepEqual(await transaction.exec(), Array(100).fill([null, 1]));
      await Promise.all(range(600, 2_000).map((number) => redis.publish("chat", number)));
      const automatic = new Redis(url(broker), { enableAutoPipelining: true });
      t.after(() => automatic.disconnect());
      await Promise.all(range(2_000, 3_000).map((number) => automatic.publish("chat", JSON.stringify({ number }))));
      const want = [...range(0, 2_000), ...range(2_000, 3_000).map((number) => ({ number }))];
      assert.deepEqual(await hears(listener, want.length), want);
      await assert.rejects(redis.get("key"), /ERR unknown command/);
      assert.equal(await redis.publish("nobody", "1"), 0);
      assert.equal(await redis.quit(), "OK");
    });

    test("redis for Node: single, many at once, transaction", async (t) => {
      const { broker, listener } = await begin(t);
      const redis = await connected(t, { url: url(broker) });
      for (const number of range(0, SINGLE)) assert.equal(await redis.publish("chat", `${number}`), 1);
      await Promise.all(range(20, 2_000).map((number) => redis.publish("chat", `${number}`)));
      const transaction = redis.multi();
      for (const number of range(2_000, 2_100)) transaction.publish("chat", `${number}`);
      assert.deepEqual(await transaction.exec(), Array(100).fill(1));
      await Promise.all(range(2_100, 2_200).map((number) => redis.sPublish("chat", `${number}`)));
      assert.deepEqual(await hears(listener, 2_200), range(0, 2_200));
      const third = await connected(t, { url: url(broker), RESP: 3 });
      assert.equal(await third.publish("chat", "{}"), 1);
      assert.equal(await redis.ping(), "PONG");
      await redis.close();
      // Without this option it would try the wrong key again for ever.
      const wrong = { url: url(broker).replace(API_KEY, "wrong"), socket: { reconnectStrategy: false } };
      await assert.rejects(connected(t, wrong), /WRONGPASS/);
    });

    test("the crate redis: single, pipeline, atomic pipeline", async (t) => {
      assert.ok(existsSync(CRATE), `${CRATE} is missing: see tests/run`);
      const { broker, listener } = await begin(t);
      const { stdout } = await run(CRATE, [url(broker), "chat"]);
      assert.deepEqual(JSON.parse(stdout), Array(60).fill(1));
      assert.deepEqual(await hears(listener, 60), range(0, 60));
    });
  });
}

test("many publishers at once, each heard in its own order", async (t) => {
  const broker = await startBroker(t, { shards: 2 });
  const listeners = await Promise.all(range(0, 6).map((user) => listen5(t, broker, "chat", { token: token(`${user}`) })));
  const publishers = await Promise.all(range(0, 4).map(() => connected(t, { url: url(broker) })));
  await Promise.all(publishers.map((publisher, from) =>
    Promise.all(range(0, 500).map((number) => publisher.publish("chat", JSON.stringify({ from, number }))))));
  const orders = await Promise.all(listeners.map((listener) => hears(listener, 2_000)));
  for (const order of orders) assert.deepEqual(order, orders[0]);
  for (const from of range(0, 4)) {
    const own = orders[0].filter((data) => data.from === from).map((data) => data.number);
    assert.deepEqual(own, range(0, 500), "none lost, doubled or overtaken");
  }
  const metrics = await broker.metrics();
  assert.equal(metrics.sum("polycast_publishes_total", { entrance: "resp" }), 2_000);
});
