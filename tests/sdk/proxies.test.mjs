// Debian's HAProxy and nginx in front of two brokers, over TLS, with the samples of tuning/ as they stand but for
// addresses and paths.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { createClient } from "redis";
import { API_KEY, ROOT, freePort, startBroker, until } from "./broker.mjs";
import { Centrifuge5, WebSocket, hears, token } from "./clients.mjs";

/** Clients come from here, so that the proxy's address (127.0.0.1) is another one. */
const CLIENT = "127.0.0.2";
const SPOOFED = "203.0.113.66";
const GRACE_MS = 3_000;
const SPREAD_MS = 2_000;
const SERVER = `trusted_proxies = ["127.0.0.1"]
log_level = "debug"
drain_grace = "${GRACE_MS}ms"
drain_spread = "${SPREAD_MS}ms"`;

/** A directory with a fresh certificate for localhost. */
function certified(t) {
  const directory = mkdtempSync(join(tmpdir(), "polycast-proxy-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const [key, certificate] = [join(directory, "polycast.key"), join(directory, "polycast.crt")];
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate], { stdio: "ignore" });
  writeFileSync(join(directory, "polycast.pem"), readFileSync(key) + readFileSync(certificate));
  return { directory, ca: readFileSync(certificate) };
}

/** Replaces each of `pairs` in the sample and fails where one does not occur. */
function adapted(sample, pairs) {
  let text = readFileSync(join(ROOT, "tuning", sample), "utf8");
  for (const [from, to] of pairs) {
    assert.ok(text.includes(from), `${sample} has no ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}

/** Runs a proxy in the foreground until the test ends. */
function run(t, command, parameters) {
  const proxy = spawn(command, parameters, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [proxy.stdout, proxy.stderr]) stream.on("data", (chunk) => { output += chunk; });
  const ended = new Promise((resolve) => proxy.on("close", resolve).on("error", resolve));
  t.after(async () => { proxy.kill("SIGTERM"); await ended; });
  return { output: () => output };
}

async function haproxy(t, brokers, { directory }) {
  const [https, rediss] = [await freePort(), await freePort()];
  const servers = brokers.flatMap((broker, index) => {
    const host = `10.0.0.1${index + 1}`;
    return [[`${host}:8000 port 8002`, `127.0.0.1:${broker.ports.http} port ${broker.ports.ops}`],
      [`${host}:8001 port 8002`, `127.0.0.1:${broker.ports.tcp} port ${broker.ports.ops}`]];
  });
  const text = adapted("haproxy.cfg", [["bind :443", `bind 127.0.0.1:${https}`], ["bind :6380", `bind 127.0.0.1:${rediss}`],
    ["/etc/haproxy/polycast.pem", join(directory, "polycast.pem")], ["maxconn 100000", "maxconn 1000"], ...servers]);
  writeFileSync(join(directory, "haproxy.cfg"), text);
  return { https, rediss, ...run(t, "haproxy", ["-db", "-f", join(directory, "haproxy.cfg")]) };
}

async function nginx(t, brokers, { directory }) {
  const https = await freePort();
  const servers = brokers.map((broker, index) => [`10.0.0.1${index + 1}:8000`, `127.0.0.1:${broker.ports.http}`]);
  const text = adapted("nginx.conf", [["listen 443", `listen 127.0.0.1:${https}`], ["/etc/nginx/polycast", join(directory, "polycast")],
    ["/run/nginx.pid", join(directory, "nginx.pid")], ["/var/log/nginx/error.log", "stderr"],
    ["worker_rlimit_nofile 200000;", ""], ["worker_connections 65536", "worker_connections 512"], ...servers]);
  writeFileSync(join(directory, "nginx.conf"), text);
  const parameters = ["-p", directory, "-c", join(directory, "nginx.conf"), "-g", "daemon off;"];
  return { https, ...run(t, "nginx", parameters) };
}

/** A subscriber of `chat` that comes through the proxy from CLIENT and claims to be somebody else. */
async function listenThrough(t, proxy, ca, options = {}) {
  class Through extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols, { ca, localAddress: CLIENT, headers: { "X-Forwarded-For": SPOOFED, "X-Real-IP": SPOOFED, Forwarded: `for=${SPOOFED}` } });
    }
  }
  const client = new Centrifuge5(`wss://localhost:${proxy.https}/connection/websocket`,
    { token: token("42"), minReconnectDelay: 50, maxReconnectDelay: 200, ...options, websocket: Through });
  const listener = { client, heard: [], connects: 0, lost: [], codes: [] };
  client.on("connected", () => { listener.connects += 1; });
  client.on("connecting", ({ code }) => { if (listener.connects > 0) { listener.lost.push(performance.now()); listener.codes.push(code); } });
  client.on("disconnected", ({ code }) => listener.codes.push(code));
  t.after(() => client.disconnect());
  const subscription = client.newSubscription("chat");
  subscription.on("publication", (publication) => listener.heard.push(publication));
  subscription.subscribe();
  client.connect();
  return listener;
}

async function connectedThrough(t, proxy, ca) {
  const listener = await listenThrough(t, proxy, ca);
  await until(() => listener.client.getSubscription("chat").state === "subscribed", () => `a subscription: ${proxy.output()}`, 10_000);
  return listener;
}

const clients = async (broker) => (await broker.metrics()).sum("polycast_clients");

for (const [name, start] of [["HAProxy", haproxy], ["nginx", nginx]]) {
  describe(`behind ${name}`, { concurrency: true }, () => {
    const begin = async (t, count = 2) => {
      const brokers = [];
      while (brokers.length < count) brokers.push(await startBroker(t, { server: SERVER }));
      const tls = certified(t);
      return { brokers, tls, proxy: await start(t, brokers, tls) };
    };

    test("T7.12 clients are heard and logged by their own address", async (t) => {
      const { brokers: [broker], tls, proxy } = await begin(t, 2);
      const listeners = [];
      // Both brokers get some: each publication goes to one broker, so both are asked.
      while (listeners.length < 8) listeners.push(await connectedThrough(t, proxy, tls.ca));
      assert.ok(await clients(broker) > 0, "the balancer gave this broker some");
      const stranger = await listenThrough(t, proxy, tls.ca, { token: token("42", { secret: "wrong" }) });
      await until(() => stranger.codes.includes(3500), "a refusal");
      await until(() => broker.output().includes("WebSocket opened"), "a log line");
      const opened = broker.output().split("\n").filter((line) => line.includes("WebSocket opened"));
      assert.ok(opened.every((line) => line.includes(`client=${CLIENT}:`)), opened.join("\n"));
      assert.ok(!broker.output().includes(SPOOFED), "what a client claims is not believed");
      await broker.publish("chat", { through: name });
      const heard = await Promise.all(listeners.map(async (listener) => {
        await Promise.race([hears(listener, 1, 3_000).catch(() => []), pause(1_000)]);
        return listener.heard.length;
      }));
      assert.equal(heard.filter((count) => count === 1).length, await clients(broker), "each of its own clients heard it");
    });

    test("T7.12 a refused client is logged by its own address", async (t) => {
      const { brokers, tls, proxy } = await begin(t, 2);
      const stranger = await listenThrough(t, proxy, tls.ca, { token: token("42", { secret: "wrong" }) });
      await until(() => stranger.codes.includes(3500), () => `a refusal: ${proxy.output()}`, 10_000);
      const lines = () => brokers.map((broker) => broker.output()).join("\n").split("\n")
        .filter((line) => line.includes("authentication refused"));
      await until(() => lines().length > 0, "a log line");
      assert.match(lines()[0], new RegExp(`client=${CLIENT.replaceAll(".", "\\.")}:`));
    });

    test("a drained broker loses its clients at its pace, and they come back at the other", async (t) => {
      const { brokers: [leaving, staying], tls, proxy } = await begin(t);
      const listeners = [];
      while (listeners.length < 12) listeners.push(await connectedThrough(t, proxy, tls.ca));
      const before = await clients(leaving);
      assert.ok(before >= 3, `${before} clients at the broker that leaves`);
      const began = performance.now();
      leaving.process.kill("SIGTERM");
      await until(async () => await leaving.status("/ready") === 503, "/ready answers 503");
      if (name === "HAProxy") {
        // It asks /ready every second; the clients are all still there when it has noticed.
        await pause(1_500);
        while (listeners.length < 18) listeners.push(await connectedThrough(t, proxy, tls.ca));
        assert.equal(await clients(leaving), before, "nobody new, and nobody gone, while the balancer takes it out");
        assert.ok(performance.now() - began < GRACE_MS, "this was within the time of grace");
      }
      const total = listeners.length;
      await until(async () => await clients(staying) === total, "all are at the other broker", GRACE_MS + SPREAD_MS + 10_000);
      const lost = listeners.flatMap((listener) => listener.lost.slice(0, 1)).map((at) => at - began).sort((a, b) => a - b);
      assert.equal(lost.length, before);
      assert.ok(lost[0] >= GRACE_MS - 50 && lost.at(-1) <= GRACE_MS + SPREAD_MS + 1_500, `lost after ${lost.map(Math.round)} ms`);
      assert.ok(lost.at(-1) - lost[0] >= SPREAD_MS / 10, "not all at one moment");
      assert.equal((await leaving.exited).code, 0);
      await staying.publish("chat", "all of you");
      for (const listener of listeners) await hears(listener, 1);
    });

    if (name !== "HAProxy") return;
    test("Redis clients publish through TLS, by their own address", async (t) => {
      const { brokers, tls, proxy } = await begin(t);
      const socket = { ca: tls.ca, localAddress: CLIENT };
      const redis = await createClient({ url: `rediss://default:${API_KEY}@localhost:${proxy.rediss}`, socket })
        .on("error", () => {}).connect();
      t.after(() => { if (redis.isOpen) redis.destroy(); });
      const counts = await Promise.all([...Array(500).keys()].map((number) => redis.publish("chat", `${number}`)));
      assert.deepEqual(counts, Array(500).fill(0));
      const lines = brokers.map((broker) => broker.output()).join("\n").split("\n")
        .filter((line) => line.includes("a publisher authenticated"));
      assert.equal(lines.length, 1);
      assert.match(lines[0], new RegExp(`peer=${CLIENT.replaceAll(".", "\\.")}:`));
    });
  });
}
