// Pusher's server library for Node, unmodified: everything it can ask, heard by clients of another dialect.

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { Agent } from "node:http";
import { test } from "node:test";
import jsonwebtoken from "jsonwebtoken";
import Pusher from "pusher";
import { SECRET, startBroker, until } from "./broker.mjs";
import { Centrifuge5, WebSocket, hears, listen5, token, within } from "./clients.mjs";

const KEY = "app-key";
const APP = `key = "${KEY}"\nsecret = "app-secret"\nprevious_secret = "app-secret-before"`;
const NAMESPACES = `
[[apps.namespaces]]
name = ""
allow_subscribe_for_client = true
allow_user_limited_channels = true
presence = true
`;

const start = (t, { pusher = "", ...options } = {}) =>
  startBroker(t, { shards: 2, app: `${APP}\n[apps.pusher]\n${pusher}`, namespaces: NAMESPACES, ...options });

const library = (broker, options = {}) =>
  new Pusher({ appId: "1", key: KEY, secret: "app-secret", host: "127.0.0.1", port: broker.ports.http, useTLS: false, ...options });

/** What a rejected request was answered with. */
async function refusal(promise) {
  const error = await promise.then(() => assert.fail("the request was accepted"), (error) => error);
  assert.ok(error instanceof Pusher.RequestError, `${error}`);
  const { error: text, code } = JSON.parse(error.body);
  assert.equal(code, error.status);
  return { status: error.status, text };
}

const answer = async (promise) => (await promise).json();

/** Joins a channel that needs a proof. */
async function join(t, broker, channel, user) {
  const client = new Centrifuge5(broker.websocket, { websocket: WebSocket, token: token(user) });
  t.after(() => client.disconnect());
  const proof = jsonwebtoken.sign({ sub: user, channel }, SECRET, { algorithm: "HS256", noTimestamp: true });
  const subscription = client.newSubscription(channel, { token: proof });
  const subscribed = new Promise((resolve) => subscription.on("subscribed", resolve));
  const ended = new Promise((resolve) => client.on("disconnected", resolve));
  subscription.subscribe();
  client.connect();
  await within(subscribed, `${user} joins ${channel}`);
  return { client, subscription, ended };
}

test("an event reaches subscribers whatever they speak, its name as a tag", async (t) => {
  const broker = await start(t);
  const listener = await listen5(t, broker, "chat", { token: token("42") });
  const pusher = library(broker);
  assert.deepEqual(await answer(pusher.trigger("chat", "greeting", { hello: "wörld" })), {});
  await pusher.trigger(["chat", "other"], "greeting", "plain text");
  await pusher.trigger("chat", "greeting", [1, 2], { socket_id: "1001.2001" });
  assert.deepEqual(await hears(listener, 3), [{ hello: "wörld" }, "plain text", [1, 2]]);
  assert.ok(listener.heard.every(({ tags }) => tags.event === "greeting"));
});

test("a library made from a URL or a cluster's name, and requests made by hand, are let in too", async (t) => {
  const broker = await start(t);
  const listener = await listen5(t, broker, "chat", { token: token("42") });
  const { http: port } = broker.ports;
  await Pusher.forURL(`http://${KEY}:app-secret@127.0.0.1:${port}/apps/1`).trigger("chat", "e", "URL");
  // The cluster's host is this one, whatever it is called.
  const found = { address: "127.0.0.1", family: 4 };
  const agent = new Agent({ lookup: (_, { all }, done) => (all ? done(null, [found]) : done(null, found.address, found.family)) });
  t.after(() => agent.destroy());
  await Pusher.forCluster("local", { appId: "1", key: KEY, secret: "app-secret", port, useTLS: false, agent }).trigger("chat", "e", "cluster");
  const pusher = library(broker, { timeout: 5_000 });
  assert.deepEqual(await answer(pusher.post({ path: "/events", body: { name: "e", channel: "chat", data: "post" } })), {});
  const query = `auth_key=${KEY}&auth_timestamp=${Math.floor(Date.now() / 1000)}&auth_version=1.0`;
  const signature = new Pusher.Token(KEY, "app-secret").sign(`GET\n/apps/1/channels\n${query}`);
  const channels = await fetch(`${broker.http}/apps/1/channels?${query}&auth_signature=${signature}`);
  assert.deepEqual([channels.status, await channels.json()], [200, { channels: { chat: {} } }]);
  assert.deepEqual(await hears(listener, 3), ["URL", "cluster", "post"]);
});

