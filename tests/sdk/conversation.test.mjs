// Every SDK that Centrifugo's users have, unmodified, through the same conversation.

import { after, before, describe, test } from "node:test";
import { startBroker } from "./broker.mjs";
import { BROKER, converse } from "./conversation.mjs";
import { JSON_FORM, PROTOBUF_FORM, legacySpeaker, modernSpeaker } from "./speakers.mjs";

const named = ({ Centrifuge }) => Centrifuge;
const whole = (module) => module.default;

const SDKS = [
  ["centrifuge-js 2", legacySpeaker("centrifuge2", JSON_FORM)],
  ["centrifuge-js 2 in Protobuf", legacySpeaker("centrifuge2/dist/centrifuge.protobuf.js", PROTOBUF_FORM)],
  ["centrifuge-js 3", modernSpeaker("centrifuge3", named, JSON_FORM)],
  ["centrifuge-js 3 in Protobuf", modernSpeaker("centrifuge3/build/protobuf", whole, PROTOBUF_FORM)],
  ["centrifuge-js 4", modernSpeaker("centrifuge4", named, JSON_FORM)],
  ["centrifuge-js 4 in Protobuf", modernSpeaker("centrifuge4/build/protobuf", whole, PROTOBUF_FORM)],
  ["centrifuge-js 5", modernSpeaker("centrifuge5", named, JSON_FORM)],
  ["centrifuge-js 5 in Protobuf", modernSpeaker("centrifuge5/build/protobuf", named, PROTOBUF_FORM)],
];

describe("conversation", { concurrency: true }, () => {
  // One broker for all: each conversation has its own channel and users.
  const ends = [];
  let broker;
  before(async () => { broker = await startBroker({ after: (end) => ends.push(end) }, BROKER); });
  after(async () => { for (const end of ends.reverse()) await end(); });

  for (const [at, [name, join]] of SDKS.entries()) {
    test(name, (t) => converse(t, broker, `sdk${at}`, join));
  }
});
