// What of a channel an unmodified SDK asks to be sent: differences between publications, or a part by tags; live, and
// after its connection was cut.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { startBroker, until } from "./broker.mjs";
import { Centrifuge5, JSON_FORM, PROTOBUF_FORM, WebSocket, token, within } from "./clients.mjs";
import { Relay } from "./relay.mjs";

const { Centrifuge: Centrifuge5Protobuf } = createRequire(import.meta.url)("centrifuge5/build/protobuf");

const NAMESPACES = `
[[apps.namespaces]]
name = "delta"
allow_subscribe_for_client = true
history_size = 20
history_ttl = "60s"
force_recovery = true
allowed_delta_types = ["fossil"]
[[apps.namespaces]]
name = "tags"
allow_subscribe_for_client = true
history_size = 20
history_ttl = "60s"
force_recovery = true
allow_tags_filter = true
[[apps.namespaces]]
name = "neither"
allow_subscribe_for_client = true
`;

const FORMS = [["JSON", Centrifuge5, JSON_FORM], ["Protobuf", Centrifuge5Protobuf, PROTOBUF_FORM]];

/** A subscription through a relay. `heard` fills with data, `answers` with what the server said of the subscription. */
async function listen(t, [, Centrifuge, form], relay, channel, options) {
  const client = new Centrifuge(form.url(relay), {
    websocket: WebSocket, token: token("42"), minReconnectDelay: 20, maxReconnectDelay: 100, ...form.options,
  });
  t.after(() => client.disconnect());
  const subscription = client.newSubscription(channel, options);
  const listener = { subscription, heard: [], answers: [], errors: [], position: 0 };
  subscription.on("subscribed", (context) => listener.answers.push(context));
  subscription.on("error", (context) => listener.errors.push(context));
  // A connection that is cut is an error of its own kind.
  client.on("error", (context) => { if (context.type !== "transport") listener.errors.push(context); });
  subscription.on("publication", ({ data, offset, tags }) => {
    listener.heard.push(form.decode(data));
    listener.position = Number(offset);
    listener.tags = tags;
  });
  const unsubscribed = new Promise((_, reject) => {
    subscription.on("unsubscribed", (context) => reject(new Error(JSON.stringify(context))));
  });
  unsubscribed.catch(() => {});
  subscription.subscribe();
  client.connect();
  await within(Promise.race([until(() => listener.answers.length === 1, "subscribed"), unsubscribed]), "subscribes");
  return listener;
}

/** Cuts the connection while `meanwhile` happens, and waits until it is back. */
async function away(relay, listener, meanwhile) {
  const before = listener.answers.length;
  relay.cut();
  await until(() => relay.pairs.size === 0, "the connection is cut");
  await meanwhile();
  relay.mend();
  await until(() => listener.answers.length > before, "the subscription is back");
  assert.equal(listener.answers.at(-1).recovered, true);
}

/** A table in which one row changes, with more than one byte for many characters. */
function table(change) {
  const rows = [...Array(40).keys()].map((row) => ({ row, of: `größe ${row} €`, value: row === change % 40 ? change : 0 }));
  return { change, rows };
}

