/**
 * Netlink messages as bytes, netlink(7), <linux/netlink.h>: a header, the fixed struct of the message's
 * type, attributes. All numbers are in the machine's order, which is little-endian on x86-64 and ARM64;
 * IP addresses are in the network's.
 *
 * @module
 */

/** Struct nlmsghdr: u32 length, u16 type, u16 flags, u32 sequence, u32 port. */
export const HEADER_SIZE = 16;
/** Struct nlattr: u16 length with itself, u16 type. */
const ATTRIBUTE_SIZE = 4;
/** Flags in an attribute's type: nested, network order. */
const TYPE_MASK = 0x3fff;

/** <linux/netlink.h>: types of messages that are no protocol's own. */
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

/** Flags of messages; what the last four mean depends on the request. */
export const Flag = {
  REQUEST: 0x1,
  ACK: 0x4,
  /** Of an answer: what was listed changed meanwhile. */
  DUMP_INTERRUPTED: 0x10,
  /** Of an error: only the header of the failed request follows it. */
  CAPPED: 0x100,
  /** Of an error: attributes follow. */
  ACK_ATTRIBUTES: 0x200,
  REPLACE: 0x100,
  DUMP: 0x300,
  EXCLUSIVE: 0x200,
  CREATE: 0x400,
  APPEND: 0x800,
} as const;

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** Behind the header; borrowed from what was read. */
  readonly body: Uint8Array;
}

/** @param parts The fixed struct, then attributes, in order. */
export function encodeMessage(
  type: number,
  flags: number,
  sequence: number,
  ...parts: readonly Uint8Array[]
): Uint8Array<ArrayBuffer> {
  const message = concat([new Uint8Array(HEADER_SIZE), ...parts]);
  const view = new DataView(message.buffer);
  view.setUint32(0, message.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, sequence, true);
  return message;
}

/**
 * The messages of one datagram.
 *
 * @throws {RangeError} if one is cut off.
 */
export function* decodeMessages(datagram: Uint8Array): Generator<Message> {
  const view = viewOf(datagram);
  for (let at = 0; at + HEADER_SIZE <= datagram.length;) {
    const length = view.getUint32(at, true);
    if (length < HEADER_SIZE || at + length > datagram.length) {
      throw new RangeError(
        `a netlink message of ${length} bytes where ${datagram.length - at} are`,
      );
    }
    yield {
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      body: datagram.subarray(at + HEADER_SIZE, at + length),
    };
    at += align(length);
  }
}

/** An attribute, padded. @param parts Its value; of a nested one, attributes. */
export function attribute(type: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const value = concat(parts);
  const length = ATTRIBUTE_SIZE + value.length;
  const bytes = new Uint8Array(align(length));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, length, true);
  view.setUint16(2, type, true);
  bytes.set(value, ATTRIBUTE_SIZE);
  return bytes;
}

/**
 * The attributes behind a fixed struct, or in a nested attribute; of two with one type the last.
 *
 * @param from Where they begin.
 * @throws {RangeError} if one is cut off.
 */
export function decodeAttributes(bytes: Uint8Array, from = 0): Map<number, Uint8Array> {
  const view = viewOf(bytes);
  const attributes = new Map<number, Uint8Array>();
  for (let at = align(from); at + ATTRIBUTE_SIZE <= bytes.length;) {
    const length = view.getUint16(at, true);
    if (length < ATTRIBUTE_SIZE || at + length > bytes.length) {
      throw new RangeError(`a netlink attribute of ${length} bytes where ${bytes.length - at} are`);
    }
    const type = view.getUint16(at + 2, true) & TYPE_MASK;
    attributes.set(type, bytes.subarray(at + ATTRIBUTE_SIZE, at + length));
    at += align(length);
  }
  return attributes;
}

/** A 32-bit number. */
export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

/** A string with its end. */
export function text(value: string): Uint8Array {
  return new TextEncoder().encode(`${value}\0`);
}

/** @returns undefined for an attribute that is not there. */
export function readU32(value: Uint8Array | undefined): number | undefined {
  return value && viewOf(value).getUint32(0, true);
}

/** @returns undefined for an attribute that is not there. */
export function readText(value: Uint8Array | undefined): string | undefined {
  if (value === undefined) return undefined;
  const end = value.indexOf(0);
  return new TextDecoder().decode(end < 0 ? value : value.subarray(0, end));
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function align(length: number): number {
  return length + 3 & ~3;
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
