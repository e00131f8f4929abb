/**
 * Packets built the plain way, and a host in a simulation to hand them to. Nothing here shares code
 * with what it tests, except addresses.
 *
 * @module
 */

import ipaddr from "npm:ipaddr.js@2.5.0";
import { IpAddress, type Nic, type NicOptions, Prefix, Stack } from "../../netstack/mod.ts";
import type { StackOptions } from "../../netstack/mod.ts";
import { Sim, type SimPort } from "../sim/network.ts";

export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const ICMPV6 = 58;

export function ip(text: string): IpAddress {
  return new IpAddress(Uint8Array.from(ipaddr.parse(text).toByteArray()));
}

export function prefix(text: string): Prefix {
  const [address, length] = text.split("/");
  return new Prefix(ip(address!), Number(length));
}

/** RFC 1071 §1, word by word. */
export function plainChecksum(...parts: Uint8Array[]): number {
  const bytes = concat(...parts);
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i]! * 256 + (bytes[i + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return 0xffff - sum;
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export function uint16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value);
}

export function uint32(value: number): Uint8Array {
  return Uint8Array.of(value >> 24, value >> 16, value >> 8, value);
}

export interface PacketOptions {
  source: string;
  destination: string;
  protocol: number;
  payload: Uint8Array;
  hopLimit?: number;
  /** IPv4 only. */
  options?: Uint8Array;
  identification?: number;
  /** IPv4: flags and offset in units of 8. */
  fragment?: number;
}

/** An IPv4 or IPv6 packet, depending on the addresses. */
export function packet(options: PacketOptions): Uint8Array {
  const source = ip(options.source).bytes;
  const destination = ip(options.destination).bytes;
  const { protocol, payload, hopLimit = 64 } = options;
  if (source.length === 16) {
    return concat(
      Uint8Array.of(0x60, 0, 0, 0),
      uint16(payload.length),
      Uint8Array.of(protocol, hopLimit),
      source,
      destination,
      payload,
    );
  }
  const { options: ipOptions = new Uint8Array(0), identification = 0, fragment = 0 } = options;
  const headerLength = 20 + ipOptions.length;
  const header = concat(
    Uint8Array.of(0x40 | headerLength / 4, 0),
    uint16(headerLength + payload.length),
    uint16(identification),
    uint16(fragment),
    Uint8Array.of(hopLimit, protocol, 0, 0),
    source,
    destination,
    ipOptions,
  );
  header.set(uint16(plainChecksum(header)), 10);
  return concat(header, payload);
}

function pseudoHeader(source: string, destination: string, protocol: number, length: number) {
  return concat(ip(source).bytes, ip(destination).bytes, uint32(length), uint32(protocol));
}

export function udp(
  source: string,
  sourcePort: number,
  destination: string,
  destinationPort: number,
  data: Uint8Array,
  more: Partial<PacketOptions> & { checksum?: number } = {},
): Uint8Array {
  return packet({
    source,
    destination,
    protocol: UDP,
    payload: udpDatagram(source, sourcePort, destination, destinationPort, data, more.checksum),
    ...more,
  });
}

export function udpDatagram(
  source: string,
  sourcePort: number,
  destination: string,
  destinationPort: number,
  data: Uint8Array,
  checksum?: number,
): Uint8Array {
  const length = 8 + data.length;
  const payload = concat(
    uint16(sourcePort),
    uint16(destinationPort),
    uint16(length),
    uint16(0),
    data,
  );
  const pseudo = pseudoHeader(source, destination, UDP, length);
  payload.set(uint16(checksum ?? (plainChecksum(pseudo, payload) || 0xffff)), 6);
  return payload;
}

export function icmp(
  source: string,
  destination: string,
  type: number,
  code: number,
  rest: Uint8Array,
  more: Partial<PacketOptions> = {},
): Uint8Array {
  return packet({
    source,
    destination,
    protocol: source.includes(":") ? ICMPV6 : ICMP,
    payload: icmpMessage(source, destination, type, code, rest),
    ...more,
  });
}

/** @param rest Everything behind the checksum. */
export function icmpMessage(
  source: string,
  destination: string,
  type: number,
  code: number,
  rest: Uint8Array,
): Uint8Array {
  const payload = concat(Uint8Array.of(type, code, 0, 0), rest);
  const pseudo = source.includes(":")
    ? pseudoHeader(source, destination, ICMPV6, payload.length)
    : new Uint8Array(0);
  payload.set(uint16(plainChecksum(pseudo, payload)), 2);
  return payload;
}

/** A SYN. */
export function tcpSyn(
  source: string,
  sourcePort: number,
  destination: string,
  destinationPort: number,
  more: Partial<PacketOptions> = {},
): Uint8Array {
  return tcpSegment(source, sourcePort, destination, destinationPort, 1000, 0, 0x02, more);
}

/** A segment without options. */
export function tcpSegment(
  source: string,
  sourcePort: number,
  destination: string,
  destinationPort: number,
  sequence: number,
  acknowledgment: number,
  flags: number,
  more: Partial<PacketOptions> = {},
  data: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const payload = concat(
    uint16(sourcePort),
    uint16(destinationPort),
    uint32(sequence),
    uint32(acknowledgment),
    Uint8Array.of(0x50, flags, 0xff, 0xff, 0, 0, 0, 0),
    data,
  );
  const pseudo = pseudoHeader(source, destination, TCP, payload.length);
  payload.set(uint16(plainChecksum(pseudo, payload)), 16);
  return packet({ source, destination, protocol: TCP, payload, ...more });
}

