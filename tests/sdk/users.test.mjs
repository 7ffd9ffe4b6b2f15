// What backends do to users' connections, as unmodified SDKs of both generations and encodings see it.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { startBroker, until } from "./broker.mjs";
import { hears, listen2, listen2protobuf, listen5, listen5protobuf, token } from "./clients.mjs";

const SDKS = { listen2, listen2protobuf, listen5, listen5protobuf };
const SHARDS = 2;

/** Protobuf has bytes, and none is not told from nothing. */
function readable(data) {
  if (!(data instanceof Uint8Array)) return data;
  return data.length ? JSON.parse(new TextDecoder().decode(data)) : undefined;
}

/** What a client was told of channels it did not ask for: `["subscribed", channel, data]` and the like. */
function serverSide(client) {
  const told = [];
  for (const [names, note] of [
    [["subscribe", "subscribed"], ({ channel, data }) => ["subscribed", channel, readable(data)]],
    [["unsubscribe", "unsubscribed"], ({ channel }) => ["unsubscribed", channel]],
    [["publish", "publication"], ({ channel, data }) => ["published", channel, readable(data)]],
  ]) {
    for (const name of names) client.on(name, (context) => told.push(note(context)));
  }
  return told;
}

describe("users", { concurrency: true }, () => {
  for (const [name, listen] of Object.entries(SDKS)) {
    test(`${name}: a backend subscribes and unsubscribes a user`, async (t) => {
      const broker = await startBroker(t, { shards: SHARDS });
      const { client, ends } = await listen(t, broker, "own", { token: token("42") });
      const told = serverSide(client);
      await broker.api("subscribe", { user: "42", channel: "srv", data: { hi: 1 } });
      await broker.publish("srv", { number: 1 });
      await broker.api("unsubscribe", { user: "42", channel: "srv" });
      await broker.publish("srv", { number: 2 });
      await broker.api("refresh", { user: "42", expire_at: Math.floor(Date.now() / 1000) + 60 });
      await broker.api("subscribe", { user: "42", channel: "end" });
      await until(() => told.some(([, channel]) => channel === "end"), "the last");
      // Its description of the push in Protobuf knows nothing of data.
      const data = name === "listen2protobuf" ? undefined : { hi: 1 };
      assert.deepEqual(told.slice(0, 3), [
        ["subscribed", "srv", data], ["published", "srv", { number: 1 }], ["unsubscribed", "srv"],
      ]);
      assert.equal(told.length, 4, JSON.stringify(told));
      assert.deepEqual(ends, [], "the connection stays");
    });

    test(`${name}: who is excluded does not hear a publication`, async (t) => {
      const broker = await startBroker(t, { shards: SHARDS });
      const [one, other] = [await listen(t, broker, "chat", { token: token("1") }), await listen5(t, broker, "chat", { token: token("2") })];
      await broker.api("publish", { channel: "chat", data: "not for one", exclude: one.connects[0].client });
      await broker.publish("chat", "for both");
      assert.deepEqual(await hears(one, 1), ["for both"]);
      assert.deepEqual(await hears(other, 2), ["not for one", "for both"]);
    });
  }
});
