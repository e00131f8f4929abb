/**
 * From a configured link to one with its socket.
 *
 * @module
 */

import type { DatagramPlace, LinkConfig, LinkPlace, StreamPlace } from "../config/checked.ts";
import { formatPlace } from "../config/link_values.ts";
import type { OwnListener } from "../flow/own_listeners.ts";
import { DatagramLink, type DatagramSocket } from "../link/datagram.ts";
import { udpUnavailable, UnixDatagramSocket } from "../../ffi/mod.ts";
import { StreamLink } from "../link/stream.ts";
import { ConnectingSource, ListeningSource } from "../link/stream_source.ts";
import { parseIpAddress, socketAddress } from "../address.ts";
import { listenPrivately, NameInUseError } from "./private_socket.ts";

/** A link over a socket of this host. */
export type SocketLink = StreamLink | DatagramLink<Deno.Addr> | DatagramLink<string>;

export interface OpenedLink {
  readonly link: SocketLink;
  /** Where this process listens for it: no peer may get there through the proxy. */
  readonly listener?: OwnListener;
  /** Called when the link has been closed. */
  readonly cleanUp: () => void;
}

/** Why the system gives no socket: `what is wrong, what was expected`. */
export class LinkError extends Error {
  override readonly name = "LinkError";
}

/** @throws {LinkError} if the system refuses the place. */
export async function openLink(config: LinkConfig): Promise<OpenedLink> {
  const { place, isListening } = config;
  try {
    if (place.transport === "unix" || place.transport === "tcp") {
      return isListening ? await listenForStream(config, place) : connectStream(config, place);
    }
    return isListening ? await listenForDatagrams(config, place) : connectDatagrams(config, place);
  } catch (error) {
    throw new LinkError(reasonOf(error, place), { cause: error });
  }
}

async function listenForStream(config: LinkConfig, place: StreamPlace): Promise<OpenedLink> {
  if (place.transport === "tcp") {
    const { hostname, port } = place;
    const listener = Deno.listen({ hostname, port });
    const bound = listener.addr as Deno.NetAddr;
    return {
      link: streamLink(
        config,
        new ListeningSource(formatPlace({ ...place, port: bound.port }), listener),
      ),
      listener: ownListener("tcp", bound),
      cleanUp() {},
    };
  }
  const { path } = place;
  const { listener, inode } = await listenPrivately(
    path,
    0o600,
    (path) => Deno.listen({ transport: "unix", path }),
    (listener) => listener.close(),
  );
  return {
    link: streamLink(config, new ListeningSource(formatPlace(place), listener)),
    cleanUp: () => removeSocket(path, inode),
  };
}

function connectStream(config: LinkConfig, place: StreamPlace): OpenedLink {
  const connect = (): Promise<Deno.Conn> =>
    place.transport === "unix"
      ? Deno.connect({ transport: "unix", path: place.path })
      : Deno.connect({ hostname: place.hostname, port: place.port });
  const source = new ConnectingSource(config.name, formatPlace(place), connect);
  return { link: streamLink(config, source), cleanUp() {} };
}

function streamLink(config: LinkConfig, source: ListeningSource | ConnectingSource): StreamLink {
  const { name, framing, mtu } = config;
  if (framing === "datagram") throw new TypeError("a stream has no datagrams");
  return new StreamLink({ name, framing, mtu, source });
}

async function listenForDatagrams(config: LinkConfig, place: DatagramPlace): Promise<OpenedLink> {
  const { name, mtu } = config;
  if (place.transport === "udp") {
    const { hostname, port } = place;
    const socket = Deno.listenDatagram({ transport: "udp", hostname, port });
    const bound = socket.addr as Deno.NetAddr;
    return {
      link: new DatagramLink<Deno.Addr>({
        name,
        mtu,
        socket,
        nameOf: nameOfAddress,
        place: formatPlace({ ...place, port: bound.port }),
      }),
      listener: ownListener("udp", bound),
      cleanUp() {},
    };
  }
  const { path } = place;
  const { listener: socket, inode } = await listenPrivately(
    path,
    0o600,
    openUnixDatagrams,
    (socket) => socket.close(),
  );
  return {
    link: new DatagramLink<string>({
      name,
      mtu,
      socket: asDatagrams(socket),
      receives: 1,
      nameOf: (path) => path,
      place: formatPlace(place),
    }),
    cleanUp: () => removeSocket(path, inode),
  };
}

