// The Python client of Redis with its default options: single publications, and its pipeline, which is a transaction.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { API_KEY, ROOT, startBroker } from "./broker.mjs";
import { hears, listen5, token } from "./clients.mjs";

const PYTHON = join(ROOT, "tests/.venv/bin/python");
const PROGRAM = `
import sys
import redis
connection = redis.Redis(port=int(sys.argv[1]), password=sys.argv[2], protocol=int(sys.argv[3])) if sys.argv[3] != "0" \\
    else redis.Redis(port=int(sys.argv[1]), password=sys.argv[2])
for number in range(20):
    assert connection.publish("chat", number) == 1
for transaction, start in ((True, 20), (False, 520)):
    pipe = connection.pipeline(transaction=transaction)
    for number in range(start, start + 500):
        pipe.publish("chat", number)
    assert pipe.execute() == [1] * 500
assert connection.publish("nobody", b"\\xff") == 0
assert connection.ping() is True
try:
    connection.get("key")
except redis.ResponseError as error:
    assert "unknown command" in str(error), error
else:
    raise AssertionError("GET is not served")
try:
    redis.Redis(port=int(sys.argv[1]), password="wrong").ping()
except redis.AuthenticationError:
    pass
else:
    raise AssertionError("a wrong key")
`;

for (const [name, protocol] of [["its default", 0], ["RESP2", 2], ["RESP3", 3]]) {
  test(`redis for Python, ${name}`, async (t) => {
    const broker = await startBroker(t, { shards: 2 });
    const listener = await listen5(t, broker, "chat", { token: token("42") });
    await promisify(execFile)(PYTHON, ["-c", PROGRAM, `${broker.ports.tcp}`, API_KEY, `${protocol}`]);
    assert.deepEqual(await hears(listener, 1_020), [...Array(1_020).keys()]);
  });
}
