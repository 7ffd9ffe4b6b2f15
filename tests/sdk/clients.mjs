// The SDKs under test, unmodified, behind one small face; and a raw client for what no SDK shows.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { Centrifuge as Centrifuge5 } from "centrifuge5";
import jsonwebtoken from "jsonwebtoken";
import WebSocket from "ws";
import { SECRET, until } from "./broker.mjs";

const require = createRequire(import.meta.url);
export const Centrifuge2 = require("centrifuge2");
export { Centrifuge5, WebSocket };

/** What an SDK's publications and infos look like to a test: JSON, whatever travelled. */
export const JSON_FORM = { url: (broker) => broker.websocket, options: {}, encode: (data) => data, decode: (data) => data };
export const PROTOBUF_FORM = {
  url: (broker) => `${broker.websocket}?format=protobuf`,
  options: { protocol: "protobuf" },
  encode: (data) => new TextEncoder().encode(JSON.stringify(data)),
  decode: (bytes) => (bytes?.length ? JSON.parse(new TextDecoder().decode(bytes)) : undefined),
};

/** A connection token made by a library that is not ours. Without `seconds` it never expires. */
export function token(user, { info, seconds, secret = SECRET, ...claims } = {}) {
  const payload = { sub: user, ...claims };
  if (info !== undefined) payload.info = info;
  if (seconds !== undefined) payload.exp = Math.floor(Date.now() / 1000) + seconds;
  return jsonwebtoken.sign(payload, secret, { algorithm: "HS256", noTimestamp: true });
}

/** What remains after `exp` until the server closes, in milliseconds: `expired_close_delay`. */
const GRACE_MS = 25_000;

/** `at_ms`, wall clock: when the connection of the token `text` was closed for its expiry, to the second. */
export function assertClosedOnTime(at_ms, text) {
  const after_exp = at_ms - jsonwebtoken.decode(text).exp * 1000;
  assert.ok(Math.abs(after_exp - GRACE_MS) <= 1_000, `closed ${after_exp} ms after exp`);
}

/**
 * Connects centrifuge-js 2 and subscribes. `heard` fills with publications, `ends` with disconnects, `connects`
 * with what each connect event said; `errors` with what the SDK reported.
 */
export const listen2 = (...parameters) => listenLegacy(Centrifuge2, JSON_FORM, ...parameters);
export const listen2protobuf = (...parameters) =>
  listenLegacy(require("centrifuge2/dist/centrifuge.protobuf.js"), PROTOBUF_FORM, ...parameters);

async function listenLegacy(Centrifuge, form, t, broker, channel, options) {
  const { token: text, ...rest } = options;
  const client = new Centrifuge(form.url(broker), { websocket: WebSocket, ...form.options, ...rest });
  client.setToken(text);
  const listener = {
    client, heard: [], connects: [], ends: [], errors: [],
    publish: (data) => client.publish(channel, form.encode(data)),
    publishUnsubscribed: (data) => client.publish(channel, form.encode(data)),
    stop: () => client.disconnect(),
  };
  client.on("connect", (context) => listener.connects.push(context));
  client.on("disconnect", (context) => listener.ends.push(context));
  client.on("error", (context) => listener.errors.push(context));
  t.after(() => listener.stop());
  const subscribed = new Promise((resolve, reject) => {
    client.subscribe(channel, {
      publish: (context) => listener.heard.push(decoded(form, context)),
      subscribe: resolve,
      error: (context) => reject(new Error(`subscribe: ${JSON.stringify(context)}`)),
    });
  });
  client.connect();
  await within(subscribed, "centrifuge-js 2 subscribes");
  return listener;
}

/** Connects centrifuge-js 5 and subscribes: as `listen2`. */
export const listen5 = (...parameters) => listenModern(Centrifuge5, JSON_FORM, ...parameters);
export const listen5protobuf = (...parameters) =>
  listenModern(require("centrifuge5/build/protobuf").Centrifuge, PROTOBUF_FORM, ...parameters);

