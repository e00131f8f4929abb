/**
 * The services of the site behind the gateway, in one process on the target host:
 *
 *   deno run … services.ts FILE ADDRESS…
 *
 * Prints `ready`, then one JSON object a line for what a service has seen.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { createServer, type Socket } from "node:net";
import { digest, duplex, echo } from "./answers.ts";
import { PORTS } from "./ports.ts";

const [path, ...addresses] = Deno.args;
const file = await Deno.readFile(path!);

function report(event: Record<string, unknown>): void {
  console.log(JSON.stringify(event));
}

/** `GET /file`, `GET /file/I/N` (the I-th of N equal parts), `PUT` anything: its SHA-256. */
async function http(request: Request): Promise<Response> {
  const [, , index = "0", count = "1"] = new URL(request.url).pathname.split("/");
  if (request.method !== "PUT") {
    const size = file.length / Number(count);
    return new Response(file.subarray(Number(index) * size, (Number(index) + 1) * size));
  }
  const hash = createHash("sha256");
  for await (const chunk of request.body ?? []) hash.update(chunk);
  return new Response(hash.digest("hex"));
}

async function serve(
  hostname: string,
  port: number,
  handle: (conn: Deno.TcpConn) => Promise<void>,
): Promise<void> {
  for await (const conn of Deno.listen({ hostname, port })) {
    handle(conn).catch((error) => report({ port, error: String(error) }));
  }
}

/** Reports how a connection ended. Says `hello` first, and `seen` to what comes. */
function observe(socket: Socket): void {
  let bytes = 0;
  let how = "closed";
  socket.write("hello");
  socket.on("data", (chunk) => {
    bytes += chunk.length;
    socket.write("seen");
  });
  socket.on("end", () => how = "end of file");
  socket.on("error", (error: Error & { code?: string }) => how = error.code ?? error.message);
  socket.on("close", () => report({ service: "observe", how, bytes }));
}

/** Ends every connection with a reset as soon as it has received something. */
function reset(socket: Socket): void {
  socket.on("data", () => socket.resetAndDestroy());
  socket.on("error", () => {});
}

async function udp(
  hostname: string,
  port: number,
  handle: (socket: Deno.DatagramConn, data: Uint8Array, from: Deno.NetAddr) => void,
): Promise<void> {
  const socket = Deno.listenDatagram({ hostname, port, transport: "udp" });
  while (true) {
    const [data, from] = await socket.receive(new Uint8Array(65536));
    handle(socket, data, from as Deno.NetAddr);
  }
}

for (const address of addresses) {
  Deno.serve({ hostname: address, port: PORTS.http, onListen() {} }, http);
  serve(address, PORTS.echo, echo);
  serve(address, PORTS.digest, digest);
  serve(address, PORTS.duplex, (conn) => duplex(conn, file));
  createServer({ allowHalfOpen: true }, observe).listen(PORTS.observe, address);
  createServer(reset).listen(PORTS.reset, address);
  udp(address, PORTS.echo, (socket, data, from) => socket.send(data, from));
  // The source as seen here: one per client address and port (RFC 4787 §4.1).
  udp(address, PORTS.who, (socket, _, from) => {
    socket.send(new TextEncoder().encode(`${from.hostname} ${from.port}`), from);
  });
  // First an answer from a port that was not asked, which the client must not see.
  const stranger = Deno.listenDatagram({ hostname: address, port: 0, transport: "udp" });
  udp(address, PORTS.stranger, async (socket, data, from) => {
    await stranger.send(new TextEncoder().encode("from a stranger"), from);
    await socket.send(data, from);
  });
}
report({ ready: true });
