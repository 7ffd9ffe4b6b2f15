// What Pusher's server library publishes, heard by pusher-js and by clients of another dialect; and the reverse.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import Pusher from "pusher";
import nacl from "tweetnacl";
import { startBroker, until } from "./broker.mjs";
import { hears, listen5, token, within } from "./clients.mjs";
import { NAMESPACES, connected, endsWith, towards } from "./pusher_js.mjs";

const PusherClient = createRequire(import.meta.url)("pusher8");
const KEY = "app-key";
const APP = `key = "${KEY}"\nsecret = "app-secret"`;
const start = (t, { app = "", ...options } = {}) =>
  startBroker(t, { shards: 2, app: `${APP}\n${app}`, namespaces: NAMESPACES, ...options });

const library = (broker, options = {}) =>
  new Pusher({ appId: "1", key: KEY, secret: "app-secret", host: "127.0.0.1", port: broker.ports.http, useTLS: false, ...options });

/** A pusher-js that is connected; `states` are those it went through. `pusher`: the backend that lets it in. */
async function connect(t, broker, { user, pusher = library(broker), ...options } = {}) {
  const client = new PusherClient(KEY, {
    ...towards(broker), ...options,
    channelAuthorization: { customHandler: ({ socketId, channelName }, done) =>
      done(null, pusher.authorizeChannel(socketId, channelName, channelName.startsWith("presence-") ? { user_id: user } : undefined)) },
    userAuthentication: { customHandler: ({ socketId }, done) => done(null, pusher.authenticateUser(socketId, { id: user })) },
  });
  endsWith(t, client);
  client.states = [];
  client.connection.bind("state_change", ({ current }) => client.states.push(current));
  await connected(client);
  return client;
}

/** Subscribes; `heard` fills with names and data of the channel's events. */
async function listen(client, name) {
  const channel = client.subscribe(name);
  channel.heard = [];
  channel.bind_global((event, data) => { if (!event.startsWith("pusher:")) channel.heard.push([event, data]); });
  await within(new Promise((resolve, reject) => {
    channel.bind("pusher:subscription_succeeded", resolve);
    channel.bind("pusher:subscription_error", (error) => reject(new Error(JSON.stringify(error))));
  }), `pusher-js subscribes to ${name}`);
  return channel;
}

test("data is the publisher's own to pusher-js, and JSON to clients of Centrifugo", async (t) => {
  const broker = await start(t);
  const pusher = library(broker);
  const channel = await listen(await connect(t, broker), "chat");
  const other = await listen5(t, broker, "chat", { token: token("42") });
  const texts = [];
  channel.bind_global((event, data) => texts.push(data));
  for (const data of [{ text: "wörld" }, "plain", "", "[1,\n2]", '"quoted"', 7, [null]]) await pusher.trigger("chat", "e", data);
  assert.deepEqual(await hears(other, 7), [{ text: "wörld" }, "plain", "", [1, 2], "quoted", 7, [null]]);
  // pusher-js parses what is JSON.
  await until(() => channel.heard.length === 7, "seven events");
  assert.deepEqual(channel.heard.map(([, data]) => data), [{ text: "wörld" }, "plain", "", [1, 2], "quoted", 7, [null]]);
  assert.ok(channel.heard.every(([event]) => event === "e"));
});

test("what Centrifugo's API publishes reaches pusher-js", async (t) => {
  const broker = await start(t);
  const channel = await listen(await connect(t, broker), "chat");
  await broker.publish("chat", { text: "hello" });
  await broker.publish("chat", "plain");
  await until(() => channel.heard.length === 2, "two events");
  assert.deepEqual(channel.heard, [["message", { text: "hello" }], ["message", "plain"]]);
});

