// Headless Chromium as Debian ships it, and a small server for the pages of an application.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

export const CHROMIUM = process.env.POLYCAST_CHROMIUM ?? "/usr/bin/chromium";

/** A browser for the test `t`. It looks for nothing on the network by itself. */
export async function openBrowser(t) {
  if (!existsSync(CHROMIUM)) throw new Error(`${CHROMIUM} is missing: apt-get install chromium`);
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
  });
  t.after(() => browser.close());
  return browser;
}

/**
 * Serves `files` (path -> file name or `{ html }`) on a free loopback port; every other request gets 404 and is
 * remembered in `missed`.
 */
export async function serve(t, files) {
  const missed = [];
  const server = createServer(async (request, response) => {
    const file = request.method === "GET" ? files[request.url] : undefined;
    if (file === undefined) {
      missed.push(`${request.method} ${request.url}`);
      response.writeHead(404).end();
    } else if (file.html) {
      response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end(file.html);
    } else {
      response.writeHead(200, { "Content-Type": "text/javascript" }).end(await readFile(file));
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => { server.close(); server.closeAllConnections(); });
  return { origin: `http://127.0.0.1:${server.address().port}`, missed };
}
