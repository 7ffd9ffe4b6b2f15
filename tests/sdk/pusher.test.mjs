// Unmodified Pusher clients: pusher-js in three versions, and laravel-echo on top of it. Signatures come from the
// vendor's own library, in an app's endpoint as its users write it.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import Echo from "laravel-echo";
import nacl from "tweetnacl";
import { launch, startBroker, until } from "./broker.mjs";
import { listen5, token, within } from "./clients.mjs";
import { connected, endsWith, next, towards } from "./pusher_js.mjs";

const require = createRequire(import.meta.url);
const Backend = require("pusher");
const VERSIONS = { "pusher-js 8.6.0": require("pusher8"), "pusher-js 8.0.1": require("pusher80"), "pusher-js 4.4.0": require("pusher4") };
const [NEWEST, , OLDEST] = Object.keys(VERSIONS);

const KEY = "app-key";
const MASTER_KEY = Buffer.alloc(32, 7).toString("base64");
const NAMESPACES = `
[[apps.namespaces]]
name = ""
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
allow_publish_for_client = true
allow_publish_for_subscriber = true
`;

const settings = (pusher = "") => ({
  shards: 2,
  server: 'drain_grace = "100ms"\ndrain_spread = "100ms"',
  app: `key = "${KEY}"\nsecret = "app-secret"\n[apps.pusher]\n${pusher}`,
  namespaces: NAMESPACES,
});
const start = (t, pusher) => startBroker(t, settings(pusher));

/** Another process in the place of one that has ended, as soon as the kernel gives its ports away. */
const startAgain = (t, ports) => until(async () => {
  const broker = await launch(t, { ...settings(), ports });
  return (await broker.becomesReady()) && broker;
}, "the ports are free again", 10_000);

/** An app's own endpoint. `member`: what it says of who joins a presence channel; null: nothing. `watchlist`: whom users who sign in watch. */
async function endpoint(t) {
  const backend = new Backend({ appId: "1", key: KEY, secret: "app-secret", encryptionMasterKeyBase64: MASTER_KEY });
  const app = { asked: [], member: (user) => ({ user_id: user, user_info: { name: user.toUpperCase() } }), backend };
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const form = new URLSearchParams(body);
    const user = form.get("user") ?? "somebody";
    app.asked.push(`${request.url} ${form.get("channel_name") ?? ""}`.trim());
    if (user === "nobody") return response.writeHead(403).end();
    const channel = form.get("channel_name");
    const answer = request.url === "/user"
      ? backend.authenticateUser(form.get("socket_id"), { id: user, user_info: { name: user }, watchlist: app.watchlist })
      : backend.authorizeChannel(form.get("socket_id"), channel, channel.startsWith("presence-") ? app.member(user) : undefined);
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(answer));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => { server.closeAllConnections(); server.close(); });
  app.url = `http://127.0.0.1:${server.address().port}`;
  return app;
}

/** A client that ends with the test. */
function client(t, version, broker, app, { user = "ann", ...options } = {}) {
  const params = { user };
  const Pusher = VERSIONS[version];
  const pusher = new Pusher(options.key ?? KEY, {
    ...towards(broker), httpHost: "127.0.0.1", httpPort: broker.ports.http, encrypted: false, disableStats: true,
    ...(version === OLDEST
      ? { authEndpoint: `${app.url}/channel`, auth: { params } }
      : {
        channelAuthorization: { endpoint: `${app.url}/channel`, transport: "ajax", params },
        userAuthentication: { endpoint: `${app.url}/user`, transport: "ajax", params },
      }),
    ...options,
  });
  pusher.states = [];
  pusher.connection.bind("state_change", ({ current }) => pusher.states.push(current));
  pusher.errors = [];
  pusher.connection.bind("error", (error) => pusher.errors.push(error));
  endsWith(t, pusher);
  return pusher;
}

async function joined(pusher, name) {
  const channel = pusher.subscribe(name);
  const failed = new Promise((_, reject) => {
    for (const event of ["pusher:subscription_error", "pusher:error"]) {
      channel.bind(event, (error) => reject(new Error(`${name}: ${JSON.stringify(error)}`)));
    }
  });
  channel.found = await Promise.race([next(channel, "pusher:subscription_succeeded", `subscribe ${name}`), failed]);
  return channel;
}

/** Publishes as any backend may, in the other dialect's API. */
const publish = (broker, channel, data, event) =>
  broker.api("publish", { channel, data, ...(event ? { tags: { event } } : {}) });

