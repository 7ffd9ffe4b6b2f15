// Recovery under fire: hundreds of unmodified clients whose connections are cut at random while a backend publishes.
//
//   FIRE_S=60 node --test tests/sdk/fire.test.mjs      longer than the ten seconds of every run
//
// A client may miss nothing, hear nothing twice and nothing out of order as long as what it missed is still in the
// history, and must be told so (`recovered: false`) when it is not. Most are away for a moment; the unlucky ones go
// through a relay of their own that is cut for longer than the history reaches back. When it is over, presence is who is
// connected.

import assert from "node:assert/strict";
import { Agent, request } from "node:http";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { API_KEY, startBroker, until } from "./broker.mjs";
import { Centrifuge5, WebSocket, token } from "./clients.mjs";
import { Relay } from "./relay.mjs";

const SECONDS = Number(process.env.FIRE_S ?? 10);
const CLIENTS = 500;
const UNLUCKY = 50;
const CHANNELS = 20;
const CHANNELS_EACH = 2;
const PUBLICATIONS_PER_S = 200;
/** Two seconds of one channel's publications. */
const HISTORY = 2 * PUBLICATIONS_PER_S / CHANNELS;
const OUTAGE_MS = 3_000;
const CUT_EVERY_MS = 100;
/** So that a connection lasts for about three seconds. */
const CUT_PROBABILITY = 1 / 30;

const NAMESPACES = `
[[apps.namespaces]]
name = ""
allow_subscribe_for_client = true
history_size = ${HISTORY}
history_ttl = "300s"
force_recovery = true
presence = true
`;

const channelOf = (number) => `fire${number % CHANNELS}`;

/** One client with its subscriptions: where each stands, and what was wrong. */
class Listener {
  constructor(url, number) {
    this.positions = new Map();
    this.connects = 0;
    this.client = new Centrifuge5(url, {
      websocket: WebSocket, token: token(`${number}`), minReconnectDelay: 20, maxReconnectDelay: 300,
    });
    this.client.on("connected", ({ client }) => { this.connects += 1; this.id = client; });
    for (let more = 0; more < CHANNELS_EACH; more++) this.#subscribe(channelOf(number + more * 7));
  }

  #subscribe(channel) {
    const subscription = this.client.newSubscription(channel);
    subscription.on("subscribed", (context) => {
      const { wasRecovering, recovered, streamPosition } = context;
      const before = this.positions.get(channel);
      if (before !== undefined && !wasRecovering) totals.wrong.push(`${channel}: did not ask to recover`);
      if (recovered) return void (totals.recovered += 1);
      // Where the stream stood when the server said so: was what came before really out of its reach?
      const missed = streamPosition.offset - (before ?? streamPosition.offset);
      if (wasRecovering && missed <= HISTORY) totals.wrong.push(`${channel}: ${missed} missed, none recovered`);
      if (wasRecovering) totals.unrecovered += 1;
      this.positions.set(channel, streamPosition.offset);
    });
    subscription.on("publication", ({ offset, data }) => {
      const due = this.positions.get(channel) + 1;
      if (offset !== due) totals.wrong.push(`${channel}: ${offset} came, ${due} was due`);
      this.positions.set(channel, offset);
      totals.heard += 1;
      totals.said.get(channel)?.set(offset, data.n) ?? totals.said.set(channel, new Map([[offset, data.n]]));
      if (totals.said.get(channel).get(offset) !== data.n) totals.wrong.push(`${channel}: ${offset} is not one publication`);
    });
    subscription.on("unsubscribed", (context) => totals.wrong.push(`${channel}: ${JSON.stringify(context)}`));
    subscription.subscribe();
  }
}

const totals = { heard: 0, recovered: 0, unrecovered: 0, cuts: 0, wrong: [], said: new Map() };

/** Publishes at the rate until `end`, a moment of `performance.now()`. Numbers by channel and offset. */
async function publishUntil(broker, end) {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  const published = new Map();
  const waiting = [];
  const start = performance.now();
  for (let number = 0; performance.now() < end; number++) {
    const due = start + number * 1_000 / PUBLICATIONS_PER_S;
    if (due > performance.now()) await pause(due - performance.now());
    waiting.push(publish(broker, agent, channelOf(number), number).then((offset) => {
      published.set(`${channelOf(number)} ${offset}`, number);
    }));
  }
  await Promise.all(waiting);
  agent.destroy();
  return published;
}

