// Starts the real binary on free loopback ports and ends it by its process id.

import { spawn } from "node:child_process";
import { createWriteStream, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const BINARY = process.env.POLYCAST_BIN ?? join(ROOT, "target/release/polycast");
export const SECRET = "secret";
export const API_KEY = "api-key";

const LOGS = join(ROOT, "target/test-logs");

/** Any user may subscribe to and publish into channels without a namespace. */
export const OPEN_NAMESPACE = `
[[apps.namespaces]]
name = ""
allow_subscribe_for_client = true
allow_publish_for_client = true
`;

/**
 * A configuration file's text. `server`, `limits`, `app`: lines of TOML for these tables; `namespaces`: whole tables.
 */
export function configuration({
  ports, shards = 1, server = "", limits = "", app = "", namespaces = OPEN_NAMESPACE, secret = SECRET,
}) {
  return `
[server]
http = "127.0.0.1:${ports.http}"
tcp = ${ports.tcp ? `"127.0.0.1:${ports.tcp}"` : "[]"}
ops = "127.0.0.1:${ports.ops}"
shards = ${shards}
${server}
[limits]
${limits}
[[apps]]
id = "1"
token_hmac_secret_key = "${secret}"
api_key = "${API_KEY}"
${app}
${namespaces}`;
}

/**
 * Starts a broker for the test `t` and waits until it is ready; it ends with the test.
 *
 * `options`: those of `configuration`, and `embedded: true` for the default without a file.
 */
export async function startBroker(t, options = {}) {
  for (let attempt = 1; ; attempt++) {
    const broker = await launch(t, options);
    if (await broker.becomesReady()) return broker;
    // Between finding a free port and binding it somebody else may have taken it.
    const lost = broker.output().includes("already in use") && attempt < 3;
    if (!lost) throw new Error(`the broker did not become ready:\n${broker.output()}`);
  }
}

/**
 * Starts the binary and returns at once, ready or not. `wrapper`: a command that runs the binary; `host`: where the
 * embedded default listens; `variables`: of the environment.
 */
export async function launch(t, { embedded = false, wrapper = [], ports, host = "127.0.0.1", variables = {}, ...options } = {}) {
  if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: cargo build --release`);
  const directory = mkdtempSync(join(tmpdir(), "polycast-test-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const broker = new Broker(ports ?? { http: await freePort(), tcp: await freePort(), ops: await freePort() }, directory);
  const environment = { ...process.env, NO_COLOR: "1", ...variables };
  const command = [...wrapper, BINARY];
  if (embedded) {
    environment.POLYCAST_SERVER__TCP = "";
    for (const [name, port] of Object.entries(broker.ports)) {
      environment[`POLYCAST_SERVER__${name.toUpperCase()}`] = `${host}:${port}`;
    }
  } else {
    broker.configure(options);
    command.push("--config", broker.file);
  }
  broker.spawn(command, environment);
  t.after(() => broker.end());
  return broker;
}

class Broker {
  #chunks = [];

  constructor(ports, directory) {
    this.ports = ports;
    this.file = join(directory, "polycast.toml");
    this.http = `http://127.0.0.1:${ports.http}`;
    this.ops = `http://127.0.0.1:${ports.ops}`;
    this.websocket = `ws://127.0.0.1:${ports.http}/connection/websocket`;
  }

  /** Writes the configuration file anew; SIGHUP makes a running broker read it. */
  configure(options) {
    writeFileSync(this.file, configuration({ ports: this.ports, ...options }));
  }

  spawn([program, ...parameters], environment) {
    mkdirSync(LOGS, { recursive: true });
    const log = createWriteStream(join(LOGS, `${basename(process.argv[1] ?? "test")}-${this.ports.http}.log`));
    this.process = spawn(program, parameters, { env: environment, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on("data", (chunk) => { this.#chunks.push(chunk); log.write(chunk); });
    }
    // "close" comes after both streams ended, so nothing that was printed is missed.
    this.exited = new Promise((resolve) => {
      this.process.on("close", (code, signal) => { log.end(); resolve({ code, signal, at: performance.now() }); });
    });
  }

  get pid() { return this.process.pid; }
  get running() { return this.process.exitCode === null && this.process.signalCode === null; }

  /** Everything printed so far, both streams. */
  output() { return Buffer.concat(this.#chunks).toString(); }

  /** Whether `/ready` answered 200 before the process ended or ten seconds were over. */
  async becomesReady() {
    for (const end = performance.now() + 10_000; performance.now() < end && this.running; await pause(20)) {
      if (await this.status("/ready") === 200) return true;
    }
    return false;
  }

  /** The status of a page on the operations listener; 0 when nobody answers. */
  async status(path) {
    try {
      const response = await fetch(this.ops + path);
      await response.arrayBuffer();
      return response.status;
    } catch {
      return 0;
    }
  }

  signal(name) { process.kill(this.pid, name); }

  /** Ends the process if it still runs. What it printed must tell of no panic. */
  async end() {
    if (this.running) this.signal("SIGTERM");
    const gone = () => Promise.race([this.exited.then(() => true), pause(300, false)]);
    if (!(await gone()) && this.running) this.signal("SIGTERM");
    for (let waited = 0; waited < 10 && !(await gone()); waited++);
    if (this.running) this.signal("SIGKILL");
    await this.exited;
    if (/panicked at/.test(this.output())) throw new Error(`the broker panicked:\n${this.output()}`);
  }

  /** A command of the backend API in its older form; the answer's `result`. `text` goes out as it is. */
  async api(method, params, text = JSON.stringify({ method, params })) {
    const response = await fetch(`${this.http}/api`, {
      method: "POST",
      headers: { Authorization: `apikey ${API_KEY}`, "Content-Type": "application/json" },
      body: text,
    });
    if (response.status !== 200) throw new Error(`/api answered ${response.status}: ${await response.text()}`);
    const answer = await response.json();
    if (answer.error) throw new Error(`/api answered ${JSON.stringify(answer.error)}`);
    return answer.result;
  }

  publish(channel, data) { return this.api("publish", { channel, data }); }

  async metrics() { return new Metrics(await (await fetch(`${this.ops}/metrics`)).text()); }
}

/** What `/metrics` said, in Prometheus' text form. */
export class Metrics {
  constructor(text) {
    this.samples = text.split("\n").filter((line) => line && !line.startsWith("#")).map((line) => {
      const [, name, labels = "", value] = /^([^{ ]+)(?:\{(.*)\})? ([^ ]+)/.exec(line);
      const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text]) => [key, text]);
      return { name, labels: Object.fromEntries(pairs), value: Number(value) };
    });
  }

  /** All samples of `name` whose labels include `labels`. */
  of(name, labels = {}) {
    return this.samples.filter((sample) => sample.name === name
      && Object.entries(labels).every(([key, value]) => sample.labels[key] === value));
  }

  sum(name, labels) { return this.of(name, labels).reduce((sum, sample) => sum + sample.value, 0); }
}

const PORTS_PER_PROCESS = 500;
/** The only port of them that `fetch` refuses ("bad port"). */
const NO_PORT_FOR_FETCH = 10_080;
let nextPort = Math.floor(Math.random() * PORTS_PER_PROCESS);
let firstPort;

/** Whether `port` could be listened on; `keep`: it is, as long as this process lives. */
function listens(port, keep) {
  return new Promise((resolve) => {
    const server = createServer().once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => (keep ? resolve(Boolean(server.unref())) : server.close(() => resolve(true))));
  });
}

/**
 * The first of the ports that are this process's alone, as long as it listens on it: two brokers that are started at
 * the same moment on one port would both have it, as the listeners of one broker's shards do, and share its clients.
 */
async function claimPorts() {
  for (let number = process.pid; ; number += 1) {
    const first = 10_000 + (number % 40) * PORTS_PER_PROCESS;
    if (await listens(first, true)) return first;
  }
}

/**
 * A port nobody listens on, below the range the kernel gives to outgoing connections (from 32768): in that range
 * a client of a test that runs beside this one could take it before the broker binds it.
 */
export async function freePort() {
  const first = await (firstPort ??= claimPorts());
  for (;;) {
    nextPort = (nextPort + 1) % PORTS_PER_PROCESS;
    const port = first + nextPort;
    if (port !== NO_PORT_FOR_FETCH && (await listens(port, false))) return port;
  }
}

/** Runs the binary to its end: `{ code, stdout, stderr }`. */
export async function run(parameters, environment = {}) {
  const child = spawn(BINARY, parameters, { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
  const texts = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"]) child[name].on("data", (chunk) => { texts[name] += chunk; });
  const code = await new Promise((resolve) => child.on("close", resolve));
  return { code, ...texts };
}

/** Waits until `condition()` holds and returns what it gave; fails with `what` after `limit_ms`. */
export async function until(condition, what, limit_ms = 5_000) {
  for (const end = performance.now() + limit_ms; performance.now() < end; await pause(10)) {
    const value = await condition();
    if (value) return value;
  }
  throw new Error(`not within ${limit_ms} ms: ${typeof what === "function" ? what() : what}`);
}
