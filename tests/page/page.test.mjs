// The demo page of the embedded default, in a real browser: it connects by itself, subscribes, publishes and shows.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { ROOT, SECRET, launch, startBroker, until } from "../sdk/broker.mjs";
import { openBrowser } from "../sdk/browser.mjs";
import { token } from "../sdk/clients.mjs";

/** A page whose errors, refused policies included, fail the test. */
async function openPage(t, browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1180, height: 800 }, ...options });
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") problems.push(message.text()); });
  return { page, problems };
}

const shows = (page, text) => page.locator("#log li", { hasText: text }).first().waitFor({ timeout: 10_000 });
const state = (page, text) => page.locator("#state", { hasText: text }).waitFor({ timeout: 20_000 });

async function picture(page, name) {
  const directory = join(ROOT, "target/test-logs");
  mkdirSync(directory, { recursive: true });
  await page.screenshot({ path: join(directory, `${name}.png`), fullPage: true });
}

describe("page", { concurrency: true }, () => {
  test("of the embedded default: connects, subscribes, publishes, shows", async (t) => {
    const broker = await startBroker(t, { embedded: true });
    const browser = await openBrowser(t);
    const { page, problems } = await openPage(t, browser);
    await page.goto(`${broker.http}/`);
    await state(page, "Connected");
    assert.ok(await page.locator("#token-card").isHidden(), "a token was made for the page");

    await page.getByRole("textbox", { name: "Channel", exact: true }).fill("chat");
    await page.getByRole("button", { name: "Subscribe", exact: true }).click();
    await page.locator("#channels li:not(.waiting)", { hasText: "chat" }).waitFor();
    await page.getByLabel("Data").fill('{"text": "from the page"}');
    await page.getByRole("button", { name: "Publish", exact: true }).click();
    await shows(page, '{"text":"from the page"}');

    // The line the broker printed for its operator publishes as it stands.
    const line = broker.output().split("\n").find((line) => line.trim().startsWith("curl "));
    assert.ok(line, `a curl line in: ${broker.output()}`);
    const channel = /"channel": ?"([^"]+)"/.exec(line)[1];
    if (channel !== "chat") {
      await page.getByRole("textbox", { name: "Channel", exact: true }).fill(channel);
      await page.getByRole("button", { name: "Subscribe", exact: true }).click();
      await page.locator("#channels li:not(.waiting)", { hasText: channel }).waitFor();
    }
    await promisify(execFile)("bash", ["-c", `${line} --fail --silent --max-time 10`]);
    await shows(page, "from the backend");

    for (let number = 1; number <= 12; number++) {
      await page.getByLabel("Data").fill(`plain text ${number}, "quoted"`);
      await page.getByRole("button", { name: "Publish", exact: true }).click();
    }
    await shows(page, "plain text 12");
    await until(async () => Number(await page.locator("#rate").textContent()) > 0, "the rate moves");
    assert.equal(await page.locator("#total").textContent(), "14");

    await picture(page, "page-light");
    await page.emulateMedia({ colorScheme: "dark" });
    await picture(page, "page-dark");
    await page.setViewportSize({ width: 390, height: 800 });
    await picture(page, "page-narrow");
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(overflow <= 0, `${overflow} pixels too wide for a telephone`);
    assert.deepEqual(problems, []);
  });

  test("with a configuration file: asks for a token, tells why one is refused", async (t) => {
    const broker = await startBroker(t);
    const { page } = await openPage(t, await openBrowser(t));
    await page.goto(`${broker.http}/`);
    await state(page, "Not connected");
    const connect = async (text) => {
      await page.getByLabel("Connection token").fill(text);
      await page.getByRole("button", { name: "Connect", exact: true }).click();
    };
    for (const [text, told] of [["not a token", "3500"], [token("42", { seconds: -10 }), "expired"]]) {
      await connect(text);
      await page.locator("#token-problem", { hasText: told }).waitFor({ timeout: 10_000 });
      await state(page, "Not connected");
    }
    await connect(token("42"));
    await state(page, "Connected");
    const html = await (await fetch(`${broker.http}/`)).text();
    assert.ok(!html.includes(SECRET + '"') && !html.includes("{{"), "no secret and no placeholder in the page");
  });

  test("reconnects by itself and keeps its subscriptions", async (t) => {
    const options = { secret: "the same before and after the restart" };
    const first = await startBroker(t, options);
    const { page } = await openPage(t, await openBrowser(t));
    await page.goto(`${first.http}/`);
    await page.getByLabel("Connection token").fill(token("42", { secret: options.secret }));
    await page.getByRole("button", { name: "Connect", exact: true }).click();
    await state(page, "Connected");
    await page.getByRole("textbox", { name: "Channel", exact: true }).fill("news");
    await page.getByRole("button", { name: "Subscribe", exact: true }).click();
    await page.locator("#channels li:not(.waiting)", { hasText: "news" }).waitFor();

    await first.end();
    await state(page, /Reconnecting|Connecting/);
    const second = await launch(t, { ...options, ports: first.ports });
    assert.ok(await second.becomesReady(), second.output());
    await state(page, "Connected");
    await page.locator("#channels li:not(.waiting)", { hasText: "news" }).waitFor();
    await second.publish("news", "after the restart");
    await shows(page, "after the restart");
  });
});