test("a batch is sent whole or not at all", async (t) => {
  const broker = await start(t);
  const listener = await listen5(t, broker, "chat", { token: token("42") });
  const pusher = library(broker);
  const event = (number, channel = "chat") => ({ channel, name: "e", data: { number } });
  const ten = [...Array(10).keys()].map((number) => event(number));
  assert.deepEqual(await answer(pusher.triggerBatch(ten)), {});
  const refused = [[...ten, event(10)], [event(11), event(12, "no such channel")], [event(13), { ...event(14), data: "x".repeat(10_241) }]];
  const statuses = [];
  for (const batch of refused) statuses.push((await refusal(pusher.triggerBatch(batch))).status);
  assert.deepEqual(statuses, [400, 400, 413]);
  await pusher.trigger("chat", "e", { number: "last" });
  assert.deepEqual((await hears(listener, 11)).map(({ number }) => number), [...Array(10).keys(), "last"]);
});

test("channels, their users and how many hear them", async (t) => {
  const broker = await start(t);
  const pusher = library(broker);
  const get = (path, params) => answer(pusher.get({ path, params }));
  assert.deepEqual(await get("/channels"), { channels: {} });
  assert.deepEqual(await get("/channels/chat", { info: "subscription_count" }), { occupied: false, subscription_count: 0 });

  await listen5(t, broker, "chat", { token: token("1") });
  await listen5(t, broker, "chat", { token: token("2") });
  await join(t, broker, "presence-room", "1");
  await join(t, broker, "presence-room", "2");
  const third = await join(t, broker, "presence-room", "2");
  const counts = { user_count: 2, subscription_count: 3 };
  const room = () => get("/channels/presence-room", { info: "user_count,subscription_count" });
  await until(async () => (await room()).subscription_count === 3, "three subscriptions are counted");

  assert.deepEqual(await get("/channels/chat"), { occupied: true });
  assert.deepEqual(await room(), { occupied: true, ...counts });
  assert.deepEqual(await get("/channels"), { channels: { chat: {}, "presence-room": {} } });
  assert.deepEqual(await get("/channels", { filter_by_prefix: "presence-", info: "user_count,subscription_count" }),
    { channels: { "presence-room": counts } });
  assert.deepEqual(await get("/channels", { filter_by_prefix: "ch", info: "subscription_count" }),
    { channels: { chat: { subscription_count: 2 } } });
  // Signed as `a b=@,;é`, sent encoded.
  assert.deepEqual(await get("/channels", { filter_by_prefix: "a b=@,;é" }), { channels: {} });
  const { users } = await get("/channels/presence-room/users");
  assert.deepEqual(users.map(({ id }) => id).sort(), ["1", "2"]);
  assert.deepEqual(await get("/connections"), { connections: 5 });
  assert.deepEqual(
    await answer(pusher.trigger(["chat", "presence-room", "empty"], "e", 1, { info: "user_count,subscription_count" })),
    { channels: { chat: { subscription_count: 2 }, "presence-room": counts, empty: { subscription_count: 0 } } });
  const batch = [{ channel: "chat", name: "e", data: "1" }, { channel: "presence-room", name: "e", data: "1", info: "user_count" }];
  assert.deepEqual(await answer(pusher.triggerBatch(batch)), { batch: [{}, { user_count: 2 }] });

  third.client.disconnect();
  await until(async () => (await room()).subscription_count === 2, "the third left");
  assert.equal((await room()).user_count, 2);

  for (const [path, params] of [
    ["/channels", { info: "user_count" }], ["/channels", { info: "members" }], ["/channels/chat", { info: "user_count" }],
    ["/channels/chat/users"], ["/channels/a%20b"],
  ]) assert.equal((await refusal(pusher.get({ path, params }))).status, 400, path);
});

