// Every SDK that Centrifugo's users have, unmodified: Node's in this process, the others as programs.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./broker.mjs";
import { JSON_FORM, PROTOBUF_FORM, legacySpeaker, modernSpeaker, programSpeaker } from "./speakers.mjs";

const named = ({ Centrifuge }) => Centrifuge;
const whole = (module) => module.default;

/** What tests/run builds where the language is installed. */
const PYTHON = join(ROOT, "tests/.venv/bin/python");
const GO = join(ROOT, "target/sdk/go-speaker");
const JAVA = join(ROOT, "target/sdk/java");
const program = (built, command, isProtobuf) => (existsSync(built) ? programSpeaker(command(), isProtobuf) : undefined);
const python = (isProtobuf) => program(PYTHON, () => [PYTHON, join(ROOT, "tests/sdk/python/speaker.py")], isProtobuf);
const go = (isProtobuf) => program(GO, () => [GO], isProtobuf);
const java = () => program(join(JAVA, "classpath"), () => {
  const path = `${join(JAVA, "classes")}:${readFileSync(join(JAVA, "classpath"), "utf8")}`;
  return ["java", "-cp", path, "Speaker"];
}, true);

/** centrifuge-go resubscribes with the token it began with, and asks for another when that has expired. */
const RETURNS_WITH_FIRST_TOKEN = /109: token expired/;

/** Name, how it takes part (`undefined`: it is not built), and what it reports as an error though all is well. */
export const SDKS = [
  ["centrifuge-js 2", legacySpeaker("centrifuge2", JSON_FORM)],
  ["centrifuge-js 2 in Protobuf", legacySpeaker("centrifuge2/dist/centrifuge.protobuf.js", PROTOBUF_FORM)],
  ["centrifuge-js 3", modernSpeaker("centrifuge3", named, JSON_FORM)],
  ["centrifuge-js 3 in Protobuf", modernSpeaker("centrifuge3/build/protobuf", whole, PROTOBUF_FORM)],
  ["centrifuge-js 4", modernSpeaker("centrifuge4", named, JSON_FORM)],
  ["centrifuge-js 4 in Protobuf", modernSpeaker("centrifuge4/build/protobuf", whole, PROTOBUF_FORM)],
  ["centrifuge-js 5", modernSpeaker("centrifuge5", named, JSON_FORM)],
  ["centrifuge-js 5 in Protobuf", modernSpeaker("centrifuge5/build/protobuf", named, PROTOBUF_FORM)],
  ["centrifuge-python", python(false)],
  ["centrifuge-python in Protobuf", python(true)],
  ["centrifuge-go", go(false), RETURNS_WITH_FIRST_TOKEN],
  ["centrifuge-go in Protobuf", go(true), RETURNS_WITH_FIRST_TOKEN],
  ["centrifuge-java in Protobuf", java()],
];

/** Why a test of an SDK is passed over; `false`: it is not. */
export const skipped = (join) => (join ? false : "not built: tests/run says why");
