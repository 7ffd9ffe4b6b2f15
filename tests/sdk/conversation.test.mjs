// Every SDK through the same conversation.

import { after, before, describe, test } from "node:test";
import { startBroker } from "./broker.mjs";
import { BROKER, converse } from "./conversation.mjs";
import { SDKS, skipped } from "./sdks.mjs";

describe("conversation", { concurrency: true }, () => {
  // One broker for all: each conversation has its own channel and users.
  const ends = [];
  let broker;
  before(async () => { broker = await startBroker({ after: (end) => ends.push(end) }, BROKER); });
  after(async () => { for (const end of ends.reverse()) await end(); });

  for (const [at, [name, join, mayReport]] of SDKS.entries()) {
    test(name, { skip: skipped(join) }, (t) => converse(t, broker, `sdk${at}`, join, mayReport));
  }
});
