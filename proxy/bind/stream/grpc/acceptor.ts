/**
 * Accepts carriers in gRPC, on connections that are made and verified elsewhere.
 *
 * @module
 */

import type { Socket } from "node:net";
import type { CarrierRemote } from "../carrier.ts";
import { PendingConnections } from "../tls/mod.ts";
import { GrpcCarrier } from "./carrier.ts";
import type { Datagrams, ServerDuplexStream } from "./library.ts";
import {
  CALL_LIMIT_MS,
  GOODBYE_MS,
  MAX_MESSAGE,
  MOST_REFUSED,
  MOST_SILENT,
  MOST_SILENT_OF_ONE,
  SESSION_MEMORY_MB,
} from "./limits.ts";
import { type Library, loadLibrary } from "./load.ts";
import { type Connected, Through } from "./through.ts";

/** A connection that has no call yet, or one. */
interface Connection {
  readonly socket: Socket;
  readonly through: Through;
  /** Who is there; or why it is not let in. */
  readonly remote: CarrierRemote | string;
  readonly accepted: (carrier: GrpcCarrier) => void;
  carrier: GrpcCarrier | undefined;
  /** It has a call, or never will. */
  readonly over: () => void;
}

/**
 * Makes carriers of connections in TLS. Each gets a server of the library's to itself, which then knows
 * whose call it has.
 */
export class GrpcAcceptor {
  readonly #library: Library;
  readonly #callLimitMs: number;
  readonly #connections = new Set<Connection>();
  readonly #silent = new PendingConnections(MOST_SILENT, MOST_SILENT_OF_ONE, "newest");
  #refused = 0;

  private constructor(library: Library, callLimitMs: number) {
    this.#library = library;
    this.#callLimitMs = callLimitMs;
  }

  /** @param callLimitMs From a connection until its call. */
  static async start(callLimitMs = CALL_LIMIT_MS): Promise<GrpcAcceptor> {
    return new GrpcAcceptor(await loadLibrary(), callLimitMs);
  }

  /** Connections, with a call or without. */
  get size(): number {
    return this.#connections.size;
  }

  /**
   * Takes a connection in TLS, with `h2` by ALPN, whose other end is let in.
   *
   * @param accepted Is given its carrier, if there is a call.
   */
  accept(
    { socket, gate }: Connected,
    remote: CarrierRemote,
    accepted: (carrier: GrpcCarrier) => void,
  ): void {
    const pending = { address: remote.holder, evict: () => socket.destroy() };
    this.#silent.add(pending);
    const timer = this.#limit(socket, this.#callLimitMs);
    const over = () => {
      clearTimeout(timer);
      this.#silent.delete(pending);
    };
    const through = new Through({ socket, gate }, false);
    this.#inject({ socket, through, remote, accepted, over });
  }

  /** As {@link accept}, of somebody who is not let in: a call is answered with the reason alone. */
  refuse(socket: Socket, reason: string): void {
    if (this.#refused >= MOST_REFUSED) {
      socket.destroy();
      return;
    }
    this.#refused++;
    socket.once("close", () => this.#refused--);
    const timer = this.#limit(socket, GOODBYE_MS);
    const through = new Through({ socket }, false);
    through.receiver.close(); // it is let say nothing
    const over = () => clearTimeout(timer);
    this.#inject({ socket, through, remote: reason, accepted: () => {}, over });
  }

  #limit(socket: Socket, ms: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => socket.destroy(), ms);
  }

  #inject(given: Omit<Connection, "carrier">): void {
    const connection: Connection = { ...given, carrier: undefined };
    const { Server, ServerCredentials, CARRY } = this.#library;
    const server = new Server(LIMITS);
    server.addService({ carry: CARRY }, { carry: (call: Call) => this.#carry(call, connection) });
    this.#connections.add(connection);
    const { through } = connection;
    through.on("error", () => {}); // "close" follows
    connection.socket.once("close", () => {
      connection.over();
      this.#connections.delete(connection);
      connection.carrier?.ended();
      server.forceShutdown();
    });
    // What is injected has been made secure.
    server.createConnectionInjector(ServerCredentials.createInsecure()).injectConnection(through);
  }

  /** Ends what has no carrier. Carriers that were handed over stay. */
  close(): void {
    for (const { carrier, socket } of this.#connections) {
      if (carrier === undefined) socket.destroy();
    }
  }

  #carry(call: Call, connection: Connection): void {
    const { UNAVAILABLE, PERMISSION_DENIED } = this.#library.status;
    const { remote, carrier: other, socket, through } = connection;
    call.on("error", () => {}); // `cancelled` follows
    // Only the first of a connection is looked for in its frames.
    if (other !== undefined || !through.receiver.isOpen) {
      call.emit("error", { code: UNAVAILABLE, details: "one call is enough" });
      socket.destroy();
      return;
    }
    if (typeof remote === "string") {
      call.emit("error", { code: PERMISSION_DENIED, details: remote });
      return;
    }
    connection.over();
    call.sendMetadata(new this.#library.Metadata());
    call.resume(); // or its end is not told
    const carrier = new GrpcCarrier(
      through,
      remote,
      (reason) => this.#end(call, connection, reason),
    );
    connection.carrier = carrier;
    call.once("end", () => carrier.ended());
    call.once("cancelled", () => carrier.ended());
    connection.accepted(carrier);
  }

  /** Says why, if that is known, and takes the connection away. */
  #end(call: Call, { socket }: Connection, reason: string | undefined): void {
    if (reason === undefined) {
      socket.destroy();
      return;
    }
    call.emit("error", { code: this.#library.status.UNAVAILABLE, details: reason });
    const timer = this.#limit(socket, GOODBYE_MS);
    socket.once("close", () => clearTimeout(timer));
  }
}

type Call = ServerDuplexStream<Datagrams, Datagrams>;

const LIMITS = {
  "grpc.enable_channelz": 0,
  "grpc.max_concurrent_streams": 1,
  "grpc.max_receive_message_length": MAX_MESSAGE,
  "grpc-node.max_session_memory": SESSION_MEMORY_MB,
};
