// The process and its operator: start, refusal to start, reload, drain.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { OPEN_NAMESPACE, ROOT, freePort, launch, startBroker, until } from "../sdk/broker.mjs";
import { Raw, hears, listen2, listen5, token, within } from "../sdk/clients.mjs";

const SECCOMP = fileURLToPath(new URL("seccomp.py", import.meta.url));
const PROFILE = join(ROOT, "tuning/seccomp.json");

/** Until the first close of a drain, and from the first to the last, in milliseconds. */
const GRACE_MS = 500;
const SPREAD_MS = 3_000;
const DRAINING = `drain_grace = "${GRACE_MS}ms"\ndrain_spread = "${SPREAD_MS}ms"`;
const DRAINING_LONG = 'drain_grace = "60s"\ndrain_spread = "60s"';

/** EX_CONFIG of sysexits.h: the operator must change something before a start can succeed. */
const REFUSED = 78;

async function connectMany(t, broker, count) {
  const clients = await Promise.all([...Array(count)].map(() => Raw.open(t, broker)));
  await Promise.all(clients.map((client, index) => client.ask({ id: 1, connect: { token: token(`${index}`) } })));
  return clients;
}

/** Lines of a log that tell of something wrong. */
const lines = (text) => text.split("\n").filter((line) => line.trim());

