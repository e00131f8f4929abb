/**
 * What a target offers, at some addresses: HTTP on ports 80 and 9999 (`/name`, `/file`, `/endless` for 2.6
 * MB/s of what {@link endless} says, `/upload` says the hash of what it was sent), and on UDP ports 7 and 53 its name in front of each datagram that it gets.
 *
 *   deno run … redirect_services.ts NAME ADDRESS…
 *
 * @module
 */

import { file, hashOf } from "./tunnel_services.ts";

if (import.meta.main) {
  const [name, ...addresses] = Deno.args as [string, ...string[]];
  for (const hostname of addresses) {
    for (const port of [80, 9999]) {
      Deno.serve({ hostname, port, onListen() {} }, async (request) => {
        const { pathname } = new URL(request.url);
        if (pathname === "/endless") return new Response(endless());
        if (pathname === "/file") return new Response(file());
        if (pathname !== "/upload") return new Response(name);
        return new Response(hashOf(new Uint8Array(await request.arrayBuffer())));
      });
    }
    for (const port of [7, 53]) answer(hostname, port, new TextEncoder().encode(`${name}: `));
  }
  console.log("ready");
}

/** The bytes 0 to 255, over and over. */
function endless(): ReadableStream<Uint8Array> {
  const bytes = Uint8Array.from({ length: 128 << 10 }, (_, i) => i);
  let timer: ReturnType<typeof setInterval>;
  return new ReadableStream({
    start(controller) {
      timer = setInterval(() => {
        if (controller.desiredSize! > -8) controller.enqueue(bytes);
      }, 50);
    },
    cancel: () => clearInterval(timer),
  });
}

async function answer(hostname: string, port: number, name: Uint8Array): Promise<void> {
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port });
  for await (const [datagram, from] of socket) {
    await socket.send(new Uint8Array([...name, ...datagram]), from);
  }
}
