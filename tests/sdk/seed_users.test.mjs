// The seed documentation's page on authenticating users: its Express server as it stands, and its clients' options.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import express from "express";
import Backend from "pusher";
import { freePort, startBroker, until } from "./broker.mjs";
import { connected, endsWith, towards } from "./pusher_js.mjs";

const require = createRequire(import.meta.url);
const VERSIONS = { "pusher-js 8.6.0": require("pusher8"), "pusher-js 8.0.1": require("pusher80") };
const [NEWEST] = Object.keys(VERSIONS);
// As the page's server has them.
const [KEY, SECRET] = ["APP_KEY", "APP_SECRET"];
const USER = { id: "some_id", user_info: { name: "John Smith" }, watchlist: ["another_id_1", "another_id_2"] };

const start = (t) => startBroker(t, { shards: 2, app: `key = "${KEY}"\nsecret = "${SECRET}"` });
const library = (broker) =>
  new Backend({ appId: "1", key: KEY, secret: SECRET, host: "127.0.0.1", port: broker.ports.http, useTLS: false });

/** The page's server as a program of its own; where it listens. */
async function seedServer(t) {
  const port = await freePort();
  const file = fileURLToPath(new URL("seed/user_auth.cjs", import.meta.url));
  const server = spawn(process.execPath, [file], { env: { ...process.env, PORT: port }, stdio: ["ignore", "inherit", "inherit"] });
  const ended = new Promise((resolve) => server.on("exit", resolve));
  t.after(() => { server.kill(); return ended; });
  const url = `http://127.0.0.1:${port}`;
  await until(() => fetch(url).then((answer) => answer.text().then(() => true), () => false), "the server listens", 10_000);
  return url;
}

/** An endpoint elsewhere: `answer` gets the request and Express' response. */
async function endpoint(t, path, answer) {
  const app = express().use(express.urlencoded({ extended: false })).post(path, answer);
  const server = await new Promise((resolve) => { const it = app.listen(0, "127.0.0.1", () => resolve(it)); });
  t.after(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}${path}`;
}

/** A client that is connected. `userAuthentication`: as on the page. */
async function connect(t, broker, version, userAuthentication) {
  const pusher = new VERSIONS[version](KEY, { ...towards(broker), userAuthentication });
  endsWith(t, pusher);
  pusher.errors = [];
  pusher.connection.bind("error", (error) => pusher.errors.push(error));
  pusher.signedIn = [];
  pusher.bind("pusher:signin_success", ({ user_data }) => pusher.signedIn.push(JSON.parse(user_data)));
  await connected(pusher);
  return pusher;
}

const signedIn = (pusher) => until(() => pusher.signedIn.length > 0, "the sign-in");

for (const version of Object.keys(VERSIONS)) {
  describe(version, { concurrency: true }, () => {
    test("the page's server signs a user in, who is sent to and terminated", async (t) => {
      const [broker, url] = await Promise.all([start(t), seedServer(t)]);
      const backend = library(broker);
      const pusher = await connect(t, broker, version, { endpoint: `${url}/pusher/user-auth`, transport: "ajax" });
      pusher.signin();
      await signedIn(pusher);
      assert.deepEqual(pusher.signedIn, [USER]);
      assert.deepEqual(pusher.user.user_data, USER);
      const heard = [];
      pusher.user.bind("hello", (data) => heard.push(data));
      await until(async () => (await broker.metrics()).sum("polycast_subscriptions") > 0, "the user's own channel");
      await backend.sendToUser("another_id_1", "hello", { to: "another" });
      await backend.sendToUser(USER.id, "hello", { to: "you" });
      await until(() => heard.length > 0, "the user's event");
      assert.deepEqual(heard, [{ to: "you" }]);
      await backend.terminateUserConnections(USER.id);
      await until(() => pusher.connection.state === "disconnected", "the end");
      assert.ok(pusher.errors.some((error) => (error.error ?? error).data?.code === 4009), JSON.stringify(pusher.errors));
    });

    test("an endpoint of another name that wants a CSRF token", async (t) => {
      const broker = await start(t);
      const backend = library(broker);
      const url = await endpoint(t, "/pusher_auth.php", (request, response) => {
        if (request.get("X-CSRF-Token") !== "SOME_CSRF_TOKEN") return response.status(403).send("Forbidden");
        return response.send(backend.authenticateUser(request.body.socket_id, USER));
      });
      const right = await connect(t, broker, version,
        { endpoint: url, transport: "ajax", headers: { "X-CSRF-Token": "SOME_CSRF_TOKEN" } });
      right.signin();
      await signedIn(right);

      const wrong = await connect(t, broker, version, { endpoint: url, transport: "ajax" });
      const told = [];
      wrong.user.bind("pusher:signin_error", (error) => told.push(error));
      wrong.signin();
      if (version === NEWEST) {
        await until(() => told.length > 0, "the refusal");
        assert.deepEqual([told[0].type, told[0].status], ["AuthError", 403]);
      } else {
        await pause(500);
      }
      assert.deepEqual([wrong.connection.state, wrong.signedIn, wrong.errors], ["connected", [], []]);
    });
  });
}

describe("a user's id", { concurrency: true }, () => {
  /** Signs what the libraries would not. */
  const sign = (socket_id, user) => {
    const user_data = JSON.stringify(user);
    return { auth: `${KEY}:${createHmac("sha256", SECRET).update(`${socket_id}::user::${user_data}`).digest("hex")}`, user_data };
  };
  const signingIn = async (t, user) => {
    const broker = await start(t);
    const pusher = await connect(t, broker, NEWEST, { customHandler: ({ socketId }, done) => done(null, sign(socketId, user)) });
    pusher.signin();
    return pusher;
  };

  for (const id of ["foo-bar_1234@=,.;", "x".repeat(128)]) {
    test(`${id.slice(0, 20)} (${id.length} characters) is one`, async (t) => {
      const pusher = await signingIn(t, { id });
      await signedIn(pusher);
      assert.equal(pusher.user.user_data.id, id);
    });
  }

  for (const [what, user] of [
    ["an empty one", { id: "" }], ["a number", { id: 7 }], ["null", { id: null }], ["none", {}], ["a space", { id: "a b" }],
    ["a colon", { id: "a:b" }], ["a letter that is not ASCII", { id: "é" }], ["129 characters", { id: "x".repeat(129) }],
  ]) {
    test(`${what} is told as an error, and ends the connection`, async (t) => {
      const pusher = await signingIn(t, user);
      await until(() => pusher.connection.state === "disconnected", "the end");
      const errors = pusher.errors.map((error) => error.error ?? error).filter(({ data }) => data?.code === 4009);
      assert.ok(errors.length > 0, JSON.stringify(pusher.errors));
      assert.deepEqual(pusher.signedIn, []);
    });
  }
});