describe("process", { concurrency: true }, () => {
  test("T8.19 SIGTERM drains: not ready, closes spread over the time, exit 0", async (t) => {
    const broker = await startBroker(t, { server: DRAINING });
    const clients = await connectMany(t, broker, 40);
    const began = Date.now();
    broker.signal("SIGTERM");
    await until(() => broker.status("/ready").then((status) => status === 503), "/ready answers 503", GRACE_MS);
    assert.equal(await broker.status("/health"), 200, "it still lives");
    const late = 2 * (GRACE_MS + SPREAD_MS);
    const closes = await Promise.all(clients.map((client) => within(client.closed, "the close", late)));
    assert.ok(closes.every(({ code, reason }) => code === 3001 && reason === "shutdown"), JSON.stringify(closes[0]));
    const times = closes.map(({ at_ms }) => at_ms - began).sort((a, b) => a - b);
    const half = times.filter((time) => time < GRACE_MS + SPREAD_MS / 2).length;
    assert.ok(times[0] >= GRACE_MS - 50, `the first after ${times[0]} ms`);
    assert.ok(half >= 16 && half <= 24, `spread: ${half} of 40 in the first half; ${times}`);
    assert.ok(times.at(-1) <= GRACE_MS + SPREAD_MS + 500, `the last after ${times.at(-1)} ms`);
    assert.equal((await within(broker.exited, "the exit")).code, 0);
  });

  test("a second SIGTERM ends at once", async (t) => {
    const broker = await startBroker(t, { server: DRAINING_LONG });
    await connectMany(t, broker, 4);
    broker.signal("SIGTERM");
    await until(() => broker.status("/ready").then((status) => status === 503), "/ready answers 503");
    const began = performance.now();
    broker.signal("SIGTERM");
    const { code, at } = await within(broker.exited, "the exit");
    assert.ok(at - began < 1_000, `${at - began} ms`);
    assert.equal(code, 0);
  });

  test("without clients SIGTERM ends soon", async (t) => {
    const broker = await startBroker(t, { server: DRAINING_LONG });
    broker.signal("SIGTERM");
    assert.equal((await within(broker.exited, "the exit", 3_000)).code, 0);
  });

  test("SIGHUP reloads secret and namespaces and disconnects nobody", async (t) => {
    const broker = await startBroker(t, { secret: "the first secret" });
    const listeners = [];
    for (const listen of [listen2, listen5]) {
      listeners.push(await listen(t, broker, "chat", { token: token("42", { secret: "the first secret" }) }));
    }
    await listeners[0].publish("before");
    const closedNamespace = OPEN_NAMESPACE.replace("publish_for_client = true", "publish_for_client = false");
    broker.configure({ secret: "the second secret", namespaces: closedNamespace });
    broker.signal("SIGHUP");

    const login = (secret) => ({ id: 1, connect: { token: token("43", { secret }) } });
    await until(async () => {
      const raw = await Raw.open(t, broker);
      raw.send(login("the second secret"));
      return Promise.race([raw.closed.then(() => false), raw.next().then((reply) => reply.connect !== undefined)]);
    }, "a token of the new secret is taken");
    const stranger = await Raw.open(t, broker);
    stranger.send(login("the first secret"));
    assert.equal((await within(stranger.closed, "the close")).code, 3500);

    for (const listener of listeners) {
      await assert.rejects(listener.publish("not any more"), (error) => error.code === 103);
    }
    await broker.publish("chat", "after");
    for (const listener of listeners) {
      assert.deepEqual(await hears(listener, 2), ["before", "after"]);
      assert.deepEqual(listener.ends, []);
    }
  });

  test("SIGHUP with a broken file keeps what runs and names the mistake", async (t) => {
    const broker = await startBroker(t);
    const listener = await listen5(t, broker, "chat", { token: token("42") });
    broker.configure({ server: "no_such_key = 1" });
    broker.signal("SIGHUP");
    await until(() => broker.output().includes("no_such_key"), "the log names the key");
    await broker.publish("chat", "still here");
    assert.deepEqual(await hears(listener, 1), ["still here"]);
    assert.deepEqual(listener.ends, []);
  });

  test("a second start on the same address is refused", async (t) => {
    const first = await startBroker(t);
    for (const taken of ["http", "ops"]) {
      const ports = { http: await freePort(), ops: await freePort(), [taken]: first.ports[taken] };
      const second = await launch(t, { ports });
      assert.equal((await within(second.exited, "the exit")).code, REFUSED, second.output());
      assert.match(second.output(), new RegExp(`127\\.0\\.0\\.1:${first.ports[taken]} is already in use`));
    }
    const listener = await listen5(t, first, "chat", { token: token("42") });
    await first.publish("chat", "undisturbed");
    assert.deepEqual(await hears(listener, 1), ["undisturbed"]);
  });

  for (const error of ["EPERM", "ENOSYS"]) {
    test(`T7.16 io_uring refused with ${error}: one line, and what to do`, async (t) => {
      const broker = await launch(t, { wrapper: ["python3", SECCOMP, error] });
      assert.equal((await within(broker.exited, "the exit")).code, REFUSED, broker.output());
      const told = lines(broker.output()).filter((line) => /io_uring/.test(line));
      assert.equal(told.length, 1, broker.output());
      assert.match(told[0], error === "EPERM" ? /seccomp|kernel\.io_uring_disabled|permi/i : /kernel|seccomp/i);
    });
  }

  test("the container profile of tuning/ lets it do all it does", async (t) => {
    const broker = await startBroker(t, { wrapper: ["python3", SECCOMP, PROFILE], shards: 2, server: DRAINING });
    const listener = await listen5(t, broker, "chat", { token: token("42") });
    await broker.publish("chat", "heard");
    assert.deepEqual(await hears(listener, 1), ["heard"]);
    broker.configure({ shards: 2, server: DRAINING, secret: "another" });
    broker.signal("SIGHUP");
    await until(async () => {
      const raw = await Raw.open(t, broker);
      raw.send({ id: 1, connect: { token: token("43", { secret: "another" }) } });
      return Promise.race([raw.closed.then(() => false), raw.next().then((reply) => reply.connect !== undefined)]);
    }, "the reload");
    broker.signal("SIGTERM");
    assert.equal((await within(broker.exited, "the exit")).code, 0);
  });

  test("README lists every metric, and none that is not there", async (t) => {
    // Figures of webhooks are there where one is configured; it is never called here.
    const hook = 'url = "http://127.0.0.1:9/"\nevent_types = ["channel_occupied"]';
    const app = `key = "app-key"\nsecret = "app-secret"\n[[apps.pusher.webhooks]]\n${hook}`;
    const broker = await startBroker(t, { shards: 2, app });
    const served = new Set((await broker.metrics()).samples.map(({ name }) => name));
    const listed = new Set((await readFile(join(ROOT, "README.md"), "utf8")).match(/\bpolycast_[a-z_]+/g));
    assert.deepEqual([...listed].sort(), [...served].sort());
  });

  test("T1.6 a mistake in the file is refused by name", async (t) => {
    for (const [mistake, named] of [
      [{ server: "alowed_origins = []" }, "alowed_origins"],
      [{ app: 'api_keys = "x"' }, "api_keys"],
      [{ namespaces: '[[apps.namespaces]]\nname = ""\nallow_subscribe = true' }, "allow_subscribe"],
      [{ secret: "" }, "token_hmac_secret_key"],
    ]) {
      const broker = await launch(t, mistake);
      assert.equal((await within(broker.exited, "the exit")).code, REFUSED, broker.output());
      assert.ok(broker.output().includes(named), broker.output());
    }
  });

  test("T1.7 secrets and tokens never reach the log", async (t) => {
    const secret = "a secret that nobody else would write";
    const broker = await startBroker(t, { secret });
    const good = token("42", { secret, info: { word: "payload-of-the-token" } });
    await listen5(t, broker, "chat", { token: good });
    const bad = await Raw.open(t, broker);
    const forged = token("42", { secret: "another" });
    bad.send({ id: 1, connect: { token: forged } });
    await within(bad.closed, "the close");
    await pause(100);
    for (const text of [secret, good, forged, good.split(".")[1], good.split(".")[2], forged.split(".")[2]]) {
      assert.ok(!broker.output().includes(text), broker.output());
    }
    assert.match(broker.output(), /bad_signature/);
  });

  test("the embedded default keeps to this machine", async (t) => {
    // An address for documentation (RFC 5737): even if the refusal were missing, nothing could listen there.
    const broker = await launch(t, { embedded: true, host: "192.0.2.1" });
    assert.equal((await within(broker.exited, "the exit")).code, REFUSED, broker.output());
    assert.match(broker.output(), /loopback/);
  });
});
