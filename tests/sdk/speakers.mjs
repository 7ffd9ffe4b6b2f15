// How an SDK takes part in the conversation (conversation.mjs): reports what it saw, and asks what it is told to ask.

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { until } from "./broker.mjs";
import { JSON_FORM, PROTOBUF_FORM, WebSocket } from "./clients.mjs";

const require = createRequire(import.meta.url);

/** Between attempts to connect, in milliseconds: the tests cut connections. */
const RECONNECT_MS = { min: 50, max: 200 };

/**
 * What every speaker has in common. Events, each with its `type`: `connected` {client}, `connecting`, `disconnected`,
 * `subscribed` {recovered}, `subscribing`, `unsubscribed`, `join` {info}, `leave` {info}, `error`; publications are
 * {data, offset, info}. Of a subscription that the server began: `server_subscribed` {channel, recovered}, publications
 * {channel, data, offset, info}. Data and infos are JSON, whatever travelled; an info is {user, client, conn_info,
 * chan_info}.
 */
class Speaker {
  events = [];
  taken = [];
  heard = [];
  serverHeard = [];

  report(type, more = {}) { this.events.push({ type, ...more }); }

  /** The next event of a type, taken from those not yet looked at. */
  async sees(type, matches = () => true) {
    const at = () => this.events.findIndex((event) => event.type === type && matches(event));
    await until(() => at() >= 0, () => `${type} in ${JSON.stringify(this.events)}`, 20_000);
    const [event] = this.events.splice(at(), 1);
    this.taken.push(event);
    return event;
  }

  /** Events not looked at. */
  left() { return this.events; }

