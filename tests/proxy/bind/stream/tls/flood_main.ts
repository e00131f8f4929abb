/**
 * Opens connections, writes a part of a handshake to each, and leaves it at that: `flood_main.ts PORT
 * COUNT HEX`. Says when all are open, and ends with its standard input.
 *
 * @module
 */

import { once } from "node:events";
import { connect } from "node:net";

const [port, count, hex] = Deno.args;
const hello = Uint8Array.fromHex(hex!);

async function open(i: number): Promise<void> {
  const localAddress = `127.0.${1 + i % 25}.${1 + i % 199}`;
  const socket = connect({ host: "127.0.0.1", port: Number(port), localAddress });
  socket.on("error", () => {});
  await once(socket, "connect");
  socket.write(hello.subarray(0, i % 400));
  socket.resume();
}

for (let i = 0; i < Number(count); i += 100) {
  await Promise.all(Array.from({ length: 100 }, (_, j) => open(i + j)));
}
console.log("open");
await Deno.stdin.read(new Uint8Array(1));
Deno.exit();
