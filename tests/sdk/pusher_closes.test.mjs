// What pusher-js, alone and under laravel-echo, does after each close that the broker can be brought to: it comes back,
// subscribes again and hears, or it stays away for good; and nothing makes it try again without a pause.
//
// Not to be brought about: 4004 and 4202 are never sent (too many connections of an address are answered with 429, too
// many at all wait in the kernel, and whoever is silent is asked and then ended with 4201), 4000 is not used, 1011 needs a
// panic, 1001 and 1003 have no cause: what is no message of the protocol is refused and ends nothing.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import Echo from "laravel-echo";
import Backend from "pusher";
import { launch, startBroker, until } from "./broker.mjs";
import { Raw } from "./clients.mjs";
import { NAMESPACES, connected, endsWith, next, towards } from "./pusher_js.mjs";
import { Relay } from "./relay.mjs";

const Pusher = createRequire(import.meta.url)("pusher8");
const KEY = "app-key";
const settings = ({ pusher = "", ...options } = {}) => ({
  server: 'drain_grace = "0s"\ndrain_spread = "0s"',
  app: `key = "${KEY}"\nsecret = "app-secret"\n[apps.pusher]\n${pusher}`,
  namespaces: NAMESPACES,
  ...options,
});

const library = (broker) =>
  new Backend({ appId: "1", key: KEY, secret: "app-secret", host: "127.0.0.1", port: broker.ports.http, useTLS: false });

/** How an application listens to a channel. */
const LISTENS = {
  "pusher-js": (options) => {
    const pusher = new Pusher(options.key, options);
    return { pusher, listen: (name, heard) => pusher.subscribe(name).bind("note", heard) };
  },
  "laravel-echo": (options) => {
    const echo = new Echo({ broadcaster: "pusher", Pusher, ...options });
    const channel = (name) => (name.startsWith("private-") ? echo.private(name.slice("private-".length)) : echo.channel(name));
    return { echo, pusher: echo.connector.pusher, listen: (name, heard) => channel(name).listen(".note", heard) };
  },
};

/** A client that was told to connect. It remembers what becomes of its connections. */
function begin(t, kind, broker, { user = { id: "ann" }, ...options } = {}) {
  const backend = library(broker);
  const client = LISTENS[kind]({
    key: KEY, ...towards(broker),
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, done) => done(null, backend.authorizeChannel(socketId, channelName)),
    },
    userAuthentication: { customHandler: ({ socketId }, done) => done(null, backend.authenticateUser(socketId, user)) },
    ...options,
  });
  const { connection } = client.pusher;
  endsWith(t, client.pusher);
  Object.assign(client, { heard: [], states: [], errors: [], told: [], closes: [] });
  connection.bind("state_change", ({ current }) => client.states.push({ state: current, at: performance.now() }));
  connection.bind("error", (error) => client.errors.push((error.error ?? error).data?.code));
  connection.bind("message", ({ event, data }) => { if (event === "pusher:error") client.told.push(data.code); });
  connection.bind("connected", () => connection.connection.transport.bind("closed",
    (event) => client.closes.push({ code: event?.code, at: performance.now() })));
  return client;
}

const CHANNELS = ["news", "private-room"];

/** A client that hears both channels. */
async function listening(t, kind, broker, options) {
  const client = begin(t, kind, broker, options);
  await connected(client.pusher);
  for (const name of CHANNELS) client.listen(name, (data) => client.heard.push(`${name} ${data}`));
  await subscribed(client);
  return client;
}

const subscribed = ({ pusher }) => until(() => CHANNELS.every((name) => pusher.channel(name).subscribed), "both subscriptions");

async function signedIn(t, kind, broker, options) {
  const client = await listening(t, kind, broker, options);
  const done = next(client.pusher, "pusher:signin_success");
  client.pusher.signin();
  await done;
  return client;
}

/** The TCP connection below, for what no client does by itself. */
const stream = ({ pusher }) => pusher.connection.connection.transport.socket._stream;

/** Both channels bring what is published now. */
async function hears(client, broker) {
  const since = client.heard.length;
  for (const channel of CHANNELS) await broker.api("publish", { channel, data: since, tags: { event: "note" } });
  await until(() => client.heard.length === since + CHANNELS.length, () => `both publications: ${client.heard}`);
  assert.deepEqual(client.heard.slice(since).sort(), CHANNELS.map((name) => `${name} ${since}`));
}

