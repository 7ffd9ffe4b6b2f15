// The seed documentation's snippets: tokens minted in Python, used by its own JavaScript snippet and the modern form.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import vm from "node:vm";
import { ROOT, startBroker, until } from "./broker.mjs";
import { Centrifuge2, WebSocket, hears, listen5, token as ourToken, within } from "./clients.mjs";

const PYTHON = join(ROOT, "tests/.venv/bin/python");
const PYJWT_1 = join(ROOT, "tests/.venv/pyjwt1");
const snippet = (name) => readFile(fileURLToPath(new URL(`seed/${name}`, import.meta.url)), "utf8");

/** Runs a Python snippet and returns the token it prints. PyJWT 1 gives bytes, so the snippets decode; PyJWT 2 text. */
async function mint(name, major) {
  const text = await snippet(name);
  const [program, environment] = major === 1
    ? [text, { ...process.env, PYTHONPATH: PYJWT_1 }]
    : [text.replaceAll(".decode()", ""), process.env];
  const check = `import jwt; assert jwt.__version__.startswith("${major}."), jwt.__version__\n`;
  await promisify(execFile)(PYTHON, ["-c", check], { env: environment });
  const { stdout } = await promisify(execFile)(PYTHON, ["-c", program], { env: environment });
  return stdout.trim();
}

/** Runs the JavaScript snippet as it stands. Only the port it names is led to the broker of this test. */
async function runSnippet(t, broker, token) {
  globalThis.WebSocket = class extends WebSocket {
    constructor(url, protocols) { super(url.replace("localhost:8000", `127.0.0.1:${broker.ports.http}`), protocols); }
  };
  const context = vm.createContext({ Centrifuge: Centrifuge2, token });
  vm.runInContext(await snippet("connect.js"), context);
  const { centrifuge } = context;
  t.after(() => centrifuge.disconnect());
  await within(new Promise((resolve) => centrifuge.on("connect", resolve)), "the snippet connects");
  const heard = [];
  const subscribed = new Promise((resolve) => {
    centrifuge.subscribe("chat", { publish: (context) => heard.push(context), subscribe: resolve });
  });
  await within(subscribed, "the snippet's client subscribes");
  return { centrifuge, heard };
}

// One after another: the snippet finds its WebSocket class in the global scope.
describe("seed snippets", () => {
  for (const major of [1, 2]) {
    for (const name of ["simplest.py", "expiration.py", "info.py"]) {
      test(`${name} with PyJWT ${major}`, async (t) => {
        const broker = await startBroker(t);
        const token = await mint(name, major);
        const older = await runSnippet(t, broker, token);
        const newer = await listen5(t, broker, "chat", { token });
        const speaker = await listen5(t, broker, "chat", { token: ourToken("43", { info: { n: 1 } }) });

        await broker.publish("chat", { input: "hello" });
        await until(() => older.heard.length === 1, "the backend's publication");
        await speaker.publish("from 43");
        await until(() => older.heard.length === 2, "the other client's publication");
        await older.centrifuge.publish("chat", "from 42");
        await until(() => older.heard.length === 3, "its own publication");
        const wanted = [{ input: "hello" }, "from 43", "from 42"];
        assert.deepEqual(older.heard.map(({ data }) => data), wanted);
        assert.deepEqual(await hears(newer, 3), wanted);

        assert.equal(older.heard[1].info.user, "43");
        assert.deepEqual(older.heard[1].info.conn_info, { n: 1 });
        assert.equal(newer.heard[2].info.user, "42");
        const info = name === "info.py" ? { name: "Alexander Emelin" } : undefined;
        assert.deepEqual(newer.heard[2].info.conn_info, info);
      });
    }
  }
});