test("users are counted in more channels than are asked about at once", async (t) => {
  const broker = await start(t);
  const names = [...Array(100).keys()].flatMap((number) => ["a", "b", "c"].map((letter) => `presence-${letter}${number}`));
  for (const part of [names.slice(0, 100), names.slice(100, 200), names.slice(200)]) {
    const each = new Centrifuge5(broker.websocket, { websocket: WebSocket, token: token("1") });
    t.after(() => each.disconnect());
    each.connect();
    await within(Promise.all(part.map((channel) => new Promise((resolve) => {
      const proof = jsonwebtoken.sign({ sub: "1", channel }, SECRET, { algorithm: "HS256", noTimestamp: true });
      const subscription = each.newSubscription(channel, { token: proof });
      subscription.on("subscribed", resolve);
      subscription.subscribe();
    }))), "a hundred subscriptions");
  }
  const { channels } = await answer(library(broker).get({ path: "/channels", params: { filter_by_prefix: "presence-", info: "user_count" } }));
  assert.equal(Object.keys(channels).length, 300);
  assert.ok(Object.values(channels).every((attributes) => attributes.user_count === 1), JSON.stringify(channels));
});

test("a user is sent to, and its connections are ended, whatever they speak", async (t) => {
  const broker = await start(t);
  const pusher = library(broker);
  const user = await listen5(t, broker, "#server-to-user-7", { token: token("7") });
  const other = await listen5(t, broker, "chat", { token: token("8") });
  assert.deepEqual(await answer(pusher.sendToUser("7", "private", { for: "7" })), {});
  assert.deepEqual(await hears(user, 1), [{ for: "7" }]);
  assert.deepEqual(await answer(pusher.terminateUserConnections("7")), {});
  await until(() => user.ends.length > 0, "the user's connection ends");
  assert.equal(other.ends.length, 0);
});

test("T4.1 T4.3 requests that are not signed, or not now, are refused", async (t) => {
  const broker = await start(t);
  const refusedWith = async (options) => (await refusal(library(broker, options).trigger("chat", "e", 1))).status;
  assert.equal(await refusedWith({ secret: "wrong" }), 401);
  assert.equal(await refusedWith({ key: "other-key" }), 401);
  assert.equal(await refusedWith({ appId: "2" }), 404);
  await library(broker, { secret: "app-secret-before" }).trigger("chat", "e", 1);

  const body = JSON.stringify({ name: "e", channel: "chat", data: "1" });
  const post = (parameters, { secret = "app-secret", text = body, path = "/apps/1/events", change = (query) => query } = {}) => {
    const query = Object.entries({
      auth_key: KEY, auth_timestamp: Math.floor(Date.now() / 1000), auth_version: "1.0",
      body_md5: createHash("md5").update(text).digest("hex"), ...parameters,
    }).filter(([, value]) => value !== undefined).sort().map((pair) => pair.join("=")).join("&");
    const signature = createHmac("sha256", secret).update(`POST\n${path}\n${query}`).digest("hex");
    return fetch(`${broker.http}${path}?${change(`${query}&auth_signature=${signature}`)}`, { method: "POST", body });
  };
  const now = Math.floor(Date.now() / 1000);
  const rows = [
    [200, post({})],
    [401, post({ auth_timestamp: now - 605 })],
    [401, post({ auth_timestamp: now + 605 })],
    [200, post({ auth_timestamp: now + 590 })],
    [401, post({ auth_version: "2.0" })],
    [401, post({ body_md5: undefined })],
    [401, post({}, { text: "another body" })],
    [401, post({}, { change: (query) => query.replace(/auth_signature=.*/, "") })],
    [401, post({}, { change: (query) => query.replace(/auth_signature=.*/, (found) => found.toUpperCase().replace("AUTH_SIGNATURE", "auth_signature")) })],
    [401, post({}, { change: (query) => `${query}&auth_key=${KEY}` })],
  ];
  for (const [status, response] of rows) {
    const got = await response;
    assert.equal(got.status, status, got.url);
    const text = await got.text();
    assert.doesNotMatch(text, /[0-9a-f]{64}/, "a digest is never told");
    if (status === 200) assert.equal(text, "{}");
  }
  const late = await (await post({ auth_timestamp: now - 700 })).json();
  assert.match(late.error, /600 s off: the clock here says \d+/);
  assert.ok((await broker.metrics()).sum("polycast_auth_failures_total", { class: "api_key" }) === 11);
});

