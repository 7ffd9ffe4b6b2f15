// Where SDKs in programs of their own get their tokens, as they would from an application.

import { createServer } from "node:http";

/**
 * Serves the tokens of `source`, which has `connection()` and `subscription(client)`, each a promise: at `/connection`
 * and `/subscription?client=…` of the address that is returned.
 */
export async function serveTokens(t, source) {
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://tokens.test");
    const isConnection = pathname === "/connection";
    response.end(await (isConnection ? source.connection() : source.subscription(searchParams.get("client"))));
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}
