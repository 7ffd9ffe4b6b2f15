// Sockets without any protocol library, for what no well-behaved client sends.

import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { until } from "./broker.mjs";

/** A TCP connection that keeps every byte that came. */
export class Tcp {
  static async open(t, broker) {
    const socket = connect({ port: broker.ports.http, host: "127.0.0.1", noDelay: true });
    const tcp = new Tcp(socket);
    t.after(() => socket.destroy());
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    return tcp;
  }

  constructor(socket) {
    this.socket = socket;
    this.bytes = Buffer.alloc(0);
    this.closed = false;
    socket.on("data", (chunk) => { this.bytes = Buffer.concat([this.bytes, chunk]); });
    // An RST is an end too: some of these requests are answered and cut off while we still send.
    socket.on("error", () => {});
    this.ended = new Promise((resolve) => {
      socket.on("end", () => { this.closed = true; resolve(performance.now()); });
      socket.on("close", () => { this.closed = true; resolve(performance.now()); });
    });
  }

  write(bytes) { if (!this.socket.destroyed) this.socket.write(bytes); }

  /** The head of the response: status, and header lines in lower case. Taken from what came. */
  async response(limit_ms) {
    await until(() => this.bytes.includes("\r\n\r\n") || this.closed, "a response", limit_ms);
    const end = this.bytes.indexOf("\r\n\r\n");
    if (end < 0) throw new Error(`closed after ${this.bytes.length} bytes: ${this.bytes}`);
    const [first, ...lines] = this.bytes.subarray(0, end).toString("latin1").split("\r\n");
    this.bytes = this.bytes.subarray(end + 4);
    return { status: Number(first.split(" ")[1]), headers: lines.map((line) => line.toLowerCase()) };
  }

  /** The next WebSocket frame of the server. */
  async frame(limit_ms) {
    await until(() => completeFrame(this.bytes) || this.closed, "a frame", limit_ms);
    const frame = completeFrame(this.bytes);
    if (!frame) throw new Error(`closed without a frame; ${this.bytes.length} bytes were left`);
    this.bytes = this.bytes.subarray(frame.length);
    return frame;
  }

  /** The code of the server's close frame; pongs, pings and messages before it are passed over. */
  async closeCode(limit_ms) {
    for (;;) {
      const { opcode, payload } = await this.frame(limit_ms);
      if (opcode === 8) return payload.length ? payload.readUInt16BE(0) : 1005;
    }
  }

  /** The next message, parsed. */
  async message(limit_ms) {
    for (;;) {
      const { opcode, payload } = await this.frame(limit_ms);
      if (opcode === 1 && payload.toString() !== "{}") return JSON.parse(payload.toString());
    }
  }
}

function completeFrame(bytes) {
  if (bytes.length < 2) return undefined;
  const short = bytes[1] & 0x7f;
  const head = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < head) return undefined;
  const size = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (bytes.length < head + size) return undefined;
  return { opcode: bytes[0] & 0x0f, payload: bytes.subarray(head, head + size), length: head + size };
}

/** A client's frame. `length`: how the length is coded (7, 16 or 64 bits); the shortest form if not given. */
export function frame(opcode, payload = "", { fin = true, rsv = 0, masked = true, length } = {}) {
  const data = Buffer.from(payload);
  const form = length ?? (data.length < 126 ? 7 : data.length < 65536 ? 16 : 64);
  const size = Buffer.alloc(form === 7 ? 0 : form / 8);
  if (form === 16) size.writeUInt16BE(data.length);
  if (form === 64) size.writeBigUInt64BE(BigInt(data.length));
  const short = form === 7 ? data.length : form === 16 ? 126 : 127;
  const head = Buffer.from([(fin ? 0x80 : 0) | (rsv << 4) | opcode, (masked ? 0x80 : 0) | short]);
  if (!masked) return Buffer.concat([head, size, data]);
  const mask = randomBytes(4);
  return Buffer.concat([head, size, mask, data.map((byte, index) => byte ^ mask[index & 3])]);
}

/** The text of an upgrade request. `headers` replace or, with `undefined`, remove the usual ones. */
export function upgradeRequest(broker, headers = {}, { method = "GET", path = "/connection/websocket", version = "1.1" } = {}) {
  const all = {
    Host: `127.0.0.1:${broker.ports.http}`,
    Upgrade: "websocket",
    Connection: "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    ...headers,
  };
  const lines = Object.entries(all).filter(([, value]) => value !== undefined).flatMap(([name, value]) =>
    [value].flat().map((one) => `${name}: ${one}\r\n`));
  return `${method} ${path} HTTP/${version}\r\n${lines.join("")}\r\n`;
}

/** A connection whose upgrade is done. `rest`: bytes sent in one piece with the request. */
export async function upgraded(t, broker, rest = "") {
  const tcp = await Tcp.open(t, broker);
  tcp.write(Buffer.concat([Buffer.from(upgradeRequest(broker)), Buffer.from(rest)]));
  const { status } = await tcp.response();
  if (status !== 101) throw new Error(`the upgrade was answered with ${status}`);
  return tcp;
}
