// One conversation that every SDK must be able to have, whatever it is written in.
//
// An SDK takes part as a "speaker" (speakers.mjs): it connects through a relay, subscribes, is told what to ask, and
// reports what it saw. The script knows nothing of any SDK.

import assert from "node:assert/strict";
import { API_KEY, until } from "./broker.mjs";
import { Raw, token, within } from "./clients.mjs";
import { Relay } from "./relay.mjs";
import { serveTokens } from "./token_server.mjs";

/** Everything that the conversation is about; a token is needed, for `$`. */
export const BROKER = {
  shards: 2,
  // A conversation lasts for more than one ping.
  app: '[apps.centrifuge]\nexpired_close_delay = "3s"\nping_interval = "3s"\npong_timeout = "2900ms"',
  namespaces: `
[[apps.namespaces]]
name = "room"
allow_publish_for_subscriber = true
presence = true
allow_presence_for_subscriber = true
join_leave = true
force_push_join_leave = true
history_size = 100
history_ttl = "300s"
force_recovery = true
allow_history_for_subscriber = true
`,
};

/** How long the first tokens are valid, and how much longer those of the witnesses: ends are spread over a second. */
const FIRST_S = 5;
const WITNESS_LATER_S = 2;
const MISSED = 5;

const INFO = { name: "Ada", tags: ["é", "\"", 1.5] };
const CHANNEL_INFO = { role: "speaker" };

/**
 * `join(t, setup)` makes the speaker. `setup`: `url`, `channel`, and `tokens` with `connection()` and
 * `subscription(client)`, which give promises of tokens; `tokens.url` serves them at `/connection` and
 * `/subscription?client=…`. `mayReport`: what the SDK reports as an error because of how it is made.
 */
export async function converse(t, broker, name, join, mayReport) {
  const channel = `$room:${name}`;
  const news = newsOf(name);
  const relay = await Relay.open(t, broker.ports.http);
  const observer = await Observer.open(t, broker, "observer", channel);
  const tokens = await Tokens.open(t, broker, name, channel);
  const speaker = await join(t, { url: relay.websocket, channel, tokens });

  // Connects and subscribes, each with a token; others are told who came. One channel the token brings along.
  const { client } = await speaker.sees("connected");
  assert.ok(client, "a client id");
  const { recovered } = await speaker.sees("subscribed");
  assert.ok(!recovered, "there was nothing to recover");
  const given = await speaker.sees("server_subscribed");
  assert.deepEqual([given.channel, Boolean(given.recovered)], [news, false]);
  const self = { user: name, client, conn_info: INFO, chan_info: CHANNEL_INFO };
  assert.deepEqual(await observer.sees("join", (info) => info.client === client), self);

  // Sees others come and go.
  const guest = await Observer.open(t, broker, "guest", channel);
  assert.deepEqual((await speaker.sees("join", ({ info }) => info.user === "guest")).info, guest.info);
  guest.raw.send({ id: 9, unsubscribe: { channel } });
  assert.deepEqual((await speaker.sees("leave", ({ info }) => info.user === "guest")).info, guest.info);

  // Publishes; everybody hears from whom, and of a backend nothing.
  await speaker.ask("publish", { data: { n: 1, text: "ü\n" } });
  await publish(broker, channel, { n: 2 });
  const first = { data: { n: 1, text: "ü\n" }, offset: 1, info: self };
  assert.deepEqual(await speaker.hears(2), [first, { data: { n: 2 }, offset: 2, info: undefined }]);
  assert.deepEqual(await observer.sees("pub", ({ offset }) => offset === 1), first);

  await publish(broker, news, { n: 1 });
  assert.deepEqual(await speaker.serverHears(1), [{ channel: news, data: { n: 1 }, offset: 1, info: undefined }]);

  // Asks who is there and what was said.
  assert.deepEqual(await speaker.ask("presence"), { [client]: self, [observer.info.client]: observer.info });
  assert.deepEqual(await speaker.ask("presence_stats"), { clients: 2, users: 2 });
  const { publications, offset, epoch } = await speaker.ask("history", { limit: 10 });
  assert.deepEqual(publications, [first, { data: { n: 2 }, offset: 2, info: undefined }]);
  assert.equal(offset, 2);
  assert.ok(epoch, "an epoch");
  const later = await speaker.ask("history", { limit: 10, since: { offset: 1, epoch } });
  const latest = await speaker.ask("history", { limit: 1, reverse: true });
  assert.deepEqual([later.publications, latest.publications], [publications.slice(1), publications.slice(1)]);

  // Stays when its tokens expire, for it refreshes them: those that do not are ended, and their tokens last longer.
  await within(tokens.connectionEnded, "a connection that is not refreshed ends", 25_000);
  await within(tokens.subscriptionEnded, "a subscription that is not refreshed ends", 25_000);
  await publish(broker, channel, { n: 3 });
  assert.deepEqual((await speaker.hears(3))[2].data, { n: 3 });
  assert.deepEqual(tokens.handedOut, { connection: 2, subscription: 2 });
  assert.deepEqual(speaker.taken.concat(speaker.left()).filter(({ type }) => ENDS.includes(type)), []);

  // Is cut off, misses something, and hears it when it is back: all of it, in order, once.
  relay.cut();
  await observer.sees("leave", (info) => info.client === client);
  for (let missed = 1; missed <= MISSED; missed++) {
    await publish(broker, channel, { n: 3 + missed });
    await publish(broker, news, { n: 1 + missed });
  }
  relay.mend();
  const again = await speaker.sees("connected");
  assert.notEqual(again.client, client);
  assert.equal((await speaker.sees("subscribed")).recovered, true);
  assert.equal((await speaker.sees("server_subscribed")).recovered, true);
  assert.equal((await observer.sees("join", (info) => info.user === name)).client, again.client);
  await publish(broker, channel, { n: 3 + MISSED + 1 });
  await publish(broker, news, { n: 1 + MISSED + 1 });
  for (const heard of [await speaker.hears(3 + MISSED + 1), await speaker.serverHears(1 + MISSED + 1)]) {
    assert.deepEqual(heard.map(({ data, offset }) => [data.n, offset]), [...heard.keys()].map((at) => [at + 1, at + 1]));
  }

  // Leaves.
  await speaker.ask("disconnect");
  await speaker.sees("disconnected");
  await observer.sees("leave", (info) => info.client === again.client);
  const { presence } = await broker.api("presence", { channel });
  assert.deepEqual(presence, { [observer.info.client]: observer.info });
  assert.deepEqual([speaker.heard.length, speaker.serverHeard.length], [3 + MISSED + 1, 1 + MISSED + 1], "nothing twice");
  const errors = speaker.left().filter(({ type, reason }) => type === "error" && !mayReport?.test(reason));
  assert.deepEqual(errors, []);
}

