// pusher-js as a page loads it, in Chromium: its own defaults, and what only a browser has: JSONP, origins, CORS. Page and
// endpoints are an application's as the seed documentation writes it.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import cors from "cors";
import express from "express";
import Backend from "pusher";
import { startBroker, until } from "./broker.mjs";
import { openBrowser } from "./browser.mjs";
import { NAMESPACES } from "./pusher_js.mjs";

const BUILDS = join(dirname(createRequire(import.meta.url).resolve("pusher8/package.json")), "dist/web");
const KEY = "app-key";
const CSRF_TOKEN = "SOME_CSRF_TOKEN";
const start = (t, site) => startBroker(t, {
  shards: 2, server: `allowed_origins = ["${site.origin}"]`, app: `key = "${KEY}"\nsecret = "app-secret"`, namespaces: NAMESPACES,
});

const library = (broker) => new Backend({
  appId: "1", key: KEY, secret: "app-secret", host: "127.0.0.1", port: broker?.ports.http, useTLS: false,
  encryptionMasterKeyBase64: Buffer.alloc(32, 7).toString("base64"),
});

const page = (build) => `<!doctype html><title>an application</title><link rel="icon" href="data:,">
<script src="/dist/${build}"></script>
<script>
  const happened = { states: [], errors: [], user: [], channels: {} };
  function begin(key, options) {
    window.pusher = new Pusher(key, options);
    pusher.connection.bind("state_change", ({ current }) => happened.states.push(current));
    pusher.connection.bind("error", (error) => happened.errors.push((error.error ?? error).data?.code));
    pusher.bind("pusher:signin_success", ({ user_data }) => happened.user.push(["signed in", JSON.parse(user_data)]));
    pusher.user.bind_global((name, data) => happened.user.push([name, data]));
  }
  function listen(name) {
    const told = happened.channels[name] = [];
    const channel = pusher.subscribe(name);
    channel.bind_global((event, data) => told.push([event, data]));
    channel.bind("client-wave", (data, { user_id }) => told.push(["waved by", user_id]));
  }
</script>`;

/**
 * An application: its pages, and its endpoints by each way that pusher-js has. `asked`: method and address of each request
 * to those.
 */
async function application(t) {
  const backend = library();
  const asked = [];
  const app = express();
  app.get("/", (_, response) => response.send(page("pusher.js")));
  app.get("/encrypted", (_, response) => response.send(page("pusher-with-encryption.js")));
  app.use("/dist", express.static(BUILDS));
  app.use(express.urlencoded({ extended: false }));
  app.use((request, _, next) => { asked.push(`${request.method} ${request.originalUrl}`); next(); });

  const about = (id) => ({ name: id.toUpperCase() });
  const user = (id) => ({ id, user_info: about(id), watchlist: ["another_id_1"] });
  const signIn = ({ socket_id, user: id }) => backend.authenticateUser(socket_id, user(id));
  const authorize = ({ socket_id, channel_name, user: id }) => {
    const member = channel_name.startsWith("presence-") ? { user_id: id, user_info: about(id) } : undefined;
    return backend.authorizeChannel(socket_id, channel_name, member);
  };
  app.post("/pusher/user-auth", (request, response) => response.send(signIn(request.body)));
  app.post("/pusher/auth", (request, response) => response.send(authorize(request.body)));

  // At a place of the application's own, for other origins too, and only with the right token.
  const isOurs = (request, response, next) =>
    (request.get("X-CSRF-Token") === CSRF_TOKEN ? next() : response.status(403).send("Forbidden"));
  app.use("/guarded", cors());
  app.post("/guarded/pusher_auth.php", isOurs, (request, response) => response.send(signIn(request.body)));
  app.post("/guarded/channels", isOurs, (request, response) => response.send(authorize(request.body)));

  // As the seed's page has it.
  const jsonp = (answer) => (request, response) => {
    const query = request.query;
    const cb = query.callback.replace(/\\"/g, "") + "(" + JSON.stringify(answer(query)) + ");";
    response.set({ "Content-Type": "application/javascript" });
    response.send(cb);
  };
  app.get("/pusher_jsonp_user_auth", jsonp(signIn));
  app.get("/pusher_jsonp_auth", jsonp(authorize));

  const server = await new Promise((resolve) => { const it = app.listen(0, "127.0.0.1", () => resolve(it)); });
  t.after(() => { server.closeAllConnections(); server.close(); });
  return { origin: `http://127.0.0.1:${server.address().port}`, asked };
}

/** A page with a pusher-js that leads to the broker. `hosts`: where its requests went, but for the WebSocket. */
async function visit(t, browser, url, broker, options) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const tab = await context.newPage();
  const hosts = new Set();
  tab.on("request", (request) => hosts.add(new URL(request.url()).host));
  await tab.goto(url);
  await tab.evaluate(([key, options]) => begin(key, options), [KEY, {
    cluster: "local", wsHost: "127.0.0.1", wsPort: broker.ports.http, forceTLS: false, enabledTransports: ["ws", "wss"],
    ...options,
  }]);
  const happened = () => tab.evaluate(() => happened);
  let seen;
  const comes = (what, condition) =>
    until(async () => condition(seen = await happened()), () => `${what}: ${JSON.stringify(seen)}`, 15_000);
  return {
    context, tab, hosts, happened, comes,
    state: (wanted) => comes(wanted, ({ states }) => states.at(-1) === wanted),
    socketId: () => tab.evaluate(() => pusher.connection.socket_id),
    signIn: () => tab.evaluate(() => pusher.signin()),
    told: async (name) => (await happened()).channels[name],
    /** Subscribes; the first event must be `first`, which is returned with its data. */
    async listen(name, first = "pusher:subscription_succeeded") {
      await tab.evaluate((name) => listen(name), name);
      await comes(`${name} is subscribed`, ({ channels }) => channels[name].length > 0);
      const [event] = (await happened()).channels[name];
      assert.equal(event[0], first, JSON.stringify(event));
      return event;
    },
    /** The channel brings this event. */
    hears: (name, event) => comes(`${name}: ${JSON.stringify(event)}`,
      ({ channels }) => channels[name].some((told) => JSON.stringify(told) === JSON.stringify(event))),
  };
}

