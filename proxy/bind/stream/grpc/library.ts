/**
 * grpc-js, and what takes it to be there. Loaded when something is first carried in gRPC: by
 * `import()`, for it is half a megabyte that nobody else needs.
 *
 * @module
 */

import { restoreEnvironment } from "./without_environment.ts";
import {
  CallCredentials,
  ChannelCredentials,
  Client,
  type ClientDuplexStream,
  type ClientOptions,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerOptions,
  status,
} from "npm:@grpc/grpc-js@1.14.7";
import { type Datagrams, RelayService } from "../../../../proto/relay.ts";
import type { Socket } from "node:net";

restoreEnvironment();

export {
  Client,
  type ClientDuplexStream,
  type ClientOptions,
  type Datagrams,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerOptions,
  status,
};

export const CARRY = RelayService.carry;

/** Has a channel speak through whatever `secure` makes of its connection in TCP. */
export class Secured extends ChannelCredentials {
  readonly #secure: (socket: Socket) => Promise<Socket>;

  constructor(secure: (socket: Socket) => Promise<Socket>) {
    super();
    this.#secure = secure;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return other === this;
  }

  override _createSecureConnector(): ReturnType<ChannelCredentials["_createSecureConnector"]> {
    return {
      connect: async (socket) => ({ socket: await this.#secure(socket), secure: true }),
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => CallCredentials.createEmpty(),
      destroy: () => {},
    };
  }
}