/** Whether a client tries again, and after what pause. */
const AT_ONCE = "at once";
const A_SECOND = "after a second";

/**
 * The client is closed with `code` by what `provoke` does, and is back after `pause`, one of these. `server`: the broker
 * that it comes back to.
 */
async function comesBack(client, broker, code, pause, provoke, server = () => broker) {
  const { pusher } = client;
  const before = pusher.connection.socket_id;
  await provoke();
  await until(() => client.closes.length > 0, () => `the close: ${JSON.stringify(client.states)}`, 15_000);
  const [close] = client.closes;
  assert.equal(close.code, code);
  // The protocol's own ends are told before they come, for clients and tools that do not look at close codes.
  assert.equal(client.told.includes(code), code >= 4000, `${client.told}`);
  const back = () => pusher.connection.state === "connected" && pusher.connection.socket_id !== before;
  await until(back, () => `back: ${JSON.stringify(client.states)}`, 40_000);
  const waited_ms = client.states.find(({ state, at }) => state === "connecting" && at >= close.at - 1).at - close.at;
  const [least_ms, most_ms] = pause === AT_ONCE ? [0, 950] : [950, 5_000];
  assert.ok(waited_ms >= least_ms && waited_ms < most_ms, `tried again after ${waited_ms} ms`);
  await subscribed(client);
  await hears(client, await server());
  assert.equal(client.closes.length, 1);
}

/** The client's last word: it is told `code`, and neither goes on nor tries again. */
async function staysAway(client, broker, code) {
  const { connection } = client.pusher;
  await until(() => connection.state === "disconnected", () => `the end: ${JSON.stringify(client.states)}`, 10_000);
  assert.ok(client.errors.includes(code), `${client.errors}`);
  for (const close of client.closes) assert.equal(close.code, code);
  const attempts = async () => (await broker.metrics()).sum("polycast_connections_accepted_total");
  const before = await attempts();
  // Longer than the longest of its pauses before a first attempt.
  await wait(1_500);
  assert.deepEqual([connection.state, await attempts()], ["disconnected", before]);
  if (client.echo) assert.equal(client.echo.connectionStatus(), "disconnected");
}

const disconnect = (broker, code) => broker.api("disconnect", { user: "ann", disconnect: { code, reason: "asked for" } });
const times = (count, act) => { for (let at = 0; at < count; at++) act(at); };
const metric = async (broker, name) => (await broker.metrics()).sum(name);