  /** All publications, once there are `count`. */
  hears(count) { return this.#hears(count, this.heard); }

  /** All publications of the subscription that the server began. */
  serverHears(count) { return this.#hears(count, this.serverHeard); }

  async #hears(count, heard) {
    const told = () => `${count} publications; heard ${JSON.stringify(heard)} and saw ${JSON.stringify(this.events)}`;
    await until(() => heard.length >= count, told, 10_000);
    return heard;
  }
}

/** Clients of the first generation in this process. */
export function legacySpeaker(module, form) {
  return async (t, { url, channel, tokens }) => {
    const speaker = new Speaker();
    const client = new (require(module))(url + formQuery(form), {
      websocket: WebSocket, ...form.options, minRetry: RECONNECT_MS.min, maxRetry: RECONNECT_MS.max,
      onRefresh: async (_, answer) => answer({ status: 200, data: { token: await tokens.connection() } }),
      onPrivateSubscribe: async ({ data }, answer) => {
        const granted = await Promise.all(data.channels.map(async (name) => (
          { channel: name, token: await tokens.subscription(data.client) })));
        answer({ status: 200, data: { channels: granted } });
      },
    });
    client.setToken(await tokens.connection());
    t.after(() => client.disconnect());
    client.on("connect", ({ client: id }) => speaker.report("connected", { client: id }));
    client.on("disconnect", (context) => speaker.report(context.reconnect ? "connecting" : "disconnected", context));
    client.on("error", (context) => speaker.report("error", context));
    client.on("subscribe", ({ channel: name, recovered }) => speaker.report("server_subscribed", { channel: name, recovered }));
    client.on("publish", (context) => speaker.serverHeard.push({ channel: context.channel, ...publication(form, context) }));
    const told = (type) => (context) => speaker.report(type, { ...context, info: info(form, context.info) });
    const subscription = client.subscribe(channel, {
      subscribe: ({ recovered }) => speaker.report("subscribed", { recovered }),
      unsubscribe: told("unsubscribed"), error: told("error"), join: told("join"), leave: told("leave"),
      publish: (context) => speaker.heard.push(publication(form, context)),
    });
    client.connect();
    speaker.ask = (what, { data, ...options } = {}) => ({
      publish: () => subscription.publish(form.encode(data)),
      presence: async () => people(form, (await subscription.presence()).presence),
      presence_stats: async () => stats(await subscription.presenceStats()),
      history: async () => past(form, await subscription.history(options)),
      disconnect: async () => client.disconnect(),
    })[what]();
    return speaker;
  };
}

/** Clients of the second generation in this process. `choose`: the class out of the module. */
export function modernSpeaker(module, choose, form) {
  return async (t, { url, channel, tokens }) => {
    const speaker = new Speaker();
    const client = new (choose(require(module)))(url + formQuery(form), {
      websocket: WebSocket, ...form.options, getToken: () => tokens.connection(),
      minReconnectDelay: RECONNECT_MS.min, maxReconnectDelay: RECONNECT_MS.max,
    });
    t.after(() => client.disconnect());
    const subscription = client.newSubscription(channel, {
      getToken: () => tokens.subscription(), recoverable: true, joinLeave: true,
    });
    client.on("connected", ({ client: id }) => speaker.report("connected", { client: id }));
    client.on("connecting", (context) => { if (context.code) speaker.report("connecting", context); });
    client.on("disconnected", (context) => speaker.report("disconnected", context));
    // A relay that is cut is a transport that fails: nothing the server said.
    client.on("error", (context) => { if (context.error.code !== 2) speaker.report("error", context); });
    client.on("subscribed", ({ channel: name, recovered }) => speaker.report("server_subscribed", { channel: name, recovered }));
    client.on("publication", (context) => speaker.serverHeard.push({ channel: context.channel, ...publication(form, context) }));
    subscription.on("subscribed", ({ recovered }) => speaker.report("subscribed", { recovered }));
    subscription.on("subscribing", (context) => { if (context.code) speaker.report("subscribing", context); });
    for (const type of ["unsubscribed", "error"]) subscription.on(type, (context) => speaker.report(type, context));
    for (const type of ["join", "leave"]) {
      subscription.on(type, (context) => speaker.report(type, { info: info(form, context.info) }));
    }
    subscription.on("publication", (context) => speaker.heard.push(publication(form, context)));
    subscription.subscribe();
    client.connect();
    speaker.ask = (what, { data, ...options } = {}) => ({
      publish: () => subscription.publish(form.encode(data)),
      presence: async () => people(form, (await subscription.presence()).clients),
      presence_stats: async () => stats(await subscription.presenceStats()),
      history: async () => past(form, await subscription.history(options)),
      disconnect: async () => client.disconnect(),
    })[what]();
    return speaker;
  };
}

/**
 * An SDK for another language, in a program of its own: `command` and what `setup` says as JSON. It reads questions,
 * {"id","ask","data"|"limit","since","reverse"}, from its input, one a line, and writes events, publications as {"type":"publication",…}
 * or {"type":"server_publication",…}, and answers, {"type":"answer","id","result"|"error"}, to its output.
 */
export function programSpeaker([program, ...parameters], isProtobuf) {
  return async (t, { url, channel, tokens }) => {
    const speaker = new Speaker();
    const setup = { url, channel, tokens: tokens.url, protobuf: isProtobuf, reconnect_ms: RECONNECT_MS };
    const child = spawn(program, [...parameters, JSON.stringify(setup)], { stdio: ["pipe", "pipe", "pipe"] });
    t.after(() => child.kill());
    let complaints = "";
    child.stderr.on("data", (chunk) => { complaints += chunk; });
    const waiting = new Map();
    const ended = new Promise((resolve) => {
      child.on("error", (error) => { complaints += error; resolve(); });
      child.on("close", resolve);
    });
    ended.then(() => speaker.report("ended", { complaints }));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { type, id, ...more } = JSON.parse(line);
      if (type === "publication") speaker.heard.push({ ...more, info: present(more.info) });
      else if (type === "server_publication") speaker.serverHeard.push({ ...more, info: present(more.info) });
      else if (type !== "answer") speaker.report(type, "info" in more ? { info: present(more.info) } : { id, ...more });
      else if (more.error) waiting.get(id).reject(new Error(more.error));
      else waiting.get(id).resolve(more.result);
    });
    let asked = 0;
    speaker.ask = async (ask, more = {}) => {
      const id = ++asked;
      child.stdin.write(`${JSON.stringify({ id, ask, ...more })}\n`);
      const answer = new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
      const lost = ended.then(() => { throw new Error(`the program ended: ${complaints}`); });
      const result = await Promise.race([answer, lost]);
      if (ask === "presence") return Object.fromEntries(Object.entries(result).map(([who, it]) => [who, present(it)]));
      if (ask !== "history") return result;
      return { ...result, publications: result.publications.map((it) => ({ ...it, info: present(it.info) })) };
    };
    return speaker;
  };
}

/** Without what is not there: absent, empty and null are one in the SDKs' languages. */
const present = (info) => (info?.client
  ? Object.fromEntries(Object.entries(info).filter(([, value]) => value !== null && value !== undefined)) : undefined);

const formQuery = (form) => (form === PROTOBUF_FORM ? "?format=protobuf" : "");

function info(form, told) {
  if (!told?.client) return undefined;
  const shown = (value) => (value?.length === 0 ? undefined : value && form.decode(value));
  const { user, client } = told;
  return present({
    user, client, conn_info: shown(told.conn_info ?? told.connInfo), chan_info: shown(told.chan_info ?? told.chanInfo),
  });
}

const publication = (form, told) => (
  { data: form.decode(told.data), offset: Number(told.offset), info: info(form, told.info) });

const people = (form, clients) => Object.fromEntries(Object.entries(clients).map(([id, told]) => [id, info(form, told)]));

const stats = (told) => ({ clients: told.num_clients ?? told.numClients, users: told.num_users ?? told.numUsers });

const past = (form, { publications, offset, epoch }) => (
  { publications: publications.map((told) => publication(form, told)), offset: Number(offset), epoch });

export { JSON_FORM, PROTOBUF_FORM };
