/**
 * Accepts carriers in gRPC, on connections that are made and verified elsewhere.
 *
 * @module
 */

import type { Socket } from "node:net";
import type { Carrier, CarrierRemote } from "../carrier.ts";
import { GrpcCarrier } from "./carrier.ts";
import type { Server, ServerDuplexStream } from "./library.ts";
import { CALL_LIMIT_MS, GOODBYE_MS, MAX_MESSAGE, SESSION_MEMORY_MB, WINDOW } from "./limits.ts";
import { lineOf } from "./reason.ts";

/** A connection whose other end is known, and that has no call yet, or one. */
interface Connection {
  readonly socket: Socket;
  readonly remote: CarrierRemote;
  /** Of the time that it may have no call. */
  timer: ReturnType<typeof setTimeout>;
  carrier: GrpcCarrier | undefined;
}

/** Makes carriers of connections in TLS. */
export class GrpcAcceptor {
  readonly #server: Server;
  readonly #injector: ReturnType<Server["createConnectionInjector"]>;
  readonly #accepted: (carrier: Carrier) => void;
  readonly #library: Library;
  readonly #callLimitMs: number;
  /** By address and port of the other end, which is all that the library says of a call. */
  readonly #connections = new Map<string, Connection>();

  private constructor(
    library: Library,
    accepted: (carrier: Carrier) => void,
    callLimitMs: number,
  ) {
    this.#accepted = accepted;
    this.#library = library;
    this.#callLimitMs = callLimitMs;
    const { Server, ServerCredentials, CARRY } = library;
    this.#server = new Server(LIMITS);
    this.#server.addService({ carry: CARRY }, { carry: (call: Call) => this.#carry(call) });
    // What is injected has been made secure.
    this.#injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
  }

  /** @param accepted Is given each carrier. */
  static async start(
    accepted: (carrier: Carrier) => void,
    { callLimitMs = CALL_LIMIT_MS }: { callLimitMs?: number } = {},
  ): Promise<GrpcAcceptor> {
    return new GrpcAcceptor(await import("./library.ts"), accepted, callLimitMs);
  }

  /** Connections, with a call or without. */
  get size(): number {
    return this.#connections.size;
  }

  /** @param socket In TLS, with `h2` by ALPN, its other end allowed. The acceptor's from now on. */
  accept(socket: Socket, remote: CarrierRemote): void {
    const key = keyOf(socket);
    const timer = setTimeout(() => socket.destroy(), this.#callLimitMs);
    const connection: Connection = { socket, remote, timer, carrier: undefined };
    this.#connections.set(key, connection);
    socket.on("error", () => {}); // the library tells of it by its call
    socket.once("close", () => {
      clearTimeout(connection.timer);
      if (this.#connections.get(key) === connection) this.#connections.delete(key);
      connection.carrier?.ended();
    });
    this.#injector.injectConnection(socket);
  }

  /** Ends what has no carrier. Carriers that were handed over stay. */
  close(): void {
    for (const { carrier, socket } of this.#connections.values()) {
      if (carrier === undefined) socket.destroy();
    }
  }

  #carry(call: Call): void {
    const connection = this.#connections.get(call.getPeer());
    call.on("error", () => {}); // `cancelled` follows
    if (connection === undefined || connection.carrier !== undefined) {
      call.emit("error", { code: this.#library.status.UNAVAILABLE, details: "one call is enough" });
      connection?.socket.destroy();
      return;
    }
    clearTimeout(connection.timer);
    widen(call);
    const carrier = new GrpcCarrier(
      call,
      connection.remote,
      (reason) => this.#end(call, connection, reason),
    );
    connection.carrier = carrier;
    call.once("end", () => carrier.ended());
    call.once("cancelled", () => carrier.ended());
    call.sendMetadata(new this.#library.Metadata());
    this.#accepted(carrier);
  }

  /** Says why, if that is known, and takes the connection away. */
  #end(call: Call, { socket }: Connection, reason: string | undefined): void {
    if (reason === undefined) {
      socket.destroy();
      return;
    }
    call.emit("error", { code: this.#library.status.UNAVAILABLE, details: lineOf(reason) });
    const timer = setTimeout(() => socket.destroy(), GOODBYE_MS);
    socket.once("close", () => clearTimeout(timer));
  }
}

type Library = typeof import("./library.ts");
type Call = ServerDuplexStream<Uint8Array, Uint8Array>;

const LIMITS = {
  "grpc.enable_channelz": 0,
  "grpc.max_concurrent_streams": 1,
  "grpc.max_receive_message_length": MAX_MESSAGE,
  "grpc-node.max_session_memory": SESSION_MEMORY_MB,
};

function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress}:${remotePort}`;
}

/** What of a session of HTTP/2 is used here. */
interface Session {
  settings(settings: { initialWindowSize: number }): void;
  setLocalWindowSize(bytes: number): void;
}

/** A server has no option for its window as a client has, and its session is not for us to see. */
function widen(call: Call): void {
  const { stream } = (call as unknown as { call?: { stream?: { session?: Session } } }).call ?? {};
  stream?.session?.settings({ initialWindowSize: WINDOW });
  stream?.session?.setLocalWindowSize(WINDOW);
}