/** Its predecessors with the same interface, the first to speak version 2 of the protocol. */
export const listen3 = (...parameters) => listenModern(require("centrifuge3").Centrifuge, JSON_FORM, ...parameters);
export const listen4 = (...parameters) => listenModern(require("centrifuge4").Centrifuge, JSON_FORM, ...parameters);
export const listen3protobuf = (...parameters) =>
  listenModern(require("centrifuge3/build/protobuf").default, PROTOBUF_FORM, ...parameters);
export const listen4protobuf = (...parameters) =>
  listenModern(require("centrifuge4/build/protobuf").default, PROTOBUF_FORM, ...parameters);

async function listenModern(Centrifuge, form, t, broker, channel, options) {
  const client = new Centrifuge(form.url(broker), { websocket: WebSocket, ...form.options, ...options });
  const subscription = client.newSubscription(channel);
  const listener = {
    client, heard: [], connects: [], ends: [], errors: [],
    publish: (data) => subscription.publish(form.encode(data)),
    publishUnsubscribed: (data) => client.publish(channel, form.encode(data)),
    stop: () => client.disconnect(),
  };
  client.on("connected", (context) => listener.connects.push(context));
  client.on("connecting", (context) => listener.ends.push(context));
  client.on("disconnected", (context) => listener.ends.push(context));
  client.on("error", (context) => listener.errors.push(context));
  subscription.on("publication", (context) => listener.heard.push(decoded(form, context)));
  t.after(() => listener.stop());
  const subscribed = new Promise((resolve, reject) => {
    subscription.on("subscribed", resolve);
    subscription.on("unsubscribed", (context) => reject(new Error(`subscribe: ${JSON.stringify(context)}`)));
  });
  subscription.subscribe();
  client.connect();
  await within(subscribed, "a client of version 2 subscribes");
  // The first "connecting" belongs to `connect()`; ends are what comes after it.
  listener.ends.length = 0;
  return listener;
}

/** A publication with its data and its publisher's info readable. */
function decoded(form, { data, info, ...rest }) {
  if (!info?.client) return { ...rest, data: form.decode(data), info: undefined };
  const shown = (bytes) => (bytes === undefined ? undefined : form.decode(bytes));
  return {
    ...rest, data: form.decode(data),
    info: { user: info.user, client: info.client, conn_info: shown(info.conn_info ?? info.connInfo) },
  };
}

/** Waits until `listener` heard `count` publications and returns their data. */
export async function hears(listener, count, limit_ms) {
  const told = () => `${count} publications; heard ${listener.heard.length}`;
  await until(() => listener.heard.length >= count, told, limit_ms);
  return listener.heard.map((publication) => publication.data);
}

/**
 * A WebSocket without SDK. Messages are split at newlines and parsed; closing is an event with code, reason and the
 * wall clock in milliseconds.
 */
export class Raw {
  static async open(t, broker, options = {}) {
    const raw = new Raw(new WebSocket(options.url ?? broker.websocket, options.protocols ?? [], options.socket));
    t.after(() => raw.socket.terminate());
    await within(new Promise((resolve, reject) => {
      raw.socket.once("open", resolve);
      raw.socket.once("error", reject);
    }), "the upgrade");
    return raw;
  }

  constructor(socket) {
    this.socket = socket;
    this.messages = [];
    this.taken = 0;
    socket.on("message", (data) => {
      for (const line of data.toString().split("\n")) if (line) this.messages.push(JSON.parse(line));
    });
    socket.on("error", () => {});
    this.closed = new Promise((resolve) => {
      socket.on("close", (code, reason) => resolve({ code, reason: reason.toString(), at_ms: Date.now() }));
    });
  }

  send(...messages) { this.socket.send(messages.map((message) => JSON.stringify(message)).join("\n")); }

  /** The next message, in order of arrival; pings of version 2 are left out. */
  async next(limit_ms) {
    await until(() => this.messages.slice(this.taken).some(notPing), "a message", limit_ms);
    while (!notPing(this.messages[this.taken])) this.taken += 1;
    return this.messages[this.taken++];
  }

  async ask(message, limit_ms) {
    this.send(message);
    return this.next(limit_ms);
  }
}

const notPing = (message) => Object.keys(message).length > 0;

/** `promise`, or a failure that names `what` when it takes too long. */
export function within(promise, what, limit_ms = 10_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${limit_ms} ms: ${what}`)), limit_ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
