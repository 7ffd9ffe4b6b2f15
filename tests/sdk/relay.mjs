// A TCP relay between clients and the broker that closes sockets when a test wants it.

import { connect, createServer } from "node:net";

export class Relay {
  /** Between `target`, a port on loopback, and a port of its own; it ends with the test `t`. */
  static async open(t, target) {
    const relay = new Relay(target);
    await new Promise((resolve, reject) => relay.server.once("error", reject).listen(0, "127.0.0.1", resolve));
    t.after(() => { relay.cut(); relay.server.close(); });
    relay.port = relay.server.address().port;
    return relay;
  }

  constructor(target) {
    /** Where the connections lead that come from now on. */
    this.target = target;
    this.pairs = new Set();
    this.isCut = false;
    this.server = createServer({ noDelay: true }, (near) => this.#join(near));
  }

  get websocket() { return `ws://127.0.0.1:${this.port}/connection/websocket`; }

  /** Closes every connection, and those that come until `mend`. */
  cut() {
    this.isCut = true;
    for (const pair of this.pairs) pair.end();
  }

  mend() { this.isCut = false; }

  /** Closes each connection with this probability; those that come afterwards pass. How many were closed. */
  cutSome(probability) {
    const chosen = [...this.pairs].filter(() => Math.random() < probability);
    for (const pair of chosen) pair.end();
    return chosen.length;
  }

  #join(near) {
    if (this.isCut) return void near.on("error", () => {}).destroy();
    const far = connect({ port: this.target, host: "127.0.0.1", noDelay: true });
    const pair = { end: () => { near.destroy(); far.destroy(); this.pairs.delete(pair); } };
    this.pairs.add(pair);
    for (const [one, other] of [[near, far], [far, near]]) {
      one.on("data", (chunk) => { if (!other.write(chunk)) { one.pause(); other.once("drain", () => one.resume()); } });
      one.on("end", () => other.end());
      one.on("error", pair.end);
      one.on("close", pair.end);
    }
  }
}
