// A broker that is restarted: what it kept is gone, its clients come back and are told that they may have missed something.

import assert from "node:assert/strict";
import { test } from "node:test";
import { startBroker } from "./broker.mjs";
import { token } from "./clients.mjs";
import { BROKER } from "./conversation.mjs";
import { SDKS, skipped } from "./sdks.mjs";
import { serveTokens } from "./token_server.mjs";

const OPTIONS = { ...BROKER, server: 'drain_grace = "0s"\ndrain_spread = "100ms"' };
const channelOf = (at) => `$room:restart${at}`;

test("every SDK outlives a restart of the broker", async (t) => {
  const first = await startBroker(t, OPTIONS);
  const speakers = [];
  for (const [at, [name, join]] of SDKS.entries()) {
    if (skipped(join)) continue;
    const channel = channelOf(at);
    const tokens = {
      connection: async () => token(name),
      subscription: async (client) => (client ? token(undefined, { channel, client }) : token(name, { channel })),
    };
    tokens.url = await serveTokens(t, tokens);
    speakers.push({ name, channel, speaker: await join(t, { url: first.websocket, channel, tokens }) });
  }
  for (const { name, channel, speaker } of speakers) {
    await speaker.sees("subscribed");
    await first.publish(channel, { life: 1 });
    assert.deepEqual((await speaker.hears(1)).map(({ data }) => data), [{ life: 1 }], name);
  }
  first.signal("SIGTERM");
  await first.exited;
  const second = await startBroker(t, { ...OPTIONS, ports: first.ports });
  for (const { name, channel, speaker } of speakers) {
    const { recovered } = await speaker.sees("subscribed");
    assert.ok(!recovered, name);
    await second.publish(channel, { life: 2 });
    assert.deepEqual((await speaker.hears(2)).map(({ data, offset }) => [data.life, offset]), [[1, 1], [2, 1]], name);
  }
});