test("everybody but the named connection hears it, whatever shard it is on", async (t) => {
  const broker = await start(t, { shards: 3 });
  const pusher = library(broker);
  const clients = await Promise.all([...Array(8)].map(() => connect(t, broker)));
  const channels = await Promise.all(clients.map((client) => listen(client, "chat")));
  for (const [number, client] of clients.entries()) {
    await pusher.trigger(["chat", "other"], "e", number, { socket_id: client.connection.socket_id });
    await pusher.triggerBatch([{ channel: "chat", name: "b", data: number, socket_id: client.connection.socket_id }]);
  }
  await pusher.trigger("chat", "e", "last", { socket_id: "1.1" });
  await until(() => channels.every((channel) => channel.heard.length === 15), "all but its own");
  for (const [number, channel] of channels.entries()) {
    const others = [...Array(8).keys()].filter((other) => other !== number);
    assert.deepEqual(channel.heard, [...others.flatMap((other) => [["e", other], ["b", other]]), ["e", "last"]]);
  }
});

test("a user who signed in is sent to, and terminated for good", async (t) => {
  const broker = await start(t);
  const pusher = library(broker);
  const client = await connect(t, broker, { user: "ann" });
  const other = await connect(t, broker, { user: "bob" });
  const heard = [];
  client.user.bind("private", (data) => heard.push(data));
  const signedIn = Promise.all([client, other].map((each) => new Promise((resolve) => each.bind("pusher:signin_success", resolve))));
  client.signin();
  other.signin();
  await within(signedIn, "both sign in");
  // The library subscribes to the user's own channel by itself, and does not say when.
  await until(async () => {
    await pusher.sendToUser("ann", "private", { for: "ann" });
    return heard.length > 0;
  }, "the user's event");
  assert.deepEqual(heard[0], { for: "ann" });
  await pusher.terminateUserConnections("ann");
  await until(() => client.connection.state === "disconnected", "the end");
  await pause(1_500);
  assert.equal(client.connection.state, "disconnected");
  assert.equal(other.connection.state, "connected");
});

test("what the library encrypts pusher-js decrypts, and nobody between them", async (t) => {
  const broker = await start(t);
  const pusher = library(broker, { encryptionMasterKeyBase64: Buffer.alloc(32, 7).toString("base64") });
  // The method by its former name.
  const formerly = Object.create(pusher, { authorizeChannel: { value: pusher.authenticate } });
  const client = await connect(t, broker, { pusher: formerly, nacl });
  const onTheWire = [];
  client.connection.bind("message", ({ event, data }) => { if (event === "secret") onTheWire.push(data); });
  const secrets = [["secret", { hush: "wörld" }], ["secret", "hush"]];
  for (const name of ["private-encrypted-room", "private-encrypted-cache-room"]) {
    const channel = await listen(client, name);
    await pusher.trigger(name, "secret", { hush: "wörld" });
    await pusher.triggerBatch([{ channel: "open", name: "e", data: 1 }, { channel: name, name: "secret", data: "hush" }]);
    await until(() => channel.heard.length === 2, () => `two events: ${JSON.stringify(channel.heard)}`);
    assert.deepEqual(channel.heard, secrets);
  }
  assert.equal(onTheWire.length, 4);
  for (const data of onTheWire) assert.deepEqual(Object.keys(data), ["nonce", "ciphertext"]);
  assert.doesNotMatch(JSON.stringify(onTheWire), /hush/);
  const late = await listen(await connect(t, broker, { pusher, nacl }), "private-encrypted-cache-room");
  await until(() => late.heard.length === 1, "what was remembered");
  assert.deepEqual(late.heard, [secrets[1]]);
  const { cache } = await (await pusher.get({ path: "/channels/private-encrypted-cache-room", params: { info: "cache" } })).json();
  const [nonce, ciphertext] = ["nonce", "ciphertext"].map((name) => Buffer.from(JSON.parse(cache.data)[name], "base64"));
  const opened = nacl.secretbox.open(ciphertext, nonce, pusher.channelSharedSecret("private-encrypted-cache-room"));
  assert.equal(Buffer.from(opened).toString(), '"hush"');
});

/**
 * A backend whose webhook is `hook`; `told` fills with the events that were signed right, `received` with all requests.
 */
