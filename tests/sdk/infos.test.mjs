// What tokens say of their users, where others see it: JSON as it is, bytes that are no text exactly.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import { startBroker, until } from "./broker.mjs";
import { Centrifuge2, Centrifuge5, WebSocket, token } from "./clients.mjs";
import { Relay } from "./relay.mjs";

const require = createRequire(import.meta.url);
const Centrifuge2Protobuf = require("centrifuge2/dist/centrifuge.protobuf.js");
const { Centrifuge: Centrifuge5Protobuf } = require("centrifuge5/build/protobuf");

const CHANNEL = "$open";
const NAMESPACES = `
[[apps.namespaces]]
name = ""
allow_publish_for_subscriber = true
presence = true
allow_presence_for_subscriber = true
join_leave = true
force_push_join_leave = true
history_size = 10
history_ttl = "300s"
force_recovery = true
allow_history_for_subscriber = true
`;

/** Every byte there is: no UTF-8, no JSON. */
const BYTES = Buffer.from([...Array(256).keys()].reverse());
const OTHER_BYTES = Buffer.from([0x80, 0, 0xc3, 0x28, 0xff]);
const base64 = (bytes) => bytes.toString("base64");

/** An `info` as the SDKs show it, made equal: what is absent, null or empty is left out, bytes are buffers. */
function told(info) {
  if (!info?.client) return undefined;
  const { user, client } = info;
  const shown = (value) => (value instanceof Uint8Array ? Buffer.from(value) : value);
  const all = { user, client, conn_info: shown(info.conn_info ?? info.connInfo), chan_info: shown(info.chan_info ?? info.chanInfo) };
  const isThere = (value) => value !== undefined && value !== null && value.length !== 0;
  return Object.fromEntries(Object.entries(all).filter(([, value]) => isThere(value)));
}

/** Somebody in the channel who notes what is told of others. */
function watch(t, kind, url, user, claims = {}, grant = {}) {
  const { Client, isLegacy, isProtobuf } = kind;
  const encoding = isProtobuf ? { protocol: "protobuf" } : {};
  const options = { websocket: WebSocket, ...encoding };
  const address = url + (isProtobuf ? "?format=protobuf" : "");
  const granted = () => token(user, { channel: CHANNEL, ...grant });
  const seen = { join: [], leave: [], publication: [], subscribed: [] };
  const note = (name) => (context) => seen[name].push(told(context.info));
  const watcher = { seen };
  if (isLegacy) {
    const client = new Client(address, {
      ...options, minRetry: 50, maxRetry: 200,
      onPrivateSubscribe: (_, answer) => answer({ status: 200, data: { channels: [{ channel: CHANNEL, token: granted() }] } }),
    });
    client.setToken(token(user, claims));
    client.on("connect", (context) => { watcher.client = context.client; });
    watcher.subscription = client.subscribe(CHANNEL, {
      join: note("join"), leave: note("leave"), publish: note("publication"),
      subscribe: (context) => seen.subscribed.push(Boolean(context.recovered)),
    });
    watcher.presence = async () => (await watcher.subscription.presence()).presence;
    Object.assign(watcher, { connect: () => client.connect(), leave: () => client.disconnect() });
  } else {
    const client = new Client(address, {
      ...options, token: token(user, claims), minReconnectDelay: 50, maxReconnectDelay: 200,
    });
    client.on("connected", (context) => { watcher.client = context.client; });
    watcher.subscription = client.newSubscription(CHANNEL, { token: granted() });
    for (const name of ["join", "leave", "publication"]) watcher.subscription.on(name, note(name));
    watcher.subscription.on("subscribed", (context) => seen.subscribed.push(Boolean(context.recovered)));
    watcher.subscription.subscribe();
    watcher.presence = async () => (await watcher.subscription.presence()).clients;
    Object.assign(watcher, { connect: () => client.connect(), leave: () => client.disconnect() });
  }
  watcher.history = async () => (await watcher.subscription.history({ limit: 10 })).publications.map(({ info }) => told(info));
  watcher.publish = (data) => watcher.subscription.publish(isProtobuf ? Buffer.from(JSON.stringify(data)) : data);
  watcher.joined = async () => {
    watcher.connect();
    await until(() => seen.subscribed.length && watcher.client, `${user} is subscribed`);
    return watcher;
  };
  t.after(() => watcher.leave());
  return watcher;
}

