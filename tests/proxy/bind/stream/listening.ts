/**
 * Servers that behave as a test likes, HTTP proxies among them.
 *
 * @module
 */

import { once } from "node:events";
import net from "node:net";

export interface Listening extends Disposable {
  readonly port: number;
}

/** Listens for as long as a test takes. @returns the port, and what ends it. */
export async function listening(behave: (socket: net.Socket) => void): Promise<Listening> {
  const sockets: net.Socket[] = [];
  const server = net.createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    behave(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as net.AddressInfo).port,
    [Symbol.dispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** A proxy that leads everybody to port `to` of this host, or gives another answer. */
export async function connectProxy(to: number) {
  const told = {
    answer: "HTTP/1.1 200 OK\r\n\r\n",
    /** The first line of each request. */
    asked: [] as string[],
  };
  const { port, ...rest } = await listening((socket) => {
    socket.once("data", (bytes) => {
      told.asked.push(`${bytes}`.split("\r\n")[0]!);
      socket.write(told.answer);
      if (!told.answer.includes(" 200 ")) return;
      const onward = net.connect(to, "127.0.0.1");
      onward.on("error", () => {});
      socket.pipe(onward).pipe(socket);
    });
  });
  const through = { host: "127.0.0.1", port, authorization: "Basic c2VjcmV0" };
  return { told, through, ...rest };
}
