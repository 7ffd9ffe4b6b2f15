// Two shards: each holds subscribers and takes publications, and everybody hears one order.

import assert from "node:assert/strict";
import { request } from "node:http";
import { test } from "node:test";
import { API_KEY, startBroker, until } from "./broker.mjs";
import { hears, listen2, listen5, token } from "./clients.mjs";

// Names of metrics, each with a label `shard`.
const SUBSCRIPTIONS = "polycast_subscriptions";
const PUBLICATIONS = "polycast_publishes_total";
const SHARDS = ["0", "1"];

/** Publishes over a connection of its own; the kernel gives it to one of the shards. */
function publishAnew(broker, channel, data) {
  return new Promise((resolve, reject) => {
    const headers = { "X-API-Key": API_KEY, Connection: "close" };
    const sent = request(`${broker.http}/api/publish`, { method: "POST", agent: false, headers }, (response) => {
      response.resume().on("end", () => resolve(response.statusCode));
    });
    sent.on("error", reject).end(JSON.stringify({ channel, data }));
  });
}

async function everyShard(broker, name) {
  const metrics = await broker.metrics();
  return SHARDS.every((shard) => metrics.sum(name, { shard }) > 0);
}

test("two shards: all hear the same order, whoever published where", async (t) => {
  const broker = await startBroker(t, { shards: SHARDS.length });
  const listeners = [];
  while (listeners.length < 8 || !(await everyShard(broker, SUBSCRIPTIONS))) {
    assert.ok(listeners.length < 64, "64 connections, and one shard got none of them");
    const listen = listeners.length % 2 ? listen2 : listen5;
    listeners.push(await listen(t, broker, "chat", { token: token(`${listeners.length}`) }));
  }

  // Several publishers at once, each over ever new connections, and clients among them.
  const publishers = 8;
  const each = 50;
  await Promise.all([...Array(publishers)].map(async (_, publisher) => {
    for (let number = 0; number < each; number++) {
      if (publisher < 2) await listeners[publisher].publish({ publisher, number });
      else assert.equal(await publishAnew(broker, "chat", { publisher, number }), 200);
    }
  }));

  assert.ok(await everyShard(broker, PUBLICATIONS), "each shard took a publication");
  const orders = [];
  for (const listener of listeners) orders.push(await hears(listener, publishers * each));
  for (const order of orders) assert.deepEqual(order, orders[0]);
  for (let publisher = 0; publisher < publishers; publisher++) {
    const own = orders[0].filter((data) => data.publisher === publisher).map((data) => data.number);
    assert.deepEqual(own, [...Array(each).keys()], `publications of ${publisher}, none lost, doubled or overtaken`);
  }

  for (const listener of listeners) listener.stop();
  await until(async () => (await broker.metrics()).sum(SUBSCRIPTIONS) === 0, "no subscription is left");
});
