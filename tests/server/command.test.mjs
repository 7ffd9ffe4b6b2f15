// The command line beside the server itself: what scripts and operators rely on.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ROOT, launch, run, startBroker } from "../sdk/broker.mjs";
import { Raw } from "../sdk/clients.mjs";

async function directory(t) {
  const path = await mkdtemp(join(tmpdir(), "polycast-test-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

describe("command line", { concurrency: true }, () => {
  test("--version tells the package's version, --help the commands", async () => {
    const version = /^version = "(.+)"$/m.exec(await readFile(join(ROOT, "Cargo.toml"), "utf8"))[1];
    const told = await run(["--version"]);
    assert.deepEqual([told.code, told.stdout.trim()], [0, `polycast ${version}`]);
    const help = await run(["--help"]);
    assert.equal(help.code, 0);
    for (const command of ["token", "check-token", "check-config", "default-config", "doctor"]) {
      assert.ok(help.stdout.includes(command), command);
      assert.equal((await run([command, "--help"])).code, 0);
    }
  });

  test("wrong usage: 2, and a line on stderr", async () => {
    for (const wrong of [["--nonsense"], ["nonsense"], ["token", "--exp"], ["check-token"]]) {
      const { code, stdout, stderr } = await run(wrong);
      assert.equal(code, 2, wrong.join(" "));
      assert.equal(stdout, "");
      assert.match(stderr, /--help/);
    }
  });

  test("what default-config writes is a configuration, for everybody it is written for", async (t) => {
    const path = await directory(t);
    for (const source of [[], ["--for", "centrifugo-v2"], ["--for", "centrifugo"]]) {
      const { code, stdout } = await run(["default-config", ...source]);
      assert.equal(code, 0);
      const file = join(path, `${source.at(-1) ?? "default"}.toml`);
      await writeFile(file, stdout);
      const judged = await run(["check-config", file]);
      assert.equal(judged.code, 0, judged.stdout + judged.stderr);
    }
  });

  test("check-config names the key, from the file and from the environment", async (t) => {
    const file = join(await directory(t), "polycast.toml");
    await writeFile(file, '[server]\nshard = 2\n[[apps]]\nid = "1"\n');
    const judged = await run(["check-config", file]);
    assert.equal(judged.code, 78);
    assert.match(judged.stdout + judged.stderr, /line 2.*shard/);
    await writeFile(file, '[[apps]]\nid = "1"\n');
    const overridden = await run(["check-config", file], { POLYCAST_SERVER__SHARDS: "many" });
    assert.equal(overridden.code, 78);
    assert.match(overridden.stdout + overridden.stderr, /POLYCAST_SERVER__SHARDS/);
    assert.equal((await run(["check-config", `${file}.missing`])).code, 78);
  });

  test("secrets may lie in files", async (t) => {
    const path = await directory(t);
    await writeFile(join(path, "key"), "a secret from a file\n");
    const made = await run(["token", "--user", "42", "--secret", "a secret from a file"]);
    const variables = { POLYCAST_APPS__0__TOKEN_HMAC_SECRET_KEY_FILE: join(path, "key") };
    const broker = await startBroker(t, { variables });
    const raw = await Raw.open(t, broker);
    assert.ok((await raw.ask({ id: 1, connect: { token: made.stdout.trim() } })).connect.client);
  });

  test("token and the configuration's key fit together", async (t) => {
    const broker = await startBroker(t);
    const made = await run(["token", "--config", broker.file, "--user", "42", "--info", '{"n":1}']);
    assert.equal(made.code, 0, made.stderr);
    const raw = await Raw.open(t, broker);
    assert.ok((await raw.ask({ id: 1, connect: { token: made.stdout.trim() } })).connect.client);
    const judged = await run(["check-token", "--config", broker.file, made.stdout.trim()]);
    assert.equal(judged.code, 0);
    assert.match(judged.stdout, /^accepted/);
  });

  test("doctor finds this machine good enough to run these tests", async () => {
    const { code, stdout } = await run(["doctor"]);
    assert.equal(code, 0, stdout);
    assert.match(stdout, /io_uring/);
  });

  test("a configuration file that is not there: 78, and which", async (t) => {
    const { code, stderr } = await run(["--config", join(await directory(t), "missing.toml")]);
    assert.equal(code, 78);
    assert.match(stderr, /missing\.toml/);
  });

  test("the embedded default prints its secrets once, on stdout, and never logs them", async (t) => {
    const broker = await launch(t, { embedded: true });
    assert.ok(await broker.becomesReady(), broker.output());
    const token = /^\s*token\s+(\S+)$/m.exec(broker.output())[1];
    const key = /X-API-Key: ([0-9a-f]+)|apikey ([0-9a-f]+)/.exec(broker.output()).slice(1).find(Boolean);
    for (const secret of [token, key]) assert.equal(broker.output().split(secret).length, 2, "once");
    const raw = await Raw.open(t, broker);
    assert.ok((await raw.ask({ id: 1, connect: { token } })).connect.client);
  });
});