for (const version of Object.keys(VERSIONS)) {
  describe(version, { concurrency: true }, () => {
    test("public, private and presence channels, and events of clients", async (t) => {
      const [broker, app] = await Promise.all([start(t), endpoint(t)]);
      const ann = client(t, version, broker, app, { user: "ann" });
      const bob = client(t, version, broker, app, { user: "bob" });
      await Promise.all([connected(ann), connected(bob)]);
      assert.match(ann.connection.socket_id, /^\d+\.\d+$/);

      const news = await joined(ann, "news");
      const heard = next(news, "message");
      await publish(broker, "news", { a: [1, "é"] });
      assert.deepEqual(await heard, { a: [1, "é"] });
      const named = next(news, "headline");
      await publish(broker, "news", "text", "headline");
      assert.equal(await named, "text");

      const here = await joined(ann, "private-room");
      const there = await joined(bob, "private-room");
      for (const data of [{ t: 1 }, "text", 5]) {
        const told = next(there, "client-typing");
        assert.ok(here.trigger("client-typing", data));
        assert.deepEqual(await told, data);
      }

      const party = await joined(ann, "presence-party");
      assert.equal(party.members.count, 1);
      assert.deepEqual(party.members.me, { id: "ann", info: { name: "ANN" } });
      const added = next(party, "pusher:member_added");
      const partyOfBob = await joined(bob, "presence-party");
      assert.deepEqual(await added, { id: "bob", info: { name: "BOB" } });
      assert.equal(partyOfBob.members.count, 2);
      assert.deepEqual(partyOfBob.members.get("ann"), { id: "ann", info: { name: "ANN" } });
      const waved = next(party, "client-wave");
      partyOfBob.trigger("client-wave", { hi: true });
      assert.deepEqual(await waved, [{ hi: true }, { user_id: "bob" }]);
      const removed = next(party, "pusher:member_removed");
      bob.unsubscribe("presence-party");
      assert.deepEqual(await removed, { id: "bob", info: { name: "BOB" } });
      assert.equal(party.members.count, 1);
      assert.deepEqual([ann.errors, bob.errors], [[], []]);
    });

    test("a backend's refusal and a wrong signature are errors of the channel", async (t) => {
      const [broker, app] = await Promise.all([start(t), endpoint(t)]);
      const nobody = client(t, version, broker, app, { user: "nobody" });
      await connected(nobody);
      const refused = await next(nobody.subscribe("private-a"), "pusher:subscription_error");
      assert.equal(refused.status ?? refused, 403);
      const sign = app.backend.authorizeChannel.bind(app.backend);
      app.backend.authorizeChannel = (socket, channel) => sign(socket, `${channel}-else`);
      const ann = client(t, version, broker, app);
      await connected(ann);
      const wrong = await next(ann.subscribe("private-a"), "pusher:subscription_error");
      assert.deepEqual([wrong.type, wrong.status], ["AuthError", 401]);
      assert.equal(ann.connection.state, "connected");
      await joined(ann, "public");
    });

    test("cache channels bring their last event, or say that there is none", async (t) => {
      const [broker, app] = await Promise.all([start(t), endpoint(t)]);
      const ann = client(t, version, broker, app);
      const empty = ann.subscribe("private-cache-a");
      await next(empty, "pusher:cache_miss");
      await publish(broker, "cache-b", { n: 1 }, "first");
      await publish(broker, "cache-b", { n: 2 }, "second");
      assert.deepEqual(await next(ann.subscribe("cache-b"), "second"), { n: 2 });
      const backend = new Backend({ appId: "1", key: KEY, secret: "app-secret", host: "127.0.0.1", port: broker.ports.http, useTLS: false });
      const cached = async (channel) => (await backend.get({ path: `/channels/${channel}`, params: { info: "cache" } })).json();
      const { cache } = await cached("cache-b");
      assert.deepEqual(JSON.parse(cache.data), { n: 2 });
      assert.ok(cache.ttl > 1_700 && cache.ttl <= 1_800, `ttl ${cache.ttl}`);
      assert.deepEqual(await cached("private-cache-a"), { occupied: true, cache: null });
    });

    test("what ends a connection decides whether it comes back", async (t) => {
      const [broker, app] = await Promise.all([start(t), endpoint(t)]);
      const stranger = client(t, version, broker, app, { key: "nobodys" });
      await until(() => stranger.states.at(-1) === "disconnected", () => `4001 is final: ${stranger.states}`);
      assert.ok(stranger.errors.some((error) => (error.error ?? error).data?.code === 4001), JSON.stringify(stranger.errors));

      const ann = client(t, version, broker, app);
      await joined(ann, "private-room");
      const news = await joined(ann, "news");
      // 4200: another process at the same place.
      const first = ann.connection.socket_id;
      broker.signal("SIGTERM");
      await broker.exited;
      const after = await startAgain(t, broker.ports);
      await until(() => ann.connection.state === "connected" && ann.connection.socket_id !== first,
        () => `back: ${ann.states}`, 40_000);
      await until(() => news.subscribed, "subscribed again");
      const heard = next(news, "message");
      await publish(after, "news", "again");
      assert.equal(await heard, "again");
    });
  });
}

