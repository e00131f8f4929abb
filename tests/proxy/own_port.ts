/**
 * Ports that the system gives nobody by itself, for what nobody is to listen on meanwhile or what is to
 * be listened on again; and one for both protocols.
 *
 * @module
 */

/** A socket on such a port: it is free again when this is closed. */
export function listenOnOwnPort(hostname = "0.0.0.0"): Deno.DatagramConn {
  return onAny((port) => Deno.listenDatagram({ transport: "udp", hostname, port }));
}

/** A port of UDP. */
export function ownUdpPort(): number {
  const socket = listenOnOwnPort();
  socket.close();
  return (socket.addr as Deno.NetAddr).port;
}

/** A port of TCP, on loopback. */
export function ownTcpPort(): number {
  using listener = onAny((port) => Deno.listen({ hostname: "127.0.0.1", port }));
  return listener.addr.port;
}

/** One port of both protocols: the one that TCP was given may be another's for UDP. */
export function listenOnBoth(hostname: string, port = 0): [Deno.TcpListener, Deno.DatagramConn] {
  for (;;) {
    const tcp = Deno.listen({ hostname, port });
    try {
      const { port } = tcp.addr;
      return [tcp, Deno.listenDatagram({ transport: "udp", hostname, port })];
    } catch (error) {
      tcp.close();
      if (port !== 0 || !(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

function onAny<T>(listen: (port: number) => T): T {
  for (;;) {
    try {
      return listen(2_000 + Math.floor(Math.random() * 8_000));
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