/** Name; options of the broker; close code; the pause; how the client comes to it; what it does. */
const RETURNS = [
  ["more subscribes than allowed", { limits: "subscribes_per_second_max = 20" }, 4100, A_SECOND, listening,
    ({ pusher }) => times(50, (at) => pusher.send_event("pusher:subscribe", { channel: `other${at}` }))],
  ["more commands than allowed", { limits: 'rate_burst = "1s"\ncommands_per_second_max = 20' }, 4100, A_SECOND, listening,
    ({ pusher }) => times(50, (at) => pusher.send_event("pusher:subscribe", { channel: `other${at}` }))],
  ["a backend's subscription over the limit", { pusher: "channel_limit = 3" }, 4100, A_SECOND, signedIn,
    async (_, broker) => {
      await until(async () => await metric(broker, "polycast_subscriptions") === 3, "the user's own channel");
      await broker.api("subscribe", { user: "ann", channel: "fourth" });
    }],
  ["it reads too slowly", { pusher: "queue_max_size = 65536" }, 4100, A_SECOND, listening,
    async (client, broker) => {
      const below = stream(client);
      below.pause();
      const data = "x".repeat(60_000);
      await until(async () => {
        for (let count = 0; count < 20; count++) await broker.api("publish", { channel: "news", data });
        return await metric(broker, "polycast_slow_consumers_total") > 0;
      }, "it is too slow", 20_000);
      below.resume();
    }],
  ["it does not answer", { pusher: 'activity_timeout = "1s"\npong_timeout = "1s"' }, 4201, AT_ONCE, listening,
    async (client, broker) => {
      const below = stream(client);
      below.pause();
      await until(async () => await metric(broker, "polycast_connections_no_pong_total") > 0, "no pong", 10_000);
      below.resume();
    }],
  ["an event over the size of a message", {}, 1009, A_SECOND, listening,
    ({ pusher }) => { pusher.channel("private-room").trigger("client-large", "x".repeat(20_000)); }],
  ["too many pings", { limits: "pings_per_second_max = 5" }, 1008, A_SECOND, listening,
    ({ pusher }) => times(50, () => pusher.connection.connection.transport.socket.ping())],
  ["a text that is not UTF-8", {}, 1007, A_SECOND, listening,
    (client) => { stream(client).write(Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0xff])); }],
  ["a frame with a reserved bit", {}, 1002, A_SECOND, listening,
    (client) => { stream(client).write(Buffer.from([0xc1, 0x80, 0, 0, 0, 0])); }],
  ["a user whom the backend declares expired", {}, 4200, AT_ONCE, signedIn,
    (_, broker) => broker.api("refresh", { user: "ann", expired: true })],
  ["a user whose time is over", {}, 4200, AT_ONCE, signedIn,
    (_, broker) => broker.api("refresh", { user: "ann", expire_at: Math.floor(Date.now() / 1000) + 2 })],
  ["a backend's subscription whose time is over", {}, 4200, AT_ONCE, signedIn,
    (_, broker) => broker.api("subscribe", { user: "ann", channel: "for-now", expire_at: Math.floor(Date.now() / 1000) + 2 })],
  ...[[3000, A_SECOND], [4100, A_SECOND], [4199, A_SECOND], [4200, AT_ONCE], [4299, AT_ONCE]].map(([code, pause]) =>
    [`${code} from a backend`, {}, code, pause, signedIn, (_, broker) => disconnect(broker, code)]),
];

/** Name, options of the broker, close code, how the client comes to it, its options; what is done. */
const ENDS = [
  ["a key that nobody has", {}, 4001, begin, { key: "nobodys" }],
  ["an app whose Pusher dialect is off", { pusher: "enabled = false" }, 4003, begin],
  ["a path below the endpoint", {}, 4005, begin, { key: `${KEY}/more` }],
  // pusher-js writes the key into the address as it is, its own parameters behind.
  ["a version that is no number", {}, 4006, begin, { key: `${KEY}?protocol=seven&rest=` }],
  ["a version of long ago", {}, 4007, begin, { key: `${KEY}?protocol=4&rest=` }],
  ["no version", {}, 4008, begin, { key: `${KEY}?client=js&rest=` }],
  ["nothing was proven in time", { pusher: 'authorized_connections = true\nauthorized_connections_timeout = "1s"' }, 4009, begin],
  ["a sign-in with a wrong signature", {}, 4009, listening,
    { userAuthentication: { customHandler: (_, done) => done(null, { auth: `${KEY}:${"0".repeat(64)}`, user_data: '{"id":"ann"}' }) } },
    ({ pusher }) => pusher.signin()],
  ["a user whose id is too long", { pusher: "user_id_max_length = 2" }, 4009, listening, {}, ({ pusher }) => pusher.signin()],
  ["a user whom the backend terminates", {}, 4009, signedIn, {}, (_, broker) => library(broker).terminateUserConnections("ann")],
  ["a user whom the backend disconnects", {}, 4009, signedIn, {}, (_, broker) => broker.api("disconnect", { user: "ann" })],
  ["more errors in a row than allowed", { limits: "errors_in_a_row_max = 3" }, 4009, listening, {},
    ({ pusher }) => times(3, () => pusher.send_event("nonsense", {}))],
  ...[4004, 4099, 4300, 4301, 4999].map((code) =>
    [`${code} from a backend`, {}, code, signedIn, {}, (_, broker) => disconnect(broker, code)]),
];

