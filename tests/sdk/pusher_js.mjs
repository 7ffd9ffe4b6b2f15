// What every test of pusher-js needs: where the broker is, the end of a client, and its events as promises.

import { within } from "./clients.mjs";

/** What Pusher's clients expect: public channels are public, subscribers may send client events. */
export const NAMESPACES = `
[[apps.namespaces]]
name = ""
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
allow_publish_for_subscriber = true
`;

/** Options that lead a pusher-js to the broker and nowhere else. */
export const towards = (broker) => ({
  cluster: "local", wsHost: "127.0.0.1", wsPort: broker.ports.http, forceTLS: false, enabledTransports: ["ws"],
});

/**
 * Ends a pusher-js with the test, and what it would leave behind. Each would keep the process: when the broker closes,
 * its WebSocket closes once more and waits 30 s for an answer; and after 4200 two retries are waiting, of which
 * `disconnect` knows one.
 */
export function endsWith(t, pusher) {
  const sockets = [];
  pusher.connection.bind("connected", () => sockets.push(pusher.connection.connection.transport.socket));
  t.after(() => {
    pusher.disconnect();
    pusher.connection.connect = () => {};
    for (const socket of sockets) clearTimeout(socket._closeTimer);
  });
}

/** Resolves with what comes next as `event`. */
export const next = (emitter, event, what = event, limit_ms = 10_000) =>
  within(new Promise((resolve) => emitter.bind(event, function handler(data, metadata) {
    emitter.unbind(event, handler);
    resolve(Object.keys(metadata ?? {}).length > 0 ? [data, metadata] : data);
  })), what, limit_ms);

export const connected = (pusher) =>
  (pusher.connection.state === "connected" ? Promise.resolve() : next(pusher.connection, "connected"));