test("pusher-js in a browser", { concurrency: true }, async (t) => {
  const [site, other, browser] = await Promise.all([application(t), application(t), openBrowser(t)]);
  const auth = (user, more = {}) => ({
    channelAuthorization: { params: { user }, ...more.channel }, userAuthentication: { params: { user }, ...more.user },
  });

  await Promise.all([
    t.test("every kind of channel, client events and members, by the endpoints that it assumes", async (t) => {
      const broker = await start(t, site);
      const backend = library(broker);
      await backend.trigger("cache-news", "last", { n: 1 });
      const [ann, bob] = await Promise.all(["ann", "bob"].map((user) => visit(t, browser, site.origin, broker, auth(user))));
      await ann.state("connected");
      assert.equal(await ann.tab.evaluate(() => pusher.connection.connection.transport.name), "ws");

      await ann.listen("news");
      await backend.trigger("news", "headline", { text: "wörld" });
      await ann.hears("news", ["headline", { text: "wörld" }]);
      await ann.listen("cache-news");
      await ann.hears("cache-news", ["last", { n: 1 }]);
      await ann.listen("private-cache-news");
      await ann.comes("the miss", ({ channels }) => channels["private-cache-news"][1]?.[0] === "pusher:cache_miss");

      await Promise.all([ann.listen("private-room"), bob.listen("private-room")]);
      await ann.tab.evaluate(() => pusher.channel("private-room").trigger("client-typing", { t: [1, "é"] }));
      await bob.hears("private-room", ["client-typing", { t: [1, "é"] }]);

      await ann.listen("presence-room");
      const [, { count }] = await bob.listen("presence-room");
      assert.equal(count, 2);
      await ann.hears("presence-room", ["pusher:member_added", { id: "bob", info: { name: "BOB" } }]);
      await bob.tab.evaluate(() => pusher.channel("presence-room").trigger("client-wave", 1));
      await ann.hears("presence-room", ["waved by", "bob"]);
      await bob.context.close();
      await ann.hears("presence-room", ["pusher:member_removed", { id: "bob", info: { name: "BOB" } }]);
      assert.deepEqual((await ann.told("private-room")).slice(1), [], "its own event does not come back");
      assert.deepEqual((await ann.happened()).errors, []);
      assert.deepEqual([...ann.hosts], [new URL(site.origin).host], "nobody else is asked for anything");
      assert.ok(site.asked.includes("POST /pusher/auth"));
    }),

    t.test("encrypted channels, with the build that has what it takes", async (t) => {
      const broker = await start(t, site);
      const backend = library(broker);
      const ann = await visit(t, browser, `${site.origin}/encrypted`, broker, auth("ann"));
      await ann.listen("private-encrypted-room");
      await backend.trigger("private-encrypted-room", "secret", { hush: "é" });
      await ann.hears("private-encrypted-room", ["secret", { hush: "é" }]);
    }),

    t.test("a user signs in, is sent to, comes back after each close and is terminated", async (t) => {
      const broker = await start(t, site);
      const backend = library(broker);
      const cyd = await visit(t, browser, site.origin, broker, auth("cyd"));
      await cyd.state("connected");
      await cyd.signIn();
      const signedIn = (count) =>
        cyd.comes("the sign-in", ({ user }) => user.filter(([name]) => name === "signed in").length === count);
      await signedIn(1);
      const user = { id: "cyd", user_info: { name: "CYD" }, watchlist: ["another_id_1"] };
      assert.deepEqual(await cyd.tab.evaluate(() => pusher.user.user_data), user);
      for (const [place, code] of [4100, 4200].entries()) {
        const before = await cyd.socketId();
        await broker.api("disconnect", { user: "cyd", disconnect: { code, reason: "asked for" } });
        await signedIn(place + 2);
        assert.notEqual(await cyd.socketId(), before);
      }
      await until(async () => (await broker.metrics()).sum("polycast_subscriptions") === 1, "the user's own channel");
      await backend.sendToUser("cyd", "hello", { to: "you" });
      await cyd.comes("the event", ({ user }) => user.some(([name, data]) => name === "hello" && data.to === "you"));
      await backend.terminateUserConnections("cyd");
      await cyd.state("disconnected");
      await pause(1_500);
      assert.equal((await cyd.happened()).states.at(-1), "disconnected");
    }),

    t.test("JSONP, with endpoints at another origin that knows nothing of CORS", async (t) => {
      const broker = await start(t, site);
      const dan = await visit(t, browser, site.origin, broker, auth("dan", {
        channel: { transport: "jsonp", endpoint: `${other.origin}/pusher_jsonp_auth` },
        user: { transport: "jsonp", endpoint: `${other.origin}/pusher_jsonp_user_auth` },
      }));
      await dan.state("connected");
      await dan.signIn();
      await dan.comes("the sign-in", ({ user }) => user[0]?.[0] === "signed in" && user[0][1].id === "dan");
      await dan.listen("private-room");
      const [, { me }] = await dan.listen("presence-room");
      assert.equal(me.id, "dan");
      const socket = `socket_id=${await dan.socketId()}`;
      const callback = (number) => `callback=Pusher.auth_callbacks%5B'${number}'%5D`;
      const gets = other.asked.filter((request) => request.startsWith("GET"));
      assert.deepEqual(gets.map((request) => request.replaceAll("%27", "'")), [
        `GET /pusher_jsonp_user_auth?${callback(1)}&${socket}&user=dan`,
        `GET /pusher_jsonp_auth?${callback(2)}&${socket}&channel_name=private-room&user=dan`,
        `GET /pusher_jsonp_auth?${callback(3)}&${socket}&channel_name=presence-room&user=dan`,
      ]);
    }),

    t.test("endpoints of another name and origin that want a CSRF token", async (t) => {
      const broker = await start(t, site);
      const guarded = (user, more) => auth(user, {
        channel: { endpoint: `${other.origin}/guarded/channels`, ...more },
        user: { endpoint: `${other.origin}/guarded/pusher_auth.php`, ...more },
      });
      const right = await visit(t, browser, site.origin, broker, guarded("eve", { headers: { "X-CSRF-Token": CSRF_TOKEN } }));
      await right.state("connected");
      await right.signIn();
      await right.comes("the sign-in", ({ user }) => user[0]?.[0] === "signed in" && user[0][1].id === "eve");
      await right.listen("private-room");
      assert.ok(other.asked.includes("OPTIONS /guarded/pusher_auth.php"), "the browser asks first");

      const wrong = await visit(t, browser, site.origin, broker, guarded("fay", { headers: { "X-CSRF-Token": "ANOTHER" } }));
      await wrong.state("connected");
      await wrong.signIn();
      await wrong.comes("the refusal", ({ user }) => user[0]?.[0] === "pusher:signin_error" && user[0][1].status === 403);
      const [, { status }] = await wrong.listen("private-room", "pusher:subscription_error");
      assert.equal(status, 403);
      await wrong.listen("news");
      assert.deepEqual([(await wrong.happened()).errors, (await wrong.happened()).states.at(-1)], [[], "connected"]);
    }),

    t.test("a page of an origin that is not listed is told so, and stays away", async (t) => {
      const broker = await start(t, site);
      const stranger = await visit(t, browser, other.origin, broker, auth("gus"));
      await stranger.state("disconnected");
      await pause(1_500);
      const { errors, states } = await stranger.happened();
      assert.deepEqual([errors, states.at(-1)], [[4009], "disconnected"]);
      assert.equal((await broker.metrics()).sum("polycast_refused_total", { reason: "origin" }), 1);
    }),
  ]);
});
