import type { IpAddress } from "../address.ts";
import type { TcpEndpoint } from "./endpoint.ts";
import type { Tcp } from "./tcp.ts";

export interface TcpListenerHandler {
  /** A connection is established. Set its handler here: nothing it received is lost. */
  accepted(endpoint: TcpEndpoint): void;
}

/** LISTEN of RFC 9293 §3.3.2. Made by {@link Tcp.listen}. */
export class TcpListener {
  /** Undefined = every own address. */
  readonly address: IpAddress | undefined;
  readonly port: number;
  readonly backlog: number;
  readonly handler: TcpListenerHandler;
  /** Connections in SYN-RECEIVED. */
  halfOpen = 0;
  closed = false;
  readonly #tcp: Tcp;

  constructor(
    tcp: Tcp,
    address: IpAddress | undefined,
    port: number,
    backlog: number,
    handler: TcpListenerHandler,
  ) {
    this.#tcp = tcp;
    this.address = address;
    this.port = port;
    this.backlog = backlog;
    this.handler = handler;
  }

  /** Takes no more; half-open connections are reset, accepted ones stay. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#tcp.removeListener(this);
  }
}
