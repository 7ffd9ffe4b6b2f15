// Bounds on connections, users and channels, named by the row of the threat table they show.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { startBroker, until } from "../sdk/broker.mjs";
import { Raw, token, within } from "../sdk/clients.mjs";
import { Tcp, upgradeRequest, upgraded } from "../sdk/tcp.mjs";

async function upgradeStatus(t, broker) {
  const tcp = await Tcp.open(t, broker);
  tcp.write(upgradeRequest(broker));
  return { tcp, status: (await tcp.response()).status };
}

/** Resident memory of the broker in KiB. */
async function resident(broker) {
  const status = await readFile(`/proc/${broker.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)[1]);
}

describe("limits", { concurrency: true }, () => {
  test("T8.11 version 2 is pinged and must answer: 3012", async (t) => {
    const broker = await startBroker(t, { app: '[apps.centrifuge]\nping_interval = "2s"\npong_timeout = "1s"' });
    const [silent, polite] = [await Raw.open(t, broker), await Raw.open(t, broker)];
    polite.socket.on("message", (data) => { if (data.toString() === "{}") polite.send({}); });
    const began = performance.now();
    for (const raw of [silent, polite]) {
      const { connect } = await raw.ask({ id: 1, connect: { token: token("42") } });
      assert.deepEqual([connect.ping, connect.pong], [2, true]);
    }
    const { code } = await within(silent.closed, "the close");
    const after_ms = performance.now() - began;
    assert.equal(code, 3012);
    // The first ping comes after half to one whole interval, the end one pong timeout later.
    assert.ok(after_ms >= 1_900 && after_ms <= 3_800, `${after_ms} ms`);
    await pause(3_000);
    assert.equal(polite.socket.readyState, 1, "who answers stays");
    assert.ok(polite.messages.length >= 3, "and is pinged again");
  });

  test("T8.11 version 1 never sees an empty message, and its own ping is answered", async (t) => {
    const broker = await startBroker(t, { app: '[apps.centrifuge]\nping_interval = "1s"\npong_timeout = "500ms"' });
    const raw = await Raw.open(t, broker);
    const texts = [];
    raw.socket.on("message", (data) => texts.push(data.toString()));
    await raw.ask({ id: 1, params: { token: token("42") } });
    await pause(4_000);
    assert.deepEqual(await raw.ask({ id: 2, method: 7 }), { id: 2, result: {} });
    assert.equal(texts.length, 2, texts.join(" | "));
    assert.equal(raw.socket.readyState, 1);
  });

  test("T8.13 user id and info have their bounds", async (t) => {
    const broker = await startBroker(t);
    const login = async (text) => {
      const raw = await Raw.open(t, broker);
      raw.send({ id: 1, connect: { token: text } });
      const reply = raw.next().then((message) => (message.connect ? "in" : message.error.code), () => undefined);
      return Promise.race([reply, raw.closed.then(({ code }) => code)]);
    };
    assert.equal(await login(token("u".repeat(255))), "in");
    assert.equal(await login(token("u".repeat(256))), 3500);
    assert.equal(await login(token("42", { info: "x".repeat(1_000) })), "in");
    assert.equal(await login(token("42", { info: "x".repeat(1_100) })), 3500);
  });

  test("T7.12 T8.16 connections of one address: 429 before the upgrade", async (t) => {
    const broker = await startBroker(t, { limits: "connections_per_address_max = 5" });
    const open = [];
    for (let number = 0; number < 5; number++) open.push(await upgraded(t, broker));
    const { tcp, status } = await upgradeStatus(t, broker);
    assert.equal(status, 429);
    await until(() => tcp.closed, "the end of the refused one");
    assert.match(broker.output(), /connections_per_address_max/, "the log names the setting");
    open.pop().socket.destroy();
    await until(async () => (await upgradeStatus(t, broker)).status === 101, "a place is free again");
  });

  test("T8.17 handshakes of one address", async (t) => {
    const broker = await startBroker(t, { limits: "handshakes_per_address_per_second = 5" });
    const statuses = await Promise.all([...Array(20)].map(async () => (await upgradeStatus(t, broker)).status));
    assert.ok(statuses.includes(429) && statuses.filter((status) => status === 101).length >= 5, statuses.join());
    await until(async () => (await upgradeStatus(t, broker)).status === 101, "later it may again", 3_000);
  });

  test("T7.6 channels that nobody holds keep nothing", async (t) => {
    const broker = await startBroker(t);
    const broadcast = (round) => {
      const channels = [...Array(5_000).keys()].map((number) => `a-channel-of-some-length-${round}-${number}`);
      return broker.api("broadcast", { channels, data: { round } });
    };
    for (let round = 0; round < 4; round++) await broadcast(round);
    const before = await resident(broker);
    for (let round = 4; round < 44; round++) await broadcast(round);
    const grown = await resident(broker) - before;
    assert.ok(grown < 4_096, `200,000 channels left ${grown} KiB`);
    assert.equal((await broker.api("info", {})).nodes[0].num_channels, 0);
  });

  test("T7.15 no descriptors left: who is in stays, who waits enters when a place is free", async (t) => {
    const broker = await startBroker(t, { wrapper: ["bash", "-c", 'ulimit -n 256; exec "$@"', "bash"] });
    const first = await Raw.open(t, broker);
    await first.ask({ id: 1, connect: { token: token("42") } });
    await first.ask({ id: 2, subscribe: { channel: "chat" } });
    const crowd = [];
    for (let number = 0; number < 400; number++) {
      const tcp = await Tcp.open(t, broker);
      tcp.write(upgradeRequest(broker));
      crowd.push(tcp);
    }
    const inside = () => crowd.filter((tcp) => tcp.bytes.includes(" 101 ")).length;
    await until(() => inside() > 100, "most of the table is used");
    await pause(1_000);
    const held = inside();
    assert.ok(held < 256, `${held} of 400`);
    assert.equal(await broker.status("/ready"), 200, "operations are not shut out");
    assert.ok(broker.output().split("\n").length < 20, "no flood of log lines");
    await first.ask({ id: 3, publish: { channel: "chat", data: 1 } });
    for (const tcp of crowd.filter((tcp) => tcp.bytes.includes(" 101 ")).slice(0, 100)) tcp.socket.destroy();
    await until(() => inside() >= held + 50, () => `${inside()} after ${held}`, 15_000);
  });
});
