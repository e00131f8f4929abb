/**
 * IP packets taken apart the plain way, for aiming mutations and for making checksums right again.
 * Shares no code with the netstack.
 *
 * @module
 */

export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const ICMPV6 = 58;

export const HOP_BY_HOP = 0;
export const ROUTING = 43;
export const FRAGMENT = 44;
export const DESTINATION_OPTIONS = 60;

/** Where things are in a packet, as far as it can be told. */
export interface Layout {
  version: 4 | 6;
  /** Length of the IP header with options, without extension headers. */
  headerLength: number;
  protocol: number;
  /** Offset of what stands behind the IP header and its extensions. */
  transport: number;
  /** A piece of a datagram. */
  isFragment: boolean;
  /** Not the first of its pieces: what stands at `transport` is no header. */
  isLater: boolean;
}

/** @returns undefined if there is no IP header in it. */
export function layoutOf(bytes: Uint8Array): Layout | undefined {
  const version = (bytes[0] ?? 0) >> 4;
  if (version === 4 && bytes.length >= 20) {
    const headerLength = Math.min(bytes.length, Math.max(20, (bytes[0]! & 15) * 4));
    const isFragment = (get16(bytes, 6) & 0x3fff) !== 0;
    const isLater = (get16(bytes, 6) & 0x1fff) !== 0;
    const [protocol, transport] = [bytes[9]!, headerLength];
    return { version, headerLength, protocol, transport, isFragment, isLater };
  }
  if (version !== 6 || bytes.length < 40) return undefined;
  let protocol = bytes[6]!;
  let transport = 40;
  let isFragment = false;
  let isLater = false;
  while (transport + 8 <= bytes.length) {
    if (protocol === FRAGMENT) {
      isFragment ||= (get16(bytes, transport + 2) & ~6) !== 0;
      isLater ||= (get16(bytes, transport + 2) & ~7) !== 0;
      protocol = bytes[transport]!;
      transport += 8;
    } else if (
      protocol === ROUTING || protocol === DESTINATION_OPTIONS ||
      // Only directly behind the IPv6 header (RFC 8200 §4.3).
      protocol === HOP_BY_HOP && transport === 40
    ) {
      protocol = bytes[transport]!;
      transport = Math.min(bytes.length, transport + (bytes[transport + 1]! + 1) * 8);
    } else break;
  }
  return { version, headerLength: 40, protocol, transport, isFragment, isLater };
}

/** Makes the IP length field, and that of UDP, say how long the packet is. */
export function fixLengths(bytes: Uint8Array): void {
  const layout = layoutOf(bytes);
  if (layout === undefined) return;
  if (layout.version === 4) {
    bytes[0] = 0x40 | layout.headerLength >> 2;
    set16(bytes, 2, bytes.length);
  } else set16(bytes, 4, bytes.length - 40);
  const { protocol, transport, isFragment } = layout;
  if (protocol === UDP && !isFragment && transport + 8 <= bytes.length) {
    set16(bytes, transport + 4, bytes.length - transport);
  }
}

/** Makes the checksums right: of the IPv4 header, and of the transport unless it is in pieces. */
export function fixChecksums(bytes: Uint8Array): void {
  const layout = layoutOf(bytes);
  if (layout === undefined) return;
  const { version, headerLength, protocol, transport, isFragment } = layout;
  if (version === 4) {
    set16(bytes, 10, 0);
    set16(bytes, 10, checksum(bytes, 0, headerLength));
  }
  if (isFragment) return;
  const length = Math.min(bytes.length, ipLength(bytes)) - transport;
  const at = checksumOffset(protocol);
  if (at < 0 || length < at + 2) return;
  const pseudo = protocol === ICMP ? 0 : pseudoSum(bytes, version, protocol, length);
  set16(bytes, transport + at, 0);
  const sum = checksum(bytes, transport, length, pseudo);
  set16(bytes, transport + at, protocol === UDP && sum === 0 ? 0xffff : sum);
}

/** What is wrong with a packet that a stack emitted; undefined = nothing. */
export function flaw(bytes: Uint8Array): string | undefined {
  const layout = layoutOf(bytes);
  if (layout === undefined) return "no IP header";
  if (ipLength(bytes) !== bytes.length) return "the IP length is not that of the packet";
  const { version, headerLength, protocol, transport, isFragment } = layout;
  if (version === 4 && checksum(bytes, 0, headerLength) !== 0) return "IPv4 checksum";
  if (isFragment) return undefined;
  const length = bytes.length - transport;
  if (protocol === UDP) {
    if (length < 8 || get16(bytes, transport + 4) !== length) return "UDP length";
    if (get16(bytes, transport + 6) === 0) return "UDP without checksum";
  } else if (protocol === TCP) {
    const headerLength = (bytes[transport + 12] ?? 0) >> 4 << 2;
    if (headerLength < 20 || headerLength > length) return "TCP data offset";
    const wrong = tcpOptionsFlaw(bytes.subarray(transport + 20, transport + headerLength));
    if (wrong !== undefined) return wrong;
  } else if (protocol === ICMP || protocol === ICMPV6) {
    if (length < 8) return "ICMP length";
  } else return `protocol ${protocol}`;
  const pseudo = protocol === ICMP ? 0 : pseudoSum(bytes, version, protocol, length);
  if (checksum(bytes, transport, length, pseudo) !== 0) return `checksum of protocol ${protocol}`;
  return undefined;
}

/** Total length by the IP header. */
export function ipLength(bytes: Uint8Array): number {
  return bytes[0]! >> 4 === 4 ? get16(bytes, 2) : 40 + get16(bytes, 4);
}

/** RFC 1071 §1, word by word. 0 for what carries its own right checksum. */
export function checksum(bytes: Uint8Array, offset: number, length: number, initial = 0): number {
  let sum = initial;
  for (let i = 0; i < length; i++) {
    sum += i % 2 === 0 ? bytes[offset + i]! * 256 : bytes[offset + i]!;
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return 0xffff - sum;
}

export function pseudoSum(
  bytes: Uint8Array,
  version: 4 | 6,
  protocol: number,
  length: number,
): number {
  let sum = protocol + length;
  const [from, to] = version === 4 ? [12, 20] : [8, 40];
  for (let i = from; i < to; i += 2) sum += get16(bytes, i);
  return sum;
}

export function get16(bytes: Uint8Array, offset: number): number {
  return (bytes[offset] ?? 0) << 8 | (bytes[offset + 1] ?? 0);
}

export function get32(bytes: Uint8Array, offset: number): number {
  return get16(bytes, offset) * 0x10000 + get16(bytes, offset + 2);
}

export function set16(bytes: Uint8Array, offset: number, value: number): void {
  if (offset + 2 > bytes.length) return;
  bytes[offset] = value >> 8;
  bytes[offset + 1] = value;
}

export function set32(bytes: Uint8Array, offset: number, value: number): void {
  set16(bytes, offset, value >>> 16);
  set16(bytes, offset + 2, value);
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function checksumOffset(protocol: number): number {
  if (protocol === TCP) return 16;
  if (protocol === UDP) return 6;
  return protocol === ICMP || protocol === ICMPV6 ? 2 : -1;
}

function tcpOptionsFlaw(options: Uint8Array): string | undefined {
  for (let i = 0; i < options.length;) {
    if (options[i] === 0) return undefined;
    if (options[i] === 1) i++;
    else {
      const length = options[i + 1] ?? 0;
      if (length < 2 || i + length > options.length) return "TCP options";
      i += length;
    }
  }
  return undefined;
}