/** The channel that a connection token brings along. */
const newsOf = (user) => `room:news-${user}`;

/** What an SDK reports when a connection or a subscription ends. */
const ENDS = ["connecting", "disconnected", "subscribing", "unsubscribed"];

async function publish(broker, channel, data) {
  const response = await fetch(`${broker.http}/api/publish`, {
    method: "POST", headers: { "X-API-Key": API_KEY }, body: JSON.stringify({ channel, data }),
  });
  assert.ok((await response.json()).result?.offset, "it is in the history");
}

/** Hands out tokens: the first of each kind expires soon. */
class Tokens {
  static async open(t, broker, user, channel) {
    const tokens = new Tokens(t, broker, user, channel);
    tokens.url = await serveTokens(t, tokens);
    return tokens;
  }

  constructor(t, broker, user, channel) {
    Object.assign(this, { t, broker, user, channel, handedOut: { connection: 0, subscription: 0 } });
    this.connectionEnded = new Promise((resolve, reject) => { this.connectionWitness = { resolve, reject }; });
    this.subscriptionEnded = new Promise((resolve, reject) => { this.subscriptionWitness = { resolve, reject }; });
  }

  async connection() {
    const claims = { info: INFO, channels: [newsOf(this.user)] };
    if (this.handedOut.connection++) return token(this.user, { ...claims, seconds: 3_600 });
    this.#watchConnection().then(this.connectionWitness.resolve, this.connectionWitness.reject);
    return token(this.user, { ...claims, seconds: FIRST_S });
  }

  /** `client`: only for SDKs of the first generation, whose tokens are for one client. */
  async subscription(client) {
    const who = client ? { client } : { sub: this.user };
    const more = { ...who, channel: this.channel, info: CHANNEL_INFO };
    if (this.handedOut.subscription++) return token(undefined, { ...more, seconds: 3_600 });
    this.#watchSubscription().then(this.subscriptionWitness.resolve, this.subscriptionWitness.reject);
    return token(undefined, { ...more, seconds: FIRST_S });
  }

  /** A connection whose token expires later than the speaker's and is not refreshed: its end. */
  async #watchConnection() {
    const raw = await openAnswering(this.t, this.broker);
    await raw.ask({ id: 1, connect: { token: token("witness", { seconds: FIRST_S + WITNESS_LATER_S }) } });
    assert.equal((await raw.closed).code, 3005);
  }

  /** A subscription, likewise. */
  async #watchSubscription() {
    const raw = await openAnswering(this.t, this.broker);
    await raw.ask({ id: 1, connect: { token: token("witness") } });
    const channel = `$room:watched-${this.user}`;
    const grant = token("witness", { channel, seconds: FIRST_S + WITNESS_LATER_S });
    raw.send({ id: 2, subscribe: { channel, token: grant } });
    await until(() => raw.messages.some((message) => message.push?.unsubscribe?.code === 2501), "2501", 25_000);
  }
}

/** A raw client of version 2 that answers pings. */
async function openAnswering(t, broker) {
  const raw = await Raw.open(t, broker);
  raw.socket.on("message", (data) => { if (data.toString() === "{}") raw.socket.send("{}"); });
  return raw;
}

/** A client without SDK in the channel: what others are told. */
class Observer {
  static async open(t, broker, user, channel) {
    const raw = await openAnswering(t, broker);
    const info = { of: user };
    const { connect } = await raw.ask({ id: 1, connect: { token: token(user, { info }) } });
    const observer = new Observer(raw, { user, client: connect.client, conn_info: info });
    await raw.ask({ id: 2, subscribe: { channel, token: token(user, { channel }) } });
    return observer;
  }

  constructor(raw, info) {
    Object.assign(this, { raw, info });
  }

  /** The next push of a kind, without what it does not say: the info of a join or leave, or a publication. */
  async sees(kind, matches) {
    const body = ({ push }) => (kind === "pub" ? push?.pub : push?.[kind]?.info);
    const at = () => this.raw.messages.findIndex((message) => body(message) && matches(body(message)));
    await until(() => at() >= 0, () => `${kind} in ${JSON.stringify(this.raw.messages)}`, 10_000);
    return body(this.raw.messages.splice(at(), 1)[0]);
  }
}
