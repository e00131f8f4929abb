/**
 * Keeps the kernel from taking megabytes of what cannot be sent yet: what waits there grows old, and
 * cannot be taken back.
 *
 * @module
 */

import type { Socket } from "node:net";
import { TcpQueue } from "../../../../ffi/mod.ts";

/** Bytes that are not sent: what is on its way is not among them. */
const MOST_UNSENT = 32 << 10;

let queue: TcpQueue | null | undefined;

/** Without FFI nothing happens: the kernel then takes about as much again as is on its way. */
export function limitKernelQueue(socket: Socket): void {
  if (queue === undefined) queue = open();
  // Of Node, undocumented: a copy of the descriptor.
  const { fdForIpc } = (socket as WithHandle)._handle ?? {};
  const fd = queue && fdForIpc?.call((socket as WithHandle)._handle);
  if (typeof fd === "number" && fd >= 0) queue!.limit(fd, MOST_UNSENT);
}

type WithHandle = Socket & { readonly _handle?: { fdForIpc?(): number } };

function open(): TcpQueue | null {
  try {
    return new TcpQueue();
  } catch {
    return null; // not permitted, or another system
  }
}
