// What backends are told by webhooks, judged by Pusher's server library for Node.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import jsonwebtoken from "jsonwebtoken";
import Pusher from "pusher";
import { SECRET, startBroker, until } from "./broker.mjs";
import { Centrifuge5, WebSocket, listen5, token, within } from "./clients.mjs";

const KEY = "app-key";
const NAMESPACES = `
[[apps.namespaces]]
name = ""
allow_subscribe_for_client = true
allow_user_limited_channels = true
presence = true
`;
const ALL = ["channel_occupied", "channel_vacated", "member_added", "member_removed", "subscription_count"];

const app = (hooks, secret = "app-secret") => `key = "${KEY}"\nsecret = "${secret}"\n${hooks.map((hook) =>
  `[[apps.pusher.webhooks]]\n${Object.entries(hook).map(([key, value]) => `${key} = ${inToml(value)}`).join("\n")}`).join("\n")}`;
const inToml = (value) => (typeof value !== "object" || Array.isArray(value) ? JSON.stringify(value)
  : `{ ${Object.entries(value).map(([key, inner]) => `${key} = ${JSON.stringify(inner)}`).join(", ")} }`);

/** A backend that answers with the next of `statuses`, then always 200, and keeps what it was told. */
async function backend(t, { statuses = [], secret = "app-secret" } = {}) {
  const pusher = new Pusher({ appId: "1", key: KEY, secret });
  const told = { requests: [], events: [], connections: 0 };
  const server = createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const rawBody = Buffer.concat(chunks).toString();
      const hook = pusher.webhook({ headers: request.headers, rawBody });
      const status = statuses.shift() ?? 200;
      const events = hook.isValid() ? hook.getEvents() : [{ name: "invalid" }];
      told.requests.push({ at_ms: Date.now(), time_ms: hook.isValid() ? hook.getTime().getTime() : 0, status, events, request });
      if (status === 200) told.events.push(...events);
      response.writeHead(status).end("any answer");
    });
  });
  server.on("connection", () => { told.connections += 1; });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => { server.closeAllConnections(); server.close(); });
  told.url = `http://127.0.0.1:${server.address().port}/pusher/webhooks?of=polycast`;
  return told;
}

const has = (told, wanted) => told.events.some((event) => Object.entries(wanted).every(([name, value]) => event[name] === value));
const hears = (told, wanted, limit_ms = 8_000) =>
  until(() => has(told, wanted), () => `${JSON.stringify(wanted)} among ${JSON.stringify(told.events)}`, limit_ms);

async function join(t, broker, channel, user) {
  const client = new Centrifuge5(broker.websocket, { websocket: WebSocket, token: token(user) });
  t.after(() => client.disconnect());
  const proof = jsonwebtoken.sign({ sub: user, channel }, SECRET, { algorithm: "HS256", noTimestamp: true });
  const subscription = client.newSubscription(channel, { token: proof });
  const subscribed = new Promise((resolve) => subscription.on("subscribed", resolve));
  subscription.subscribe();
  client.connect();
  await within(subscribed, `${user} joins ${channel}`);
  return client;
}

test("channels that are heard and no longer, signed, one event to a request", async (t) => {
  const told = await backend(t);
  const hook = { url: told.url, event_types: ALL, headers: { "X-Of-Mine": "yes" } };
  const broker = await startBroker(t, { shards: 2, app: app([hook]), namespaces: NAMESPACES });
  const first = await listen5(t, broker, "chat", { token: token("1") });
  await hears(told, { name: "channel_occupied", channel: "chat" });
  const second = await listen5(t, broker, "chat", { token: token("2") });
  await hears(told, { name: "subscription_count", channel: "chat", subscription_count: 2 });
  first.stop();
  await hears(told, { name: "subscription_count", channel: "chat", subscription_count: 1 });
  const left_ms = Date.now();
  second.stop();
  await hears(told, { name: "channel_vacated", channel: "chat" });
  const { at_ms } = told.requests.find(({ events }) => events[0].name === "channel_vacated");
  assert.ok(at_ms - left_ms >= 2_900, `told after ${at_ms - left_ms} ms`);

  assert.equal(told.events.filter(({ name }) => name === "channel_occupied").length, 1);
  assert.ok(!has(told, { name: "invalid" }));
  for (const { events, request, time_ms, at_ms } of told.requests) {
    assert.equal(events.length, 1);
    assert.equal(request.method, "POST");
    assert.equal(request.url, "/pusher/webhooks?of=polycast");
    assert.equal(request.headers["content-type"], "application/json");
    assert.equal(request.headers["x-of-mine"], "yes");
    assert.ok(Math.abs(at_ms - time_ms) < 2_000);
  }
  // What is told counts as delivered once its answer has arrived.
  await until(async () => (await broker.metrics()).sum("polycast_webhook_events_waiting") === 0, "the last answer");
  const metrics = await broker.metrics();
  assert.equal(metrics.sum("polycast_webhook_events_total", { outcome: "delivered" }), told.events.length);
});

