// What an SDK does only in a browser: an application's refresh endpoint, seen through Chromium.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { startBroker, until } from "./broker.mjs";
import { openBrowser, serve } from "./browser.mjs";
import { assertClosedOnTime, token } from "./clients.mjs";

test("centrifuge-js 2.8.5 in a browser whose refresh endpoint answers 404 is closed, then told 109", async (t) => {
  const bundle = createRequire(import.meta.url).resolve("centrifuge2");
  const html = '<!doctype html><title>an application</title><script src="/centrifuge.js"></script>';
  const site = await serve(t, { "/": { html }, "/centrifuge.js": bundle });
  const broker = await startBroker(t, { server: `allowed_origins = ["${site.origin}"]` });
  const page = await (await openBrowser(t)).newPage();
  const frames = [];
  page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => frames.push(payload.toString())));
  await page.addInitScript(() => {
    window.closes = [];
    window.WebSocket = class extends WebSocket {
      constructor(...parameters) {
        super(...parameters);
        this.addEventListener("close", ({ code, reason }) => window.closes.push({ code, reason, at_ms: Date.now() }));
      }
    };
  });
  await page.goto(site.origin);
  // Three seconds from here: a browser may take longer than that to start.
  const text = token("42", { seconds: 3 });
  await page.evaluate(([url, token]) => {
    window.centrifuge = new Centrifuge(url);
    window.centrifuge.setToken(token);
    window.heard = [];
    window.centrifuge.subscribe("chat", (message) => window.heard.push(message.data));
    window.centrifuge.connect();
  }, [broker.websocket, text]);
  await until(() => page.evaluate(() => window.centrifuge.isConnected()), "the browser connects");
  await page.waitForFunction(() => window.closes.length > 0, null, { timeout: 35_000 });
  const { code, reason, at_ms } = await page.evaluate(() => window.closes[0]);
  assert.equal(code, 3005);
  assert.deepEqual(JSON.parse(reason), { reason: "expired", reconnect: true });
  assertClosedOnTime(at_ms, text);
  assert.ok(site.missed.includes("POST /centrifuge/refresh"), site.missed.join(", "));
  await until(() => frames.some((frame) => frame.includes('"code":109')), () => `109 in ${frames.join(" | ")}`, 10_000);
});
