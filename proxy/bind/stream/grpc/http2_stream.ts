/**
 * The stream of HTTP/2 beneath a call. grpc-js makes calls and ends them; of each message it makes copies
 * and promises, waits for one to leave before it takes the next, and costs as much as all else together.
 * So messages are written to the stream itself.
 *
 * @module
 */

import { Buffer } from "node:buffer";

/** What of it is used here. */
export interface Http2Stream {
  write(bytes: Buffer, done: () => void): unknown;
  readonly session?: {
    settings(settings: { initialWindowSize: number }): void;
    setLocalWindowSize(bytes: number): void;
  };
}

/** Of grpc-js, undocumented: what a call is made of, on either side. */
interface Layer {
  readonly stream?: Http2Stream;
  readonly http2Stream?: Http2Stream;
  readonly call?: Layer;
  readonly nextCall?: Layer;
  readonly child?: Layer;
  readonly underlyingCalls?: readonly { readonly call?: Layer }[];
}

/** More layers than there are. */
const MOST_LAYERS = 16;

/**
 * @param call Whose headers have come, or gone.
 * @returns undefined if it has ended meanwhile, or its parts have other names: then it is written to as
 * grpc-js has it.
 */
export function http2StreamOf(call: object): Http2Stream | undefined {
  let layer: Layer | null | undefined = call as Layer;
  for (let i = 0; i < MOST_LAYERS && layer; i++) {
    const stream = layer.http2Stream ?? layer.stream;
    if (stream) return stream;
    layer = layer.call ?? layer.nextCall ?? layer.child ?? layer.underlyingCalls?.at(-1)?.call;
  }
  return undefined;
}

/** Bytes in front of a message: whether it is compressed, its length, and what protobuf has to say. */
const MOST_PREFIX = 5 + 4;
/** Of field 1, some bytes. */
const PACKED_TAG = 1 << 3 | 2;

/**
 * A message of `Datagrams`, as it goes over the wire.
 *
 * @param packed At most 2 MB.
 * @param room Bytes before `packed` in its memory that may be written to: with enough of them nothing is
 * copied.
 */
export function messageOf(packed: Uint8Array, room: number): Buffer {
  const { length } = packed;
  const size = length < 1 << 7 ? 1 : length < 1 << 14 ? 2 : 3;
  const prefix = 5 + 1 + size;
  let message: Buffer;
  if (room >= MOST_PREFIX) {
    message = Buffer.from(
      packed.buffer as ArrayBuffer,
      packed.byteOffset - prefix,
      prefix + length,
    );
  } else {
    message = Buffer.allocUnsafe(prefix + length);
    message.set(packed, prefix);
  }
  message[0] = 0;
  message.writeUInt32BE(1 + size + length, 1);
  message[5] = PACKED_TAG;
  for (let i = 0; i < size; i++) {
    message[6 + i] = length >>> 7 * i & 0x7f | (i < size - 1 ? 0x80 : 0);
  }
  return message;
}