for (const form of FORMS) {
  test(`${form[0]}: publications come as differences, live and after a cut`, async (t) => {
    const broker = await startBroker(t, { namespaces: NAMESPACES });
    const relay = await Relay.open(t, broker.ports.http);
    const listener = await listen(t, form, relay, "delta:a", { delta: "fossil" });
    const all = [];
    const publish = async (change, more = { delta: true }) => {
      all.push(table(change));
      await broker.api("publish", { channel: "delta:a", data: all.at(-1), ...more });
    };
    const heardAll = async () => {
      await until(() => listener.heard.length >= all.length, () => `${all.length} publications, heard ${listener.heard.length}`);
      assert.deepEqual(listener.heard, all);
      assert.deepEqual(listener.errors, []);
    };
    for (let change = 1; change <= 5; change++) await publish(change);
    await heardAll();
    let { numFullPayloads, numDeltaPayloads, bytesReceived, bytesDecoded } = listener.subscription.deltaStats();
    assert.deepEqual([numFullPayloads, numDeltaPayloads], [1, 4]);
    assert.ok(bytesReceived < bytesDecoded / 3, `${bytesReceived} of ${bytesDecoded} bytes`);
    // What nobody wants told as a difference comes whole, and the next is told from it.
    await publish(6, {});
    await publish(7);
    await heardAll();
    ({ numFullPayloads, numDeltaPayloads } = listener.subscription.deltaStats());
    assert.deepEqual([numFullPayloads, numDeltaPayloads], [2, 5]);
    await away(relay, listener, async () => {
      for (let change = 8; change <= 11; change++) await publish(change);
    });
    await publish(12);
    await heardAll();
    ({ numFullPayloads, numDeltaPayloads } = listener.subscription.deltaStats());
    assert.deepEqual([numFullPayloads, numDeltaPayloads], [3, 9], "one whole, then differences");
    // Nothing was missed: the next one comes whole.
    await away(relay, listener, async () => {});
    await publish(13);
    await publish(14);
    await heardAll();
    ({ numFullPayloads, numDeltaPayloads } = listener.subscription.deltaStats());
    assert.deepEqual([numFullPayloads, numDeltaPayloads], [4, 10]);
  });

  test(`${form[0]}: where differences are not allowed publications come as they are`, async (t) => {
    const broker = await startBroker(t, { namespaces: NAMESPACES });
    const relay = await Relay.open(t, broker.ports.http);
    const listener = await listen(t, form, relay, "neither:a", { delta: "fossil" });
    for (const change of [1, 2]) await broker.api("publish", { channel: "neither:a", data: table(change), delta: true });
    await until(() => listener.heard.length === 2, "two publications");
    assert.deepEqual(listener.heard, [table(1), table(2)]);
  });

  test(`${form[0]}: a part by tags, live and after a cut`, async (t) => {
    const broker = await startBroker(t, { namespaces: NAMESPACES });
    const relay = await Relay.open(t, broker.ports.http);
    const tagsFilter = {
      op: "and",
      nodes: [
        { key: "kind", cmp: "in", vals: ["goal", "card"] },
        { op: "not", nodes: [{ key: "minute", cmp: "lt", val: "10" }] },
      ],
    };
    const listener = await listen(t, form, relay, "tags:a", { tagsFilter });
    const publish = (n, kind, minute) =>
      broker.api("publish", { channel: "tags:a", data: { n }, tags: { kind, minute: `${minute}` } });
    const hears = async (...numbers) => {
      await until(() => listener.heard.length >= numbers.length, () => `${numbers}, heard ${JSON.stringify(listener.heard)}`);
      assert.deepEqual(listener.heard, numbers.map((n) => ({ n })));
      assert.deepEqual(listener.errors, []);
    };
    await publish(1, "goal", 9);
    await publish(2, "goal", 10);
    await publish(3, "corner", 50);
    await publish(4, "card", 51);
    await hears(2, 4);
    assert.deepEqual({ ...listener.tags }, { kind: "card", minute: "51" });
    await away(relay, listener, async () => {
      await publish(5, "corner", 52);
      await publish(6, "goal", 53);
      await publish(7, "goal", 1);
    });
    await publish(8, "card", 80);
    await hears(2, 4, 6, 8);
    assert.equal(listener.position, 8);
    // More than the history holds, none of it for this client, in two absences: its position moves with the first.
    for (const absence of [0, 1]) {
      await away(relay, listener, async () => {
        for (let n = 0; n < 15; n++) await publish(100 + n + absence, "corner", 81);
      });
    }
    await publish(9, "goal", 90);
    await hears(2, 4, 6, 8, 9);
    assert.equal(listener.position, 39);
  });
}

test("a part is refused where it is not allowed", async (t) => {
  const broker = await startBroker(t, { namespaces: NAMESPACES });
  const relay = await Relay.open(t, broker.ports.http);
  const tagsFilter = { key: "kind", cmp: "eq", val: "goal" };
  await assert.rejects(listen(t, FORMS[0], relay, "neither:a", { tagsFilter }), /108/);
});