test("who comes back in time has not left", async (t) => {
  const told = await backend(t);
  const broker = await startBroker(t, { shards: 2, app: app([{ url: told.url, event_types: ALL }]), namespaces: NAMESPACES });
  const first = await join(t, broker, "presence-room", "ann");
  await hears(told, { name: "member_added", channel: "presence-room", user_id: "ann" });
  // A second tab of the same user is nothing new, and its end is none.
  const tab = await join(t, broker, "presence-room", "ann");
  const bob = await join(t, broker, "presence-room", "bob");
  await hears(told, { name: "member_added", user_id: "bob" });
  tab.disconnect();
  bob.disconnect();
  first.disconnect();
  await pause(500);
  await join(t, broker, "presence-room", "ann");
  await hears(told, { name: "member_removed", channel: "presence-room", user_id: "bob" });
  await pause(1_000);
  const names = told.events.map(({ name, user_id }) => [name, user_id].filter(Boolean).join(" ")).sort();
  assert.deepEqual(names, ["channel_occupied", "member_added ann", "member_added bob", "member_removed bob"]);
});

test("what is not accepted is tried again, stamped and signed anew", async (t) => {
  const told = await backend(t, { statuses: [500, 302, 404] });
  const hook = { url: told.url, event_types: ["channel_occupied"] };
  const broker = await startBroker(t, { app: app([hook]), namespaces: NAMESPACES });
  await listen5(t, broker, "chat", { token: token("1") });
  await hears(told, { name: "channel_occupied", channel: "chat" }, 12_000);
  assert.deepEqual(told.requests.map(({ status }) => status), [500, 302, 404, 200]);
  const times = told.requests.map(({ time_ms }) => time_ms);
  const rests = times.slice(1).map((time_ms, index) => Math.round((time_ms - times[index]) / 1_000));
  assert.deepEqual(rests, [1, 2, 4]);
  // An event that waits for its turn is no longer behind it.
  await listen5(t, broker, "other", { token: token("1") });
  await hears(told, { name: "channel_occupied", channel: "other" });
  assert.match(broker.output(), /a webhook was not accepted, and is tried again/);
  assert.doesNotMatch(broker.output(), /of=polycast/, "the query may be secret");
});

