/**
 * Bytes of messages as a kernel sent them, or `ip` did, from strace.
 *
 * @module
 */

import assert from "node:assert/strict";
import { decodeAttributes, HEADER_SIZE } from "../../../ffi/netlink/message.ts";

/** @param lines Hexadecimal. */
export function bytes(...lines: string[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(lines.join(""));
}

/**
 * Fails unless a body has the same fixed struct as a whole message has, and the same attributes in any
 * order.
 *
 * @param structSize Bytes.
 */
export function assertSameBody(
  body: readonly Uint8Array[],
  message: Uint8Array,
  structSize: number,
): void {
  const expected = message.subarray(HEADER_SIZE);
  const actual = Uint8Array.from(body.flatMap((part) => [...part]));
  assert.deepEqual(parts(actual, structSize), parts(expected, structSize));
}

function parts(body: Uint8Array, structSize: number) {
  const attributes = [...decodeAttributes(body, structSize)].map(([type, value]) =>
    `${type}: ${value.toHex()}`
  );
  return { struct: body.subarray(0, structSize).toHex(), attributes: attributes.sort() };
}