describe("closes", { concurrency: 8 }, () => {
  test("too many connections of one address: the next one waits, and comes when there is room", async (t) => {
    const broker = await startBroker(t, settings({ limits: "connections_per_address_max = 1" }));
    const first = await listening(t, "pusher-js", broker);
    const second = begin(t, "pusher-js", broker);
    const refused = () => metric(broker, "polycast_refused_total");
    await until(async () => await refused() === 1, "the refusal");
    first.pusher.disconnect();
    await next(second.pusher.connection, "connected", "the second attempt", 25_000);
    assert.equal(await refused(), 1, "without a pause there would have been more");
  });

  for (const kind of Object.keys(LISTENS)) {
    for (const [name, options, code, pause, enter, provoke] of RETURNS) {
      test(`${kind}, ${code}, ${name}: back ${pause}`, async (t) => {
        const broker = await startBroker(t, settings(options));
        const client = await enter(t, kind, broker);
        await comesBack(client, broker, code, pause, () => provoke(client, broker));
      });
    }

    for (const [name, options, code, enter, more, act = () => {}] of ENDS) {
      test(`${kind}, ${code}, ${name}: away for good`, async (t) => {
        const broker = await startBroker(t, settings(options));
        const client = await enter(t, kind, broker, more);
        await act(client, broker);
        await staysAway(client, broker, code);
      });
    }

    test(`${kind}, 4200, the broker is drained: at once at the next one`, async (t) => {
      const [first, second] = await Promise.all([startBroker(t, settings()), startBroker(t, settings())]);
      const relay = await Relay.open(t, first.ports.http);
      const client = await listening(t, kind, first, { wsPort: relay.port });
      await comesBack(client, second, 4200, AT_ONCE, () => {
        relay.target = second.ports.http;
        first.signal("SIGTERM");
      });
    });

    test(`${kind}, 1006, the broker is killed: back after a second at another in its place`, async (t) => {
      const first = await startBroker(t, settings());
      const client = await listening(t, kind, first);
      let second;
      await comesBack(client, first, 1006, A_SECOND, async () => {
        first.signal("SIGKILL");
        await first.exited;
        second = until(async () => {
          const broker = await launch(t, { ...settings(), ports: first.ports });
          return (await broker.becomesReady()) && broker;
        }, "the ports are free again", 10_000);
        await second;
      }, () => second);
    });

    test(`${kind}, 4301 and 4302 are events, after which it goes on`, async (t) => {
      const broker = await startBroker(t, settings({ pusher: "watchlist_limit = 2" }));
      const client = await signedIn(t, kind, broker, { user: { id: "ann", watchlist: ["a", "b", "c"] } });
      await until(() => client.errors.length === 1, "4302");
      const other = await listening(t, "pusher-js", broker);
      const told = [];
      other.pusher.channel("private-room").bind("client-count", (count) => told.push(count));
      const { socket_id } = client.pusher.connection;
      const room = client.pusher.channel("private-room");
      times(15, (at) => room.trigger("client-count", at));
      await until(() => client.errors.length > 1 && told.length + client.errors.length === 16, () => `${told} ${client.errors}`);
      assert.deepEqual(new Set(client.errors), new Set([4301, 4302]));
      await hears(client, broker);
      assert.deepEqual([client.pusher.connection.socket_id, client.closes], [socket_id, []]);
    });

    test(`${kind}: what is no message of the protocol ends nothing`, async (t) => {
      const broker = await startBroker(t, settings());
      const client = await listening(t, kind, broker);
      const { socket } = client.pusher.connection.connection.transport;
      const { socket_id } = client.pusher.connection;
      const messages = ["", "no JSON", "[]", Buffer.from([0, 1, 2]), '{"event":7}', '{"event":"pusher:pong"}'];
      for (const message of messages) socket.send(message);
      await until(() => client.errors.length === 5, () => `${client.errors}`);
      assert.deepEqual(client.errors, [null, null, null, null, null]);
      await hears(client, broker);
      assert.deepEqual([client.pusher.connection.socket_id, client.closes], [socket_id, []]);
    });
  }

  test("4009 for a page of a foreign origin, after the upgrade", async (t) => {
    const broker = await startBroker(t, settings());
    const url = `ws://127.0.0.1:${broker.ports.http}/app/${KEY}?protocol=7`;
    const raw = await Raw.open(t, broker, { url, socket: { origin: "https://elsewhere.example" } });
    assert.equal((await raw.next()).data.code, 4009);
    assert.equal((await raw.closed).code, 4009);
  });
});