function connectDatagrams(config: LinkConfig, place: DatagramPlace): OpenedLink {
  const { name, mtu } = config;
  const options = { name, mtu, nameOf: nameOfAddress, place: formatPlace(place) };
  if (place.transport === "udp") {
    const { hostname, port } = place;
    const address = parseIpAddress(hostname);
    if (address === undefined) {
      throw new LinkError(`${hostname} is a name, expected an address for udp:`);
    }
    const socket = Deno.listenDatagram({
      transport: "udp",
      hostname: address.version === 4 ? "0.0.0.0" : "::",
      port: 0,
    });
    const bound = socket.addr as Deno.NetAddr;
    return {
      link: new DatagramLink<Deno.Addr>({
        ...options,
        socket,
        remote: { transport: "udp", hostname, port },
      }),
      listener: ownListener("udp", { ...bound, hostname: "" }),
      cleanUp() {},
    };
  }
  // To be answered it needs a name of its own.
  const own = `${place.path}.${Deno.pid}`;
  const socket = openUnixDatagrams(own);
  Deno.chmodSync(own, 0o600);
  return {
    link: new DatagramLink<string>({
      name,
      mtu,
      place: formatPlace(place),
      socket: asDatagrams(socket),
      receives: 1,
      remote: place.path,
      // A socket tells the name that it was bound by, which may not be the one that it is reached by.
      // Only this user can write to ours.
      nameOf: () => place.path,
    }),
    cleanUp: () => removeSocket(own, Deno.lstatSync(own).ino),
  };
}

/** @throws {LinkError} without FFI. */
function openUnixDatagrams(path: string): UnixDatagramSocket {
  const reason = udpUnavailable();
  if (reason !== undefined) throw new LinkError(`unixgram: ${reason}, expected unix:`);
  return new UnixDatagramSocket(path);
}

function asDatagrams(socket: UnixDatagramSocket): DatagramSocket<string> {
  return {
    receive: (into) => socket.receive(into),
    // deno-lint-ignore require-await -- what it throws is a rejection
    send: async (bytes, to) => socket.send(bytes, to),
    close: () => socket.close(),
  };
}

function ownListener(protocol: "tcp" | "udp", { hostname, port }: Deno.NetAddr): OwnListener {
  return { protocol, port, address: parseIpAddress(hostname) };
}

function nameOfAddress(address: Deno.Addr): string {
  if ("path" in address) return address.path;
  if (!("hostname" in address)) return "";
  const ip = parseIpAddress(address.hostname);
  return ip === undefined ? `${address.hostname}:${address.port}` : socketAddress(ip, address.port);
}

/** Unless another process has put its own there. */
function removeSocket(path: string, inode: number | null): void {
  try {
    if (Deno.lstatSync(path).ino === inode) Deno.removeSync(path);
  } catch { /* it is gone, or the right to remove it is: the next gateway replaces it */ }
}

function reasonOf(error: unknown, place: LinkPlace): string {
  if (error instanceof LinkError) return error.message;
  if (error instanceof NameInUseError) return `${error.message}, expected another path`;
  if (error instanceof Deno.errors.AddrInUse) {
    const what = "path" in place ? place.path : `port ${place.port}`;
    return `${what} is in use, expected a free one`;
  }
  if (error instanceof Deno.errors.AddrNotAvailable && "hostname" in place) {
    return `${place.hostname} is not an address of this host, expected one that is`;
  }
  if (error instanceof Deno.errors.NotFound && "path" in place) {
    return `${formatPlace(place)}: its folder is not there, expected one that is`;
  }
  return `${formatPlace(place)} cannot be opened (${(error as Error).message})`;
}