describe("the newest", { concurrency: true }, () => {
  test("signing in, and every class of close code after it", async (t) => {
    const [broker, app] = await Promise.all([start(t), endpoint(t)]);
    const ann = client(t, NEWEST, broker, app);
    await connected(ann);
    const signedIn = next(ann, "pusher:signin_success");
    ann.signin();
    assert.deepEqual(JSON.parse((await signedIn).user_data), { id: "ann", user_info: { name: "ann" } });
    const told = next(ann.user, "hello");
    await until(async () => (await broker.metrics()).sum("polycast_subscriptions") > 0, "the user's own channel");
    await publish(broker, "#server-to-user-ann", { you: 1 }, "hello");
    assert.deepEqual(await told, { you: 1 });

    // Whom the channel's endpoint does not name is who is signed in.
    app.member = () => undefined;
    const party = await joined(ann, "presence-party");
    assert.deepEqual(party.members.me, { id: "ann", info: { name: "ann" } });
    ann.unsubscribe("presence-party");

    const end = async (code) => {
      const before = ann.connection.socket_id;
      await broker.api("disconnect", { user: "ann", disconnect: { code, reason: "asked for" } });
      await until(() => ann.connection.socket_id !== before || ann.connection.state !== "connected", `${code} arrives`);
      return before;
    };
    for (const code of [4100, 4200]) {
      const again = next(ann, "pusher:signin_success", `signs in again after ${code}`);
      const before = await end(code);
      await until(() => ann.connection.state === "connected" && ann.connection.socket_id !== before, `back after ${code}`);
      await again;
    }
    await end(4009);
    await until(() => ann.connection.state === "disconnected", () => `4009 is final: ${ann.connection.state}`);
    await pause(1_500);
    assert.equal(ann.connection.state, "disconnected");
  });

  test("who of a watchlist is online, and who comes and goes", async (t) => {
    const [broker, app] = await Promise.all([start(t), endpoint(t)]);
    const enter = async (user) => {
      const pusher = client(t, NEWEST, broker, app, { user });
      await connected(pusher);
      const signedIn = next(pusher, "pusher:signin_success");
      pusher.signin();
      await signedIn;
      return pusher;
    };
    const bobs = [await enter("bob"), await enter("bob")];
    app.watchlist = ["bob", "cyd"];
    const ann = client(t, NEWEST, broker, app);
    const told = [];
    ann.user.watchlist.bind_global((name, { user_ids }) => told.push(`${name} ${user_ids}`));
    const online = next(ann.user.watchlist, "online");
    const offline = next(ann.user.watchlist, "offline");
    await connected(ann);
    ann.signin();
    assert.deepEqual(await online, { name: "online", user_ids: ["bob"] });
    assert.deepEqual(await offline, { name: "offline", user_ids: ["cyd"] });
    app.watchlist = undefined;
    const came = next(ann.user.watchlist, "online");
    await enter("cyd");
    assert.deepEqual((await came).user_ids, ["cyd"]);
    const gone = next(ann.user.watchlist, "offline");
    // One connection is not the user; and who is back at once was never gone.
    bobs[0].disconnect();
    bobs[1].disconnect();
    const again = await enter("bob");
    await pause(4_000);
    assert.deepEqual(told, ["online bob", "offline cyd", "online cyd"]);
    again.disconnect();
    assert.deepEqual((await gone).user_ids, ["bob"]);
    assert.deepEqual(ann.errors, []);
  });

  test("a wrong sign-in ends the connection for good", async (t) => {
    const [broker, app] = await Promise.all([start(t), endpoint(t)]);
    app.backend.authenticateUser = () => ({ auth: `${KEY}:${"0".repeat(64)}`, user_data: '{"id":"ann"}' });
    const ann = client(t, NEWEST, broker, app);
    await connected(ann);
    ann.signin();
    await until(() => ann.connection.state === "disconnected", () => ann.states.join());
  });

  test("encrypted channels: the broker passes on what it cannot read", async (t) => {
    const [broker, app] = await Promise.all([start(t), endpoint(t)]);
    const ann = client(t, NEWEST, broker, app, { nacl });
    const channel = await joined(ann, "private-encrypted-a");
    const heard = next(channel, "secret");
    const key = app.backend.channelSharedSecret?.("private-encrypted-a")
      ?? require("node:crypto").createHash("sha256").update("private-encrypted-a").update(Buffer.from(MASTER_KEY, "base64")).digest();
    const nonce = nacl.randomBytes(24);
    const ciphertext = nacl.secretbox(new TextEncoder().encode(JSON.stringify({ hush: 1 })), nonce, new Uint8Array(key));
    const base64 = (bytes) => Buffer.from(bytes).toString("base64");
    await publish(broker, "private-encrypted-a", { nonce: base64(nonce), ciphertext: base64(ciphertext) }, "secret");
    assert.deepEqual(await heard, { hush: 1 });
  });

  test("the number of subscribers, where it is switched on", async (t) => {
    const [broker, app] = await Promise.all([start(t, "subscription_count = true"), endpoint(t)]);
    const [ann, bob] = [client(t, NEWEST, broker, app), client(t, NEWEST, broker, app)];
    const channel = await joined(ann, "news");
    await joined(bob, "news");
    await until(() => channel.subscriptionCount === 2, () => `two: ${channel.subscriptionCount}`);
    bob.disconnect();
    await until(() => channel.subscriptionCount === 1, () => `one: ${channel.subscriptionCount}`);
  });

  test("a client that is kept waiting asks, and is answered", async (t) => {
    const [broker, app] = await Promise.all([start(t, 'activity_timeout = "1s"\npong_timeout = "1s"'), endpoint(t)]);
    const ann = client(t, NEWEST, broker, app);
    await connected(ann);
    const { socket_id } = ann.connection;
    await pause(5_000);
    assert.deepEqual([ann.connection.state, ann.connection.socket_id, ann.errors], ["connected", socket_id, []]);
  });

  test("hears centrifuge-js and is heard by it", async (t) => {
    const [broker, app] = await Promise.all([start(t), endpoint(t)]);
    const ann = client(t, NEWEST, broker, app);
    const channel = await joined(ann, "news");
    const other = await listen5(t, broker, "news", { token: token("bob") });
    const heard = next(channel, "message");
    await other.publish({ from: "centrifuge" });
    assert.deepEqual(await heard, { from: "centrifuge" });
  });
});

