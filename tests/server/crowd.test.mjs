// Ten thousand clients at once. The runner gives this file the machine for itself, after the others.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { startBroker } from "../sdk/broker.mjs";
import { token, within } from "../sdk/clients.mjs";
import { frame, upgraded } from "../sdk/tcp.mjs";

test("T7.18 10,000 clients: the drain tells each of them, exit 0", async (t) => {
  const allowed = execFileSync("bash", ["-c", "ulimit -Hn"]).toString().trim();
  const count = Math.min(10_000, allowed === "unlimited" ? Infinity : Number(allowed) - 2_000);
  const server = 'drain_grace = "100ms"\ndrain_spread = "4s"';
  const broker = await startBroker(t, { shards: 2, server });
  const login = frame(1, JSON.stringify({ id: 1, connect: { token: token("42") } }));
  const clients = [];
  for (let begun = 0; begun < count; begun += 500) {
    clients.push(...await Promise.all([...Array(500)].map(() => upgraded(t, broker, login))));
  }
  await Promise.all(clients.map((tcp) => tcp.message(20_000)));
  broker.signal("SIGTERM");
  const codes = await Promise.all(clients.map((tcp) => tcp.closeCode(20_000)));
  assert.deepEqual([...new Set(codes)], [3001]);
  for (const tcp of clients) tcp.socket.destroy();
  assert.equal((await within(broker.exited, "the exit")).code, 0);
});