test("T4.2 the same signed request is carried out as often as it comes", async (t) => {
  const broker = await start(t);
  const listener = await listen5(t, broker, "chat", { token: token("42") });
  const body = JSON.stringify({ name: "e", channel: "chat", data: "1" });
  const query = library(broker).createSignedQueryString({ method: "POST", path: "/apps/1/events", params: {}, body });
  for (const _ of [1, 2]) assert.equal((await fetch(`${broker.http}/apps/1/events?${query}`, { method: "POST", body })).status, 200);
  assert.deepEqual(await hears(listener, 2), [1, 1]);
});

test("T4.2 with replay_cache it is carried out once, whatever connection it comes on", async (t) => {
  const broker = await start(t, { pusher: "replay_cache = 1000" });
  const listener = await listen5(t, broker, "chat", { token: token("42") });
  const statuses = [];
  for (const number of [1, 2, 3, 4, 5]) {
    const body = JSON.stringify({ name: "e", channel: "chat", data: `${number}` });
    const query = library(broker).createSignedQueryString({ method: "POST", path: "/apps/1/events", params: {}, body });
    // All at once, each on a connection of its own.
    const headers = { connection: "close" };
    const same = [1, 2, 3, 4].map(() => fetch(`${broker.http}/apps/1/events?${query}`, { method: "POST", body, headers }));
    statuses.push((await Promise.all(same)).map(({ status }) => status).sort());
  }
  assert.deepEqual(statuses, Array(5).fill([200, 401, 401, 401]));
  assert.deepEqual(await hears(listener, 5), [1, 2, 3, 4, 5]);
});

test("unknown endpoints and methods, and bodies that are too long, have an answer in JSON", async (t) => {
  const broker = await start(t, { limits: "http_body_bytes_max = 20000" });
  const pusher = library(broker);
  assert.equal((await refusal(pusher.get({ path: "/nothing" }))).status, 404);
  assert.equal((await refusal(pusher.get({ path: "/events" }))).status, 405);
  assert.equal((await refusal(pusher.post({ path: "/channels", body: {} }))).status, 405);
  assert.equal((await refusal(pusher.trigger("chat", "e", "x".repeat(10_241)))).status, 413);
  assert.equal((await refusal(pusher.trigger("chat", "e", "x".repeat(30_000)))).status, 413);
  assert.deepEqual(await answer(pusher.trigger("chat", "e", "x".repeat(10_000))), {});
});

test("a path prefix may be there or not, and be signed or not", async (t) => {
  const broker = await start(t, { pusher: 'path_prefix = "/sockets"' });
  const listener = await listen5(t, broker, "chat", { token: token("42") });
  const body = JSON.stringify({ name: "e", channel: "chat", data: "1" });
  const pusher = library(broker);
  for (const signed of ["/apps/1/events", "/sockets/apps/1/events", "/1/apps/1/events"]) {
    const query = pusher.createSignedQueryString({ method: "POST", path: signed, params: {}, body });
    for (const sent of ["/apps/1/events", "/sockets/apps/1/events", "/1/apps/1/events"]) {
      const { status } = await fetch(`${broker.http}${sent}?${query}`, { method: "POST", body });
      const isRight = signed === "/apps/1/events" || signed === sent || (signed.startsWith("/sockets") && !sent.startsWith("/sockets"));
      assert.equal(status, isRight ? 200 : 401, `${signed} sent as ${sent}`);
    }
  }
  await hears(listener, 7);
});
