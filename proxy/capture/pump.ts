/**
 * From a capture to whoever takes it.
 *
 * @module
 */

import type { Capture } from "./capture.ts";

/** Where the bytes of a capture go. */
export interface CaptureSink {
  /** @param piece Borrowed until it resolves. */
  write(piece: Uint8Array): Promise<unknown>;
}

/**
 * Hands everything over until the capture ends, which {@link Capture.stop} brings about.
 *
 * @throws whatever the sink throws; then the capture is over.
 */
export async function pump(capture: Capture, sink: CaptureSink): Promise<void> {
  try {
    for (let piece; (piece = await capture.read()) !== undefined;) await sink.write(piece);
  } finally {
    capture.close();
  }
}

/** For what writes a part, as connections and streams do. */
export function wholly(writer: { write(bytes: Uint8Array): Promise<number> }): CaptureSink {
  return {
    async write(piece) {
      for (let sent = 0; sent < piece.length;) sent += await writer.write(piece.subarray(sent));
    },
  };
}