describe("laravel-echo", { concurrency: true }, () => {
  test("channel, private, join, whisper and leave", async (t) => {
    const [broker, app] = await Promise.all([start(t), endpoint(t)]);
    const echo = (user) => new Echo({ broadcaster: "pusher", client: client(t, NEWEST, broker, app, { user }) });
    const [ann, bob] = [echo("ann"), echo("bob")];
    const subscribed = (channel) => within(new Promise((resolve) => channel.subscribed(resolve)), channel.name);

    const orders = ann.channel("orders");
    await subscribed(orders);
    const shipped = new Promise((resolve) => orders.listen(".shipped", resolve));
    await publish(broker, "orders", { id: 7 }, "shipped");
    assert.deepEqual(await within(shipped, "an event"), { id: 7 });

    const [room, other] = [ann.private("room"), bob.private("room")];
    await Promise.all([subscribed(room), subscribed(other)]);
    const typing = new Promise((resolve) => other.listenForWhisper("typing", resolve));
    room.whisper("typing", { t: 1 });
    assert.deepEqual(await within(typing, "a whisper"), { t: 1 });

    const party = ann.join("party");
    const seen = { here: [], joining: [], leaving: [] };
    party.here((users) => seen.here.push(users)).joining((user) => seen.joining.push(user)).leaving((user) => seen.leaving.push(user));
    await until(() => seen.here.length === 1, "here");
    bob.join("party");
    await until(() => seen.joining.length === 1, "joining");
    bob.leave("party");
    await until(() => seen.leaving.length === 1, "leaving");
    assert.deepEqual(seen, { here: [[{ name: "ANN" }]], joining: [{ name: "BOB" }], leaving: [{ name: "BOB" }] });
  });
});
