/**
 * Clients of HTTP that begin a request and never end it: `slow_clients_main.ts PORT COUNT`. Says
 * `open` when all have connected, and stays until standard input ends.
 *
 * @module
 */

import { connect, type Socket } from "node:net";

const [port, count] = Deno.args.map(Number);
const AT_ONCE = 100;
const open: Socket[] = [];

function begin(): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(port!, "127.0.0.1");
    open.push(socket);
    socket.on("connect", () => {
      socket.write("GET /metrics HTTP/1.1\r\nHost: local");
      resolve();
    });
    socket.on("error", () => resolve());
  });
}

for (let i = 0; i < count!; i += AT_ONCE) {
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, count! - i) }, begin));
}
console.log("open");
await new Response(Deno.stdin.readable).bytes();
for (const socket of open) socket.destroy();
Deno.exit(0);