async function backend(t, types) {
  const told = [];
  const received = [];
  const server = createServer((request, response) => {
    let rawBody = "";
    request.on("data", (chunk) => { rawBody += chunk; });
    request.on("end", () => {
      received.push({ headers: request.headers, rawBody });
      const hook = new Pusher({ appId: "1", key: KEY, secret: "app-secret" }).webhook(received.at(-1));
      told.push(...(hook.isValid() ? hook.getEvents() : ["invalid"]));
      response.end();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => { server.closeAllConnections(); server.close(); });
  const url = `http://127.0.0.1:${server.address().port}/`;
  return { told, received, hook: `[[apps.pusher.webhooks]]\nurl = "${url}"\nevent_types = ${JSON.stringify(types)}` };
}

test("what clients send each other is told by webhook", async (t) => {
  const { told, received, hook } = await backend(t, ["client_event"]);
  const broker = await start(t, { app: hook });
  const [one, two] = [await connect(t, broker), await connect(t, broker)];
  const [first, second] = [await listen(one, "private-room"), await listen(two, "private-room")];
  first.trigger("client-typing", { t: "é" });
  first.trigger("client-text", "plain");
  await until(() => second.heard.length === 2 && told.length === 2, "both events");
  assert.deepEqual(second.heard, [["client-typing", { t: "é" }], ["client-text", "plain"]]);
  const common = { name: "client_event", channel: "private-room", socket_id: one.connection.socket_id };
  const byEvent = (a, b) => a.event.localeCompare(b.event);
  assert.deepEqual(told.sort(byEvent), [
    { ...common, event: "client-text", data: "plain" },
    { ...common, event: "client-typing", data: '{"t":"é"}' },
  ]);

  const judge = (request, key, secret) => new Pusher({ appId: "1", key, secret }).webhook(request);
  const [request] = received;
  const another = judge(request, "another-key", "another-secret");
  assert.ok(another.isContentTypeValid() && another.isBodyValid() && !another.isValid());
  assert.ok(another.isValid([new Pusher.Token(KEY, "wrong"), { key: KEY, secret: "app-secret" }]));
  assert.equal(another.getData().events.length, 1);
  assert.ok(Math.abs(another.getTime() - Date.now()) < 60_000, `${another.getTime()}`);
  const changed = judge({ ...request, rawBody: request.rawBody.replace("client-", "client_") }, KEY, "app-secret");
  assert.ok(!changed.isValid());
});

test("members of a presence channel are listed, counted and told, once per user", async (t) => {
  const { told, hook } = await backend(t, ["member_added"]);
  const broker = await start(t, { app: hook });
  const pusher = library(broker);
  for (const user of ["ann", "ann", "bob"]) await listen(await connect(t, broker, { user }), "presence-room");
  const get = async (path, params) => (await pusher.get({ path, params })).json();
  assert.deepEqual(await get("/channels/presence-room/users"), { users: [{ id: "ann" }, { id: "bob" }] });
  await until(async () => (await get("/channels/presence-room", { info: "subscription_count" })).subscription_count === 3, "three");
  assert.deepEqual(await get("/channels", { filter_by_prefix: "presence-", info: "user_count" }), { channels: { "presence-room": { user_count: 2 } } });
  await until(() => told.length === 2, "both users");
  assert.deepEqual(told.map(({ user_id }) => user_id).sort(), ["ann", "bob"]);
});

test("what a cache channel remembers is told, and that it remembers nothing", async (t) => {
  const { told, hook } = await backend(t, ["cache_miss"]);
  const broker = await start(t, { app: hook });
  const pusher = library(broker);
  const asked = async () => (await pusher.get({ path: "/channels/cache-room", params: { info: "cache" } })).json();
  assert.deepEqual(await asked(), { occupied: false, cache: null });
  for (const _ of [1, 2]) await listen(await connect(t, broker), "cache-room");
  await until(() => told.length > 0, "the miss");
  await pusher.trigger("cache-room", "e", { now: 1 });
  const { occupied, cache } = await asked();
  assert.deepEqual([occupied, cache.data], [true, '{"now":1}']);
  assert.ok(cache.ttl > 1_700 && cache.ttl <= 1_800, `${cache.ttl} s`);
  const late = await listen(await connect(t, broker), "cache-room");
  await until(() => late.heard.length === 1, "what was remembered");
  assert.deepEqual(late.heard, [["e", { now: 1 }]]);
  assert.deepEqual(told, [{ name: "cache_miss", channel: "cache-room" }]);
});
