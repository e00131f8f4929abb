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
import { Datagrams, RelayService } from "../../../../proto/relay.ts";
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";

restoreEnvironment();

export {
  Client,
  type ClientDuplexStream,
  type ClientOptions,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerOptions,
  status,
};

/** A call's message on either side, as bytes of a stream: what is packed is looked at elsewhere. */
export const CARRY = {
  ...RelayService.carry,
  requestSerialize: encode,
  requestDeserialize: decode,
  responseSerialize: encode,
  responseDeserialize: decode,
};

/** @throws {Error} when it is no message. */
function decode({ buffer, byteOffset, length }: Buffer): Uint8Array {
  // A Buffer's views are Buffers, which take twice as long to make.
  return Datagrams.decode(new Uint8Array(buffer, byteOffset, length)).packed;
}

function encode(packed: Uint8Array): Buffer {
  const { buffer, byteOffset, length } = Datagrams.encode({ packed }).finish();
  return Buffer.from(buffer, byteOffset, length);
}

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
