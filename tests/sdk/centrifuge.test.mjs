// An unmodified client connects with a token, a backend publishes, everyone hears it: both generations of the protocol.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { API_KEY, startBroker } from "./broker.mjs";
import {
  Raw, hears, listen2, listen2protobuf, listen3, listen3protobuf, listen4, listen4protobuf, listen5, listen5protobuf, token,
} from "./clients.mjs";

const GENERATIONS = [
  ["centrifuge-js 2.8.5", listen2], ["centrifuge-js 3", listen3], ["centrifuge-js 4", listen4], ["centrifuge-js 5", listen5],
  ["centrifuge-js 2.8.5 in Protobuf", listen2protobuf], ["centrifuge-js 3 in Protobuf", listen3protobuf],
  ["centrifuge-js 4 in Protobuf", listen4protobuf], ["centrifuge-js 5 in Protobuf", listen5protobuf],
];
const INFO = { name: "Alexander Emelin" };

describe("centrifuge", { concurrency: true }, () => {
  for (const [name, listen] of GENERATIONS) {
    test(`${name} hears the backend and another client, with the token's info`, async (t) => {
      const broker = await startBroker(t);
      const listener = await listen(t, broker, "chat", { token: token("42") });
      await broker.publish("chat", { from: "backend" });
      await hears(listener, 1);
      assert.deepEqual(listener.heard[0].data, { from: "backend" });
      assert.equal(listener.heard[0].info, undefined, "a backend's publication has no publisher");

      for (const [, other] of GENERATIONS) {
        const before = listener.heard.length;
        const speaker = await other(t, broker, "chat", { token: token("43", { info: INFO }) });
        await speaker.publish({ from: "client" });
        await hears(listener, before + 1);
        const { data, info } = listener.heard[before];
        assert.deepEqual(data, { from: "client" });
        assert.equal(info.user, "43");
        assert.ok(info.client, "the publisher's client id");
        assert.deepEqual(info.conn_info, INFO);
        await hears(speaker, 1);
      }
    });

    test(`${name} hears a pretty-printed publication and the one after it`, async (t) => {
      const broker = await startBroker(t);
      const listener = await listen(t, broker, "chat", { token: token("42") });
      for (const lineEnd of ["\n", "\r\n"]) {
        const text = JSON.stringify({ method: "publish", params: { channel: "chat", data: { a: { b: [1, 2] } } } }, null, 2);
        await broker.api("", {}, text.replaceAll("\n", lineEnd));
        await broker.publish("chat", { next: true });
      }
      const wanted = [{ a: { b: [1, 2] } }, { next: true }, { a: { b: [1, 2] } }, { next: true }];
      assert.deepEqual(await hears(listener, 4), wanted);
    });

    test(`${name} unsubscribes and hears no more`, async (t) => {
      const broker = await startBroker(t);
      const [first, second] = [await listen(t, broker, "chat", { token: token("42") }),
        await listen(t, broker, "chat", { token: token("43") })];
      await broker.publish("chat", 1);
      await hears(first, 1);
      // Both SDKs keep what they subscribed to under the channel's name.
      const subscription = first.client.getSub?.("chat") ?? first.client.getSubscription("chat");
      subscription.unsubscribe();
      await first.publishUnsubscribed("after the unsubscribe, on the same connection");
      await broker.publish("chat", 2);
      assert.deepEqual(await hears(second, 3), [1, "after the unsubscribe, on the same connection", 2]);
      assert.equal(first.heard.length, 1);
    });
  }

  test("data arrives byte for byte", async (t) => {
    const broker = await startBroker(t);
    const listener = await Raw.open(t, broker);
    await listener.ask({ id: 1, connect: { token: token("42") } });
    await listener.ask({ id: 2, subscribe: { channel: "chat" } });
    const texts = [];
    listener.socket.on("message", (message) => texts.push(message.toString()));
    const data = '{"z":1.50,"a":"\\u00e9\\/","big":12345678901234567890,"n":-0.0,"e":1E5 ,"t":[ ]}';
    await broker.api("", {}, `{"method":"publish","params":{"channel":"chat","data":${data}}}`);
    await listener.next();
    assert.ok(texts.join("\n").includes(`"data":${data}`), texts.join("\n"));
  });

  test("a token without exp: the answer says nothing of expiry, in both forms", async (t) => {
    const broker = await startBroker(t);
    const modern = await (await Raw.open(t, broker)).ask({ id: 1, connect: { token: token("42") } });
    assert.ok(modern.connect.client);
    const older = await (await Raw.open(t, broker)).ask({ id: 1, params: { token: token("42") } });
    assert.ok(older.result.client);
    for (const result of [modern.connect, older.result]) {
      assert.equal(result.expires, undefined);
      assert.equal(result.ttl, undefined);
    }
  });

  test("both forms of the API take a publication, with either header", async (t) => {
    const broker = await startBroker(t);
    const listener = await listen5(t, broker, "chat", { token: token("42") });
    const older = { path: "/api", body: (data) => ({ method: "publish", params: { channel: "chat", data } }) };
    const newer = { path: "/api/publish", body: (data) => ({ channel: "chat", data }) };
    const keys = [{ Authorization: `apikey ${API_KEY}` }, { "X-API-Key": API_KEY }];
    let count = 0;
    for (const { path, body } of [older, newer]) {
      for (const headers of keys) {
        const request = { method: "POST", headers, body: JSON.stringify(body(++count)) };
        const response = await fetch(broker.http + path, request);
        assert.equal(response.status, 200);
        assert.deepEqual(await response.json(), { result: {} });
      }
      const stranger = await fetch(broker.http + path, {
        method: "POST", headers: { "X-API-Key": "wrong" }, body: JSON.stringify(body(0)),
      });
      assert.equal(stranger.status, 401);
      await stranger.arrayBuffer();
    }
    assert.deepEqual(await hears(listener, 4), [1, 2, 3, 4]);
  });
});
