// Pusher's server library for Python, unmodified: every method, and its judgement of webhooks.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { ROOT, startBroker, until } from "./broker.mjs";
import { hears, listen5, token } from "./clients.mjs";

const PYTHON = join(ROOT, "tests/.venv/bin/python");
const APP = 'key = "app-key"\nsecret = "app-secret"';
const NAMESPACES = `
[[apps.namespaces]]
name = ""
allow_subscribe_for_client = true
allow_user_limited_channels = true
presence = true
`;

const CLIENT = `
import sys
import pusher
from pusher.errors import PusherBadAuth, PusherBadRequest, PusherBadStatus

def library(secret="app-secret"):
    return pusher.Pusher(app_id="1", key="app-key", secret=secret, host="127.0.0.1", port=int(sys.argv[1]), ssl=False)

client = library()
`;

const CALLS = `${CLIENT}
assert client.trigger("chat", "e", {"text": "wörld"}) == {}
assert client.trigger(["chat", "other"], "e", "plain", socket_id="1001.2001") == {}
assert client.trigger_batch([{"channel": "chat", "name": "e", "data": 1}, {"channel": "chat", "name": "e", "data": [2]}]) == {}
assert client.send_to_user("42", "e", {"for": 42}) == {}
assert client.channels_info() == {"channels": {"chat": {}}}, client.channels_info()
assert client.channels_info("ch") == {"channels": {"chat": {}}}
assert client.channels_info("presence-", ["user_count"]) == {"channels": {}}
assert client.channel_info("chat", ["subscription_count"]) == {"occupied": True, "subscription_count": 1}
assert client.channel_info("presence-nobody", ["user_count"]) == {"occupied": False, "user_count": 0}
assert client.users_info("presence-nobody") == {"users": []}
for refused, error in [
    (lambda: library("wrong").trigger("chat", "e", 1), PusherBadAuth),
    (lambda: client.channel_info("chat", ["user_count"]), PusherBadRequest),
    # It lets three times as much pass as the broker does.
    (lambda: client.trigger("chat", "e", "x" * 10241), PusherBadStatus),
]:
    try:
        refused()
    except error:
        pass
    else:
        raise AssertionError(f"no {error}")
assert client.terminate_user_connections("42") == {}
`;

test("the library for Python", async (t) => {
  const broker = await startBroker(t, { shards: 2, app: APP, namespaces: NAMESPACES });
  const listener = await listen5(t, broker, "chat", { token: token("1") });
  const user = await listen5(t, broker, "#server-to-user-42", { token: token("42") });
  await promisify(execFile)(PYTHON, ["-c", CALLS, `${broker.ports.http}`]);
  assert.deepEqual(await hears(listener, 4), [{ text: "wörld" }, "plain", 1, [2]]);
  assert.deepEqual(await hears(user, 1), [{ for: 42 }]);
  await until(() => user.ends.length > 0, "the user's connection ends");
  assert.equal(listener.ends.length, 0);
});

const JUDGE = `${CLIENT}
import json
request = json.load(sys.stdin)
hook = client.validate_webhook(request["key"], request["signature"], request["body"])
assert hook is not None, "refused"
assert hook["events"] == [{"name": "channel_occupied", "channel": "chat"}], hook
changed = request["body"].replace("chat", "chit")
assert client.validate_webhook(request["key"], request["signature"], changed) is None
`;

test("the library for Python takes webhooks", async (t) => {
  const requests = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => { body += chunk; });
    request.on("end", () => {
      requests.push({ key: request.headers["x-pusher-key"], signature: request.headers["x-pusher-signature"], body });
      response.end();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const hook = `[[apps.pusher.webhooks]]\nurl = "http://127.0.0.1:${server.address().port}/"\nevent_types = ["channel_occupied"]`;
  const broker = await startBroker(t, { app: `${APP}\n${hook}`, namespaces: NAMESPACES });
  await listen5(t, broker, "chat", { token: token("1") });
  await until(() => requests.length > 0, "a webhook");
  const judged = promisify(execFile)(PYTHON, ["-c", JUDGE, "1"]);
  judged.child.stdin.end(JSON.stringify(requests[0]));
  await judged;
});
