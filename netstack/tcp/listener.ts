/**
 * A port that takes connections (LISTEN of RFC 9293 §3.3.2).
 *
 * @module
 */

import type { IpAddress } from "../address.ts";
import type { TcpEndpoint } from "./endpoint.ts";

export interface TcpListenerHandler {
  /** A connection is established. Set its handler here: nothing it received is lost. */
  accepted(endpoint: TcpEndpoint): void;
}

/** LISTEN of RFC 9293 §3.3.2. Made by `Tcp.listen`. */
export class TcpListener {
  /** Undefined = every own address. */
  readonly address: IpAddress | undefined;
  readonly port: number;
  readonly backlog: number;
  readonly handler: TcpListenerHandler;
  /** Connections in SYN-RECEIVED. */
  halfOpen = 0;
  closed = false;
  readonly #onClose: (listener: TcpListener) => void;

  constructor(
    address: IpAddress | undefined,
    port: number,
    backlog: number,
    handler: TcpListenerHandler,
    onClose: (listener: TcpListener) => void,
  ) {
    this.address = address;
    this.port = port;
    this.backlog = backlog;
    this.handler = handler;
    this.#onClose = onClose;
  }

  /** Takes no more; half-open connections are reset, accepted ones stay. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#onClose(this);
  }
}