test("T5.17 answers that lead elsewhere, are long or never end cost their own webhook one attempt", async (t) => {
  const elsewhere = await backend(t);
  const odd = [
    (response) => response.writeHead(307, { Location: elsewhere.url }).end(),
    (response) => response.writeHead(200).end("x".repeat(200_000)),
    () => {},
    (response) => response.writeHead(200).end(),
  ];
  const answered = [];
  const server = createServer((request, response) => {
    request.resume().on("end", () => { answered.push(Date.now()); odd[answered.length - 1]?.(response); });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => { server.closeAllConnections(); server.close(); });
  const hook = { url: `http://127.0.0.1:${server.address().port}/`, event_types: ["channel_occupied"] };
  const broker = await startBroker(t, { app: app([hook]), namespaces: NAMESPACES });
  await listen5(t, broker, "chat", { token: token("1") });
  const delivered = async () => (await broker.metrics()).sum("polycast_webhook_events_total", { outcome: "delivered" });
  await until(async () => (await delivered()) === 1, "the last answer is taken", 20_000);
  assert.equal(answered.length, 4);
  const rests = answered.slice(1).map((at_ms, index) => Math.round((at_ms - answered[index]) / 1_000));
  // A second, two seconds, and four after five without an answer.
  assert.deepEqual(rests, [1, 2, 9]);
  assert.equal(elsewhere.requests.length, 0);
});

test("a backend that is away holds up neither clients nor other webhooks", async (t) => {
  const told = await backend(t);
  const hooks = [
    { url: "http://127.0.0.1:9/", event_types: ALL },
    { url: told.url, event_types: ["channel_occupied"], channel_name_starts_with: "a", channel_name_ends_with: "z" },
  ];
  const broker = await startBroker(t, { app: app(hooks), namespaces: NAMESPACES });
  for (const channel of ["abc", "axyz", "xyz", "az"]) await listen5(t, broker, channel, { token: token("1") });
  await hears(told, { channel: "az" });
  assert.deepEqual(told.events.map(({ channel }) => channel).sort(), ["axyz", "az"]);
  assert.ok((await broker.metrics()).sum("polycast_webhook_events_waiting") >= 4);
});

test("with batching one request carries many", async (t) => {
  const told = await backend(t, { statuses: [500] });
  const hook = { url: told.url, event_types: ["channel_occupied"], batching: true };
  const broker = await startBroker(t, { shards: 2, app: app([hook]), namespaces: NAMESPACES });
  const client = new Centrifuge5(broker.websocket, { websocket: WebSocket, token: token("1") });
  t.after(() => client.disconnect());
  const names = [...Array(100).keys()].map((number) => `channel-${number}`);
  client.connect();
  await within(Promise.all(names.map((name) => new Promise((resolve) => {
    const subscription = client.newSubscription(name);
    subscription.on("subscribed", resolve);
    subscription.subscribe();
  }))), "a hundred subscriptions");
  await until(() => told.events.length === 100, "a hundred events");
  assert.deepEqual(told.events.map(({ channel }) => channel).sort(), names.sort());
  assert.ok(told.requests.length < 20, `${told.requests.length} requests`);
});

test("a changed secret signs from the reload on", async (t) => {
  const told = await backend(t, { secret: "another-secret" });
  const hook = { url: told.url, event_types: ["channel_occupied"] };
  const broker = await startBroker(t, { app: app([hook]), namespaces: NAMESPACES });
  await listen5(t, broker, "before", { token: token("1") });
  await hears(told, { name: "invalid" });
  broker.configure({ app: app([hook], "another-secret"), namespaces: NAMESPACES });
  broker.signal("SIGHUP");
  await until(() => /were read anew/.test(broker.output()), "the reload");
  await listen5(t, broker, "after", { token: token("1") });
  await hears(told, { name: "channel_occupied", channel: "after" });
});

test("the end of the broker is told before it goes", async (t) => {
  const told = await backend(t);
  const hook = { url: told.url, event_types: ["channel_vacated"] };
  const broker = await startBroker(t, { app: app([hook]), namespaces: NAMESPACES, server: 'drain_grace = "0s"\ndrain_spread = "0s"' });
  const listener = await listen5(t, broker, "chat", { token: token("1") });
  broker.signal("SIGTERM");
  listener.stop();
  assert.equal((await broker.exited).code, 0);
  assert.ok(has(told, { name: "channel_vacated", channel: "chat" }), JSON.stringify(told.events));
});

test("without webhooks there is no thread for them", async (t) => {
  const threads = (broker) => readdirSync(`/proc/${broker.pid}/task`)
    .map((task) => readFileSync(`/proc/${broker.pid}/task/${task}/comm`, "utf8").trim());
  const told = await backend(t);
  const without = await startBroker(t, { app: app([]), namespaces: NAMESPACES });
  assert.ok(!threads(without).includes("webhooks"));
  const hook = { url: told.url, event_types: ["channel_occupied"] };
  const having = await startBroker(t, { app: app([hook]), namespaces: NAMESPACES });
  assert.ok(threads(having).includes("webhooks"));
});