const KINDS = [
  ["centrifuge-js 2", { Client: Centrifuge2, isLegacy: true, isProtobuf: false }],
  ["centrifuge-js 5", { Client: Centrifuge5, isLegacy: false, isProtobuf: false }],
  ["centrifuge-js 2 in Protobuf", { Client: Centrifuge2Protobuf, isLegacy: true, isProtobuf: true }],
  ["centrifuge-js 5 in Protobuf", { Client: Centrifuge5Protobuf, isLegacy: false, isProtobuf: true }],
];

describe("info", { concurrency: true }, () => {
  for (const [name, kind] of KINDS) {
    test(`${name} is told bytes that are no text ${kind.isProtobuf ? "exactly" : "as base64"}, everywhere`, async (t) => {
      const broker = await startBroker(t, { shards: 2, namespaces: NAMESPACES });
      const relay = await Relay.open(t, broker.ports.http);
      const watcher = await watch(t, kind, relay.websocket, "watcher").joined();
      // Infos made of bytes win over those that are JSON.
      const claims = { info: { never: "seen" }, b64info: base64(BYTES) };
      const grant = { info: { never: "seen" }, b64info: base64(OTHER_BYTES) };
      const subject = await watch(t, KINDS[1][1], broker.websocket, "subject", claims, grant).joined();
      const form = kind.isProtobuf ? (bytes) => bytes : base64;
      const expected = { user: "subject", client: subject.client, conn_info: form(BYTES), chan_info: form(OTHER_BYTES) };
      const of = (entries) => entries.filter((info) => info?.user === "subject");

      await until(() => of(watcher.seen.join).length, "the join");
      assert.deepEqual(of(watcher.seen.join), [expected]);
      await subject.publish({ n: 1 });
      await until(() => watcher.seen.publication.length, "the publication");
      assert.deepEqual(watcher.seen.publication, [expected]);
      assert.deepEqual(told((await watcher.presence())[subject.client]), expected);
      assert.deepEqual(await watcher.history(), [expected]);

      // Published while the watcher is away: what it recovers says the same.
      relay.cut();
      await until(async () => (await broker.api("presence_stats", { channel: CHANNEL })).num_clients === 1, "the cut");
      await subject.publish({ n: 2 });
      await broker.publish(CHANNEL, { n: 3 });
      relay.mend();
      await until(() => watcher.seen.publication.length >= 3, "what was missed");
      assert.deepEqual(watcher.seen.publication, [expected, expected, undefined], "a backend's publication says of nobody");
      assert.equal(watcher.seen.subscribed.at(-1), true);

      subject.leave();
      await until(() => of(watcher.seen.leave).length, "the leave");
      assert.deepEqual(of(watcher.seen.leave), [expected]);
    });
  }

  // What a token says, and how clients see it. `json`: in both encodings the same JSON.
  const TEXTS = [
    ["JSON in bytes", { b64info: base64(Buffer.from('{"z": 1.50,\r\n"a":[]}')) }, { z: 1.5, a: [] }],
    ["text in bytes", { b64info: base64(Buffer.from("Zoë")) }, "Zoë"],
    ["JSON", { info: { name: "Zoë \u0000\u2028", list: [1, null, "\""] } }, { name: "Zoë \u0000\u2028", list: [1, null, "\""] }],
  ];
  for (const [what, claims, json] of TEXTS) {
    test(`an info that is ${what} is the same JSON for all`, async (t) => {
      const broker = await startBroker(t, { shards: 2, namespaces: NAMESPACES });
      const watchers = [];
      for (const [name, kind] of KINDS) watchers.push([kind, await watch(t, kind, broker.websocket, name).joined()]);
      const subject = await watch(t, KINDS[1][1], broker.websocket, "subject", claims, claims).joined();
      await subject.publish({ n: 1 });
      for (const [{ isProtobuf }, { seen }] of watchers) {
        await until(() => seen.publication.length && seen.join.some(({ user }) => user === "subject"), "both");
        const shown = (value) => (isProtobuf ? JSON.parse(value.toString()) : value);
        for (const { conn_info, chan_info } of [seen.publication[0], seen.join.find(({ user }) => user === "subject")]) {
          assert.deepEqual([shown(conn_info), shown(chan_info)], [json, json]);
        }
      }
    });
  }
});
