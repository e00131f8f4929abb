/**
 * The demo's site: a page and a UDP echo on this machine's loopback address, which clients of the tunnel cannot name.
 *
 * @module
 */

/** A running site. All ports are on 127.0.0.1. */
export interface Site extends AsyncDisposable {
  readonly pagePort: number;
  readonly echoPort: number;
  /** Nothing listens there. */
  readonly closedPort: number;
  readonly page: Uint8Array;
}

const HOSTNAME = "127.0.0.1";

/** Starts both services on free ports. The page is `bytes` long and different each time. */
export function startSite(bytes: number): Site {
  const page = makePage(bytes);
  const server = Deno.serve(
    { hostname: HOSTNAME, port: 0, onListen() {} },
    () => new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } }),
  );
  const echo = Deno.listenDatagram({ transport: "udp", hostname: HOSTNAME, port: 0 });
  const echoing = answer(echo);
  return {
    pagePort: server.addr.port,
    echoPort: (echo.addr as Deno.NetAddr).port,
    closedPort: findClosedPort(),
    page,
    async [Symbol.asyncDispose]() {
      echo.close();
      await Promise.all([echoing, server.shutdown()]);
    },
  };
}

function makePage(bytes: number): Uint8Array<ArrayBuffer> {
  const random = crypto.getRandomValues(new Uint8Array(32)).toHex();
  const text = `<!doctype html><title>Behind the gateway</title><p>${random}</p>\n`;
  const page = new TextEncoder().encode(text.padEnd(bytes, `${random}\n`));
  return page as Uint8Array<ArrayBuffer>;
}

async function answer(socket: Deno.DatagramConn): Promise<void> {
  for await (const [datagram, from] of socket) await socket.send(datagram, from);
}

function findClosedPort(): number {
  using listener = Deno.listen({ hostname: HOSTNAME, port: 0 });
  return listener.addr.port;
}