function publish(broker, agent, channel, n) {
  return new Promise((resolve, reject) => {
    const sent = request(`${broker.http}/api/publish`, { method: "POST", agent, headers: { "X-API-Key": API_KEY } }, async (response) => {
      let body = "";
      for await (const chunk of response) body += chunk;
      const { result } = JSON.parse(body);
      if (result?.offset) resolve(result.offset); else reject(new Error(`publish was answered with ${body}`));
    });
    sent.on("error", reject).end(JSON.stringify({ channel, data: { n } }));
  });
}

/** Cuts connections at random until `end`. */
async function fireUntil(lucky, unlucky, end) {
  let mend_ms = Infinity;
  while (performance.now() < end) {
    totals.cuts += lucky.cutSome(CUT_PROBABILITY);
    if (!unlucky.isCut && Math.random() < CUT_EVERY_MS / 1_500) {
      totals.cuts += unlucky.pairs.size;
      unlucky.cut();
      mend_ms = performance.now() + OUTAGE_MS;
    } else if (performance.now() > mend_ms) {
      unlucky.mend();
      mend_ms = Infinity;
    }
    await pause(CUT_EVERY_MS);
  }
  unlucky.mend();
}

test(`${CLIENTS} clients are cut for ${SECONDS} s and miss nothing that is in the history`, async (t) => {
  const broker = await startBroker(t, { shards: 2, namespaces: NAMESPACES });
  const lucky = await Relay.open(t, broker.ports.http);
  const unlucky = await Relay.open(t, broker.ports.http);
  const listeners = [...Array(CLIENTS).keys()].map((number) =>
    new Listener((number < UNLUCKY ? unlucky : lucky).websocket, number));
  t.after(() => listeners.forEach(({ client }) => client.disconnect()));
  for (const { client } of listeners) client.connect();
  const allThere = () => listeners.every(({ client, positions }) => client.state === "connected" && positions.size === CHANNELS_EACH);
  await until(allThere, "all clients are subscribed", 30_000);
  const metrics = await broker.metrics();
  for (const shard of ["0", "1"]) assert.ok(metrics.sum("polycast_subscriptions", { shard }) > 0, `shard ${shard}`);

  const end = performance.now() + SECONDS * 1_000;
  const [published] = await Promise.all([publishUntil(broker, end), fireUntil(lucky, unlucky, end)]);

  const tops = new Map();
  for (const place of published.keys()) {
    const [channel, offset] = place.split(" ");
    tops.set(channel, Math.max(tops.get(channel) ?? 0, Number(offset)));
  }
  const behind = () => listeners.flatMap(({ positions }) =>
    [...positions].filter(([channel, offset]) => offset < tops.get(channel)));
  await until(() => behind().length === 0, () => `${behind().length} subscriptions are behind: ${behind().slice(0, 5)}`, 30_000);

  for (let number = 0; number < CHANNELS; number++) {
    const channel = channelOf(number);
    const there = listeners.filter(({ positions }) => positions.has(channel)).map(({ id }) => id).sort();
    const shown = async () => Object.keys((await broker.api("presence", { channel })).presence).sort();
    await until(async () => isDeepStrictEqual(await shown(), there), `presence of ${channel} is who is connected`);
  }

  const { heard, recovered, unrecovered, cuts, wrong, said } = totals;
  const connects = listeners.reduce((sum, listener) => sum + listener.connects, 0);
  console.log(`${published.size} published, ${heard} heard; ${cuts} cuts, ${connects} connects; ` +
    `${recovered} recovered, ${unrecovered} not`);
  assert.deepEqual(wrong.slice(0, 20), []);
  for (const [channel, offsets] of said) {
    for (const [offset, n] of offsets) assert.equal(published.get(`${channel} ${offset}`), n);
  }
  assert.ok(published.size > 0.8 * SECONDS * PUBLICATIONS_PER_S, "the rate was held");
  assert.ok(recovered > SECONDS * CLIENTS / 10 && unrecovered >= UNLUCKY, "it was a fire");
});
