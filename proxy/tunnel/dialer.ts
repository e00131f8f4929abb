/**
 * Dials into the tunnel, for inbounds of this host, such as SOCKS5 or a static port forward.
 *
 * @module
 */

import type { IpAddress, Stack, TcpEndpoint, TcpError } from "../../netstack/mod.ts";
import type { Dial, Dialer, DialError, DialHandler } from "../flow/stream.ts";
import { EndpointStream, type LentBuffers } from "../splice/endpoint_stream.ts";

export interface TunnelDialerOptions {
  readonly stack: Stack;
  /** Milliseconds, monotonic. */
  now(): number;
  readonly buffers: LentBuffers;
}

export class TunnelDialer implements Dialer {
  readonly #options: TunnelDialerOptions;

  constructor(options: TunnelDialerOptions) {
    this.#options = options;
  }

  dial(destination: IpAddress, port: number, handler: DialHandler): Dial {
    const { stack, now, buffers } = this.#options;
    let endpoint: TcpEndpoint;
    try {
      endpoint = stack.tcp.connect({ remote: destination, remotePort: port }, now());
    } catch (error) {
      if (error instanceof RangeError) throw error;
      return new FailedDial(handler);
    }
    endpoint.handler = {
      connected: () => {
        endpoint.setNoDelay(true); // the writer has coalesced already
        handler.connected(new EndpointStream(endpoint, buffers));
      },
      closed: (error) =>
        handler.dialFailed(error === undefined ? "failed" : DIAL_ERRORS[error.kind]),
    };
    return {
      abort() {
        endpoint.handler = undefined;
        endpoint.abort();
      },
    };
  }
}

/** No route, or too many connections. Reported after the call has returned. */
class FailedDial implements Dial {
  #handler: DialHandler | undefined;

  constructor(handler: DialHandler) {
    this.#handler = handler;
    queueMicrotask(() => this.#handler?.dialFailed("net"));
  }

  abort(): void {
    this.#handler = undefined;
  }
}

const DIAL_ERRORS = {
  refused: "refused",
  reset: "refused",
  timeout: "timeout",
  unreachable: "host",
  memory: "failed",
  aborted: "failed",
} as const satisfies Record<TcpError["kind"], DialError>;