/** A packet taken apart. */
export interface Parsed {
  version: 4 | 6;
  source: string;
  destination: string;
  protocol: number;
  hopLimit: number;
  identification: number;
  /** IPv4 flags and offset; IPv6 from the Fragment header, 0 without one. */
  fragment: number;
  payload: Uint8Array;
  bytes: Uint8Array;
}

/** Takes a packet apart and verifies every length and checksum. */
export function parse(bytes: Uint8Array): Parsed {
  return verified(parseHeader(bytes));
}

/** As {@link parse}, only what IP itself says. */
export function parseHeader(bytes: Uint8Array): Parsed {
  const version = bytes[0]! >> 4;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (version === 4) {
    const headerLength = (bytes[0]! & 15) * 4;
    check(plainChecksum(bytes.subarray(0, headerLength)) === 0, "IPv4 checksum");
    check(view.getUint16(2) === bytes.length, "IPv4 total length");
    return {
      version,
      source: String(new IpAddress(bytes.slice(12, 16))),
      destination: String(new IpAddress(bytes.slice(16, 20))),
      protocol: bytes[9]!,
      hopLimit: bytes[8]!,
      identification: view.getUint16(4),
      fragment: view.getUint16(6),
      payload: bytes.slice(headerLength),
      bytes,
    };
  }
  check(version === 6, "version");
  check(view.getUint16(4) === bytes.length - 40, "IPv6 payload length");
  const isFragment = bytes[6] === 44;
  return {
    version: 6,
    source: String(new IpAddress(bytes.slice(8, 24))),
    destination: String(new IpAddress(bytes.slice(24, 40))),
    protocol: isFragment ? bytes[40]! : bytes[6]!,
    hopLimit: bytes[7]!,
    identification: isFragment ? view.getUint32(44) : 0,
    fragment: isFragment ? view.getUint16(42) : 0,
    payload: bytes.slice(isFragment ? 48 : 40),
    bytes,
  };
}

function verified(parsed: Parsed): Parsed {
  const { version, source, destination, protocol, payload, fragment } = parsed;
  const isWhole = version === 4 ? (fragment & 0x3fff) === 0 : fragment === 0;
  if (!isWhole) return parsed;
  const pseudo = pseudoHeader(source, destination, protocol, payload.length);
  if (protocol === ICMP) check(plainChecksum(payload) === 0, "ICMP checksum");
  if (protocol === ICMPV6 || protocol === UDP || protocol === TCP) {
    check(plainChecksum(pseudo, payload) === 0, `checksum of protocol ${protocol}`);
  }
  return parsed;
}

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(`wrong ${what}`);
}

/** A host with one NIC, at the end of a link whose other end is the test's. */
export class Host {
  readonly sim: Sim;
  readonly stack: Stack;
  readonly nic: Nic;
  readonly port: SimPort;
  /** What the host sent and nobody took yet. */
  readonly sent: Parsed[] = [];

  constructor(
    nic: Partial<NicOptions> & { network?: string[] } = {},
    options: Partial<StackOptions> = {},
    sim = new Sim(1),
  ) {
    const { network = ["10.9.0.1/24", "fd09::1/64"], ...rest } = nic;
    this.sim = sim;
    this.stack = new Stack({
      random: (out) => sim.random.fill(out),
      ...options,
    });
    const { mtu = 1420 } = rest;
    const link = sim.link({ mtu });
    this.port = link.a;
    this.nic = addNic(this.stack, link.a, { name: "wg", ...rest }, network);
    link.b.receive = (buffer, offset, length) => {
      this.sent.push(parse(buffer.slice(offset, offset + length)));
    };
    sim.addHost(this.stack);
  }

  /** Hands packets to the host, and lets it answer. */
  receive(...packets: Uint8Array[]): Parsed[] {
    for (const bytes of packets) {
      this.stack.handlePacket(this.nic, bytes.slice(), 0, bytes.length, this.sim.now);
    }
    this.sim.runFor(0);
    return this.take();
  }

  take(): Parsed[] {
    return this.sent.splice(0);
  }

  /** A second NIC: promiscuous and spoofing, without a way out. */
  addProxyNic(...subnets: string[]): Nic {
    const nic = this.stack.addNic({
      name: "proxy",
      mtu: 65_535,
      link: this.sim.link().a,
      promiscuous: true,
      spoofing: true,
    });
    for (const subnet of subnets) this.stack.routes.insert(prefix(subnet), nic);
    return nic;
  }
}

/** Adds a NIC with addresses like "10.9.0.1/24", and the routes to their networks. */
export function addNic(
  stack: Stack,
  port: SimPort,
  options: Partial<NicOptions>,
  network: string[],
): Nic {
  const prefixes = network.map(prefix);
  const nic = stack.addNic({
    name: "nic",
    mtu: port.mtu,
    link: port,
    ...options,
    addresses: network.map((text, i) => ({
      address: ip(text.split("/")[0]!),
      length: prefixes[i]!.length,
    })),
  });
  for (const each of prefixes) stack.routes.insert(each, nic);
  port.receive = (buffer, offset, length, now) => {
    stack.handlePacket(nic, buffer, offset, length, now);
  };
  return nic;
}
