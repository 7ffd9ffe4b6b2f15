// The seed documentation's page on authenticating users: its Express server as it stands, and its clients' options.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import express from "express";
import Backend from "pusher";
import { freePort, startBroker, until } from "./broker.mjs";
import { Raw } from "./clients.mjs";
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

describe("the page's endpoints in PHP", { concurrency: true }, () => {
  const hmac = (text) => createHmac("sha256", SECRET).update(text).digest("hex");
  /** As `json_encode` writes it: slashes and everything but ASCII escaped. */
  const json_encode = (value) => JSON.stringify(value).replaceAll("/", "\\/")
    .replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
  /** What `$pusher->authenticateUser($socket_id, $user_data)` returns, without any library. */
  const authenticateUser = (socket_id, user_data) => {
    const text = json_encode(user_data);
    return json_encode({ auth: `${KEY}:${hmac(`${socket_id}::user::${text}`)}`, user_data: text });
  };
  const forbidden = [403, "Forbidden"];
  const NAME = "Jörg / Smith 🙂";
  // Who is asking, by the session that the framework knows: here a parameter of the request.
  const VARIANTS = {
    "the first, whose user has a number": ({ socket_id, uid }) => (uid
      ? [200, authenticateUser(socket_id, { id: String(Number(uid)), user_info: { name: NAME }, watchlist: ["8", "9"] })]
      : forbidden),
    // The page calls `authorizeChannel` here, with a user instead of a channel; it means the method of users.
    "the second, of WordPress": ({ socket_id, uid }) => (uid
      ? [200, authenticateUser(socket_id, { id: uid, user_info: { name: NAME }, watchlist: null })]
      : forbidden),
  };

  /** Serves a variant as PHP does: fields of forms in `$_POST`, what is echoed as HTML. `asked`: what came. */
  async function serve(t, variant) {
    const asked = [];
    const server = createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      asked.push({ method: request.method, url: request.url, type: request.headers["content-type"], body });
      const [status, text] = variant(Object.fromEntries(new URLSearchParams(body)));
      response.writeHead(status, { "Content-Type": "text/html; charset=UTF-8" }).end(text);
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(() => { server.closeAllConnections(); server.close(); });
    return { asked, endpoint: `http://127.0.0.1:${server.address().port}/pusher_user_auth.php` };
  }

  /** A client without a library, and the id that it was given. */
  async function raw(t, broker) {
    const client = await Raw.open(t, broker, { url: `ws://127.0.0.1:${broker.ports.http}/app/${KEY}?protocol=7` });
    return { client, socket_id: JSON.parse((await client.next()).data).socket_id };
  }

  for (const [name, variant] of Object.entries(VARIANTS)) {
    test(`${name}: a form is answered with what the broker accepts`, async (t) => {
      const [broker, { endpoint }] = await Promise.all([start(t), serve(t, variant)]);
      const { client, socket_id } = await raw(t, broker);
      const post = (fields) => fetch(endpoint, { method: "POST", body: new URLSearchParams(fields) });
      const refused = await post({ socket_id });
      assert.deepEqual([refused.status, await refused.text()], forbidden);
      const accepted = await post({ socket_id, uid: "7" });
      const answer = await accepted.json();
      assert.deepEqual([accepted.status, Object.keys(answer)], [200, ["auth", "user_data"]]);
      assert.match(answer.user_data, /^\{"id":"7","user_info":\{"name":"J\\u00f6rg \\\/ Smith \\ud83d\\ude42"\},"watchlist":/);
      // Nothing of it is good for another connection.
      const other = await raw(t, broker);
      other.client.send({ event: "pusher:signin", data: answer });
      assert.equal((await other.client.closed).code, 4009);
      client.send({ event: "pusher:signin", data: answer });
      const success = await client.next();
      assert.equal(success.event, "pusher:signin_success");
      assert.deepEqual(JSON.parse(success.data), { user_data: answer.user_data }, "byte for byte what was signed");
    });

    test(`${name}: pusher-js asks it, and is signed in or told why not`, async (t) => {
      const [broker, { asked, endpoint }] = await Promise.all([start(t), serve(t, variant)]);
      const right = await connect(t, broker, NEWEST, { endpoint, transport: "ajax", params: { uid: "7" } });
      right.signin();
      await signedIn(right);
      assert.deepEqual([right.user.user_data.id, right.user.user_data.user_info], ["7", { name: NAME }]);
      const wrong = await connect(t, broker, NEWEST, { endpoint, transport: "ajax" });
      const told = new Promise((resolve) => wrong.user.bind("pusher:signin_error", resolve));
      wrong.signin();
      assert.equal((await told).status, 403);
      assert.deepEqual([wrong.connection.state, wrong.errors], ["connected", []]);
      const form = { method: "POST", url: "/pusher_user_auth.php", type: "application/x-www-form-urlencoded" };
      assert.deepEqual(asked, [
        { ...form, body: `socket_id=${right.connection.socket_id}&uid=7` },
        { ...form, body: `socket_id=${wrong.connection.socket_id}` },
      ]);
    });
  }

  test("a signature of a channel signs nobody in", async (t) => {
    const broker = await start(t);
    const { client, socket_id } = await raw(t, broker);
    const user_data = json_encode({ id: "7" });
    client.send({ event: "pusher:signin", data: { auth: `${KEY}:${hmac(`${socket_id}:${user_data}`)}`, user_data } });
    assert.equal((await client.next()).data.code, null);
    assert.equal((await client.closed).code, 4009);
  });
});

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
