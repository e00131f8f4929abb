/**
 * Packets for tests of the TUN device's offloads, and a plain twin of its cutting.
 *
 * @module
 */

import * as fc from "fast-check";

/** The Internet checksum, straight from RFC 1071. */
export function checksum(...parts: Uint8Array[]): number {
  const bytes = parts.flatMap((part) => [...part]);
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i]! * 256 + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = Math.floor(sum / 0x10000) + sum % 0x10000;
  return sum ^ 0xffff;
}

export interface PacketFields {
  readonly isIpv4: boolean;
  /** Last bytes of the addresses. */
  readonly source: number;
  readonly destination: number;
  readonly ports: readonly [number, number];
  readonly trafficClass: number;
  readonly hopLimit: number;
  readonly id: number;
  readonly dontFragment: boolean;
  readonly data: Uint8Array;
  /** Missing: UDP. */
  readonly tcp?: {
    readonly sequence: number;
    readonly acknowledgment: number;
    readonly flags: number;
    readonly window: number;
    /** A multiple of four bytes. */
    readonly options: Uint8Array;
  };
}

/** The whole packet, with right checksums. */
export function packetOf(fields: PacketFields): Uint8Array {
  const { isIpv4, tcp, data } = fields;
  const transport = tcp === undefined ? new Uint8Array(8) : new Uint8Array(20 + tcp.options.length);
  const view = new DataView(transport.buffer);
  view.setUint16(0, fields.ports[0]);
  view.setUint16(2, fields.ports[1]);
  const rest = transport.length + data.length;
  if (tcp === undefined) view.setUint16(4, rest);
  else {
    view.setUint32(4, tcp.sequence >>> 0);
    view.setUint32(8, tcp.acknowledgment >>> 0);
    transport[12] = transport.length / 4 << 4;
    transport[13] = tcp.flags;
    view.setUint16(14, tcp.window);
    transport.set(tcp.options, 20);
  }
  const ip = new Uint8Array(isIpv4 ? 20 : 40);
  const ipView = new DataView(ip.buffer);
  if (isIpv4) {
    ip[0] = 0x45;
    ip[1] = fields.trafficClass;
    ipView.setUint16(2, 20 + rest);
    ipView.setUint16(4, fields.id);
    ipView.setUint16(6, fields.dontFragment ? 0x4000 : 0);
    ip[8] = fields.hopLimit;
    ip[9] = tcp === undefined ? 17 : 6;
    ip.set([192, 0, 2, fields.source, 192, 0, 2, fields.destination], 12);
    ipView.setUint16(10, checksum(ip));
  } else {
    ipView.setUint32(0, 6 << 28 | fields.trafficClass << 20 | fields.source);
    ipView.setUint16(4, rest);
    ip[6] = tcp === undefined ? 17 : 6;
    ip[7] = fields.hopLimit;
    ip.set([0x20, 0x01, 0x0d, 0xb8], 8);
    ip[23] = fields.source;
    ip.set([0x20, 0x01, 0x0d, 0xb8], 24);
    ip[39] = fields.destination;
  }
  const field = tcp === undefined ? 6 : 16;
  const value = checksum(pseudoHeader(ip, rest), transport, data);
  view.setUint16(field, tcp === undefined ? value || 0xffff : value);
  return Uint8Array.from([...ip, ...transport, ...data]);
}

/** Of a packet without extension headers. */
export function pseudoHeader(ip: Uint8Array, length: number): Uint8Array {
  const isIpv4 = ip[0]! >> 4 === 4;
  const addresses = isIpv4 ? ip.subarray(12, 20) : ip.subarray(8, 40);
  return Uint8Array.from([...addresses, 0, ip[isIpv4 ? 9 : 6]!, length >>> 8, length & 0xff]);
}

/** What the kernel makes of a piece: its header and a packet behind it. */
export function cutPlainly(piece: Uint8Array): Uint8Array[] {
  const header = new DataView(piece.buffer, piece.byteOffset, 10);
  const packet = piece.slice(10);
  const isPartial = header.getUint8(0) === 1;
  const type = header.getUint8(1) & 0x7f;
  const size = header.getUint16(4, true);
  const start = header.getUint16(6, true);
  const field = start + header.getUint16(8, true);
  const isIpv4 = packet[0]! >> 4 === 4;
  const isTcp = type === 1 || type === 4;
  const headers = start + (isTcp ? (packet[start + 12]! >> 4) * 4 : 8);
  if (type === 0) {
    if (isPartial) {
      const value = checksum(packet.subarray(start)) || 0xffff;
      packet.set([value >> 8, value & 0xff], field);
    }
    return [packet];
  }
  const packets: Uint8Array[] = [];
  for (let from = headers; from < packet.length; from += size) {
    const data = packet.slice(from, from + size);
    const one = Uint8Array.from([...packet.subarray(0, headers), ...data]);
    const view = new DataView(one.buffer);
    const isLast = from + size >= packet.length;
    const rest = one.length - start;
    if (isIpv4) {
      view.setUint16(2, one.length);
      view.setUint16(4, view.getUint16(4) + packets.length);
      view.setUint16(10, 0);
      view.setUint16(10, checksum(one.subarray(0, start)));
    } else view.setUint16(4, one.length - 40);
    if (isTcp) {
      view.setUint32(start + 4, view.getUint32(start + 4) + from - headers);
      if (!isLast) one[start + 13]! &= ~0x09;
      if (packets.length > 0) one[start + 13]! &= ~0x80;
    } else view.setUint16(start + 4, rest);
    view.setUint16(field, 0);
    const ip = Uint8Array.from(one);
    if (!isIpv4) ip[6] = isTcp ? 6 : 17; // the last of the headers
    const value = checksum(pseudoHeader(ip, rest), one.subarray(start));
    view.setUint16(field, isTcp ? value : value || 0xffff);
    packets.push(one);
  }
  return packets;
}

export const flowArbitrary = fc.record({
  isIpv4: fc.boolean(),
  isTcp: fc.boolean(),
  source: fc.integer({ min: 1, max: 2 }),
  destination: fc.integer({ min: 1, max: 2 }),
  ports: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.constant(80)),
  trafficClass: fc.constantFrom(0, 2),
  hopLimit: fc.constantFrom(63, 64),
  dontFragment: fc.boolean(),
  options: fc.constantFrom(0, 12).map((length) => new Uint8Array(length).fill(1)),
});
