/**
 * The PROXY protocol, versions 1 and 2: a header in front of a connection's bytes, or of each
 * datagram's, that says whose they are. The sections are those of HAProxy's proxy-protocol.txt.
 *
 * @module
 */

import { IpAddress } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";

/** §2.1 is text, §2.2 binary. */
export type ProxyVersion = "v1" | "v2";

/** The two ends of a connection as its client has them, both of one family or not. */
export interface ProxyEnds {
  readonly source: IpAddress;
  readonly sourcePort: number;
  readonly destination: IpAddress;
  readonly destinationPort: number;
}

/** §2.1: the longest line, with its end, bytes. */
const V1_MAX = 107;
/** §2.2: signature, command, family, length. */
const V2_FIXED = 16;
/** What may follow, addresses and TLVs, bytes. Senders stay within 536 in all. */
const V2_MAX_REST = 2_048;
const V2_SIGNATURE = Uint8Array.fromHex("0d0a0d0a000d0a515549540a");
/** The least that either version has. */
const LEAST = "PROXY UNKNOWN\r\n".length;

/**
 * The header of a connection, or of a datagram, which version 1 does not know. Where the families of
 * the ends differ, the IPv4 one is written as `::ffff:a.b.c.d`.
 */
export function encodeProxyHeader(
  version: ProxyVersion,
  transport: "tcp" | "udp",
  { source, sourcePort, destination, destinationPort }: ProxyEnds,
): Uint8Array {
  const isIpv4 = source.version === 4 && destination.version === 4;
  const [from, to] = isIpv4 ? [source, destination] : [mapped(source), mapped(destination)];
  if (version === "v1") {
    const family = isIpv4 ? "TCP4" : "TCP6";
    return new TextEncoder().encode(
      `PROXY ${family} ${from} ${to} ${sourcePort} ${destinationPort}\r\n`,
    );
  }
  const size = from.bytes.length;
  const header = new Uint8Array(V2_FIXED + 2 * size + 4);
  const view = new DataView(header.buffer);
  header.set(V2_SIGNATURE);
  header[12] = 0x21; // version 2, PROXY
  header[13] = (isIpv4 ? 0x10 : 0x20) | (transport === "tcp" ? 1 : 2);
  view.setUint16(14, header.length - V2_FIXED);
  header.set(from.bytes, V2_FIXED);
  header.set(to.bytes, V2_FIXED + size);
  view.setUint16(V2_FIXED + 2 * size, sourcePort);
  view.setUint16(V2_FIXED + 2 * size + 2, destinationPort);
  return header;
}

/** What {@link parseProxyHeader} makes of the first bytes of a connection. */
export type ProxyParse =
  /** At least so many bytes more belong to the header: no byte of what follows it is among them. */
  | { readonly kind: "more"; readonly length: number }
  /** No header. */
  | { readonly kind: "wrong"; readonly why: string }
  /** `ends` is missing where the sender speaks for itself, or does not know (§2.1 UNKNOWN, §2.2 LOCAL). */
  | { readonly kind: "header"; readonly length: number; readonly ends?: ProxyEnds };

/**
 * Reads the header of a TCP connection, strictly.
 *
 * @param bytes What has come so far, from the connection's first byte on.
 */
export function parseProxyHeader(bytes: Uint8Array): ProxyParse {
  if (bytes.length === 0) return more(LEAST);
  if (startsWith(bytes, V2_SIGNATURE)) {
    return bytes.length < V2_FIXED ? more(V2_FIXED - bytes.length) : parseV2(bytes);
  }
  if (startsWith(bytes, V1_START)) {
    return bytes.length < LEAST ? more(LEAST - bytes.length) : parseV1(bytes);
  }
  return wrong("neither version's signature");
}

function parseV1(bytes: Uint8Array): ProxyParse {
  const end = bytes.subarray(0, V1_MAX - 1).indexOf(CR);
  if (end < 0 || end === bytes.length - 1) {
    // "\r\n" is to come, or its second half.
    const left = Math.min(end < 0 ? 2 : 1, V1_MAX - bytes.length);
    return left > 0 ? more(left) : wrong(`a line of more than ${V1_MAX} bytes`);
  }
  if (bytes[end + 1] !== LF) return wrong("a line that does not end");
  const length = end + 2;
  const line = String.fromCharCode(...bytes.subarray(0, end));
  const [, family, ...fields] = line.split(" ");
  if (family === "UNKNOWN") return { kind: "header", length };
  const version = family === "TCP4" ? 4 : family === "TCP6" ? 6 : undefined;
  const [source, destination] = fields.slice(0, 2).map(parseIpAddress);
  const [sourcePort, destinationPort] = fields.slice(2).map(parsePort);
  if (
    version === undefined || fields.length !== 4 ||
    source?.version !== version || destination?.version !== version ||
    sourcePort === undefined || destinationPort === undefined
  ) return wrong("a line that says nothing of two ends");
  return { kind: "header", length, ends: { source, sourcePort, destination, destinationPort } };
}

function parseV2(bytes: Uint8Array): ProxyParse {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const rest = view.getUint16(14);
  const command = bytes[12]!;
  const family = bytes[13]! >> 4;
  const transport = bytes[13]! & 0xf;
  if (command !== 0x20 && command !== 0x21) return wrong("another version or command");
  if (family > 3 || transport > 2) return wrong("another family or transport");
  if (rest > V2_MAX_REST) return wrong(`${rest} bytes of addresses and more`);
  const length = V2_FIXED + rest;
  if (bytes.length < length) return more(length - bytes.length);
  // LOCAL, or a family that has no ports: whatever is there is skipped.
  if (command === 0x20 || family === 0 || family === 3 || transport === 0) {
    return { kind: "header", length };
  }
  if (transport !== 1) return wrong("a datagram's, in front of a connection");
  const size = family === 1 ? 4 : 16;
  if (rest < 2 * size + 4) return wrong("addresses that are cut off");
  const addressAt = (at: number) => new IpAddress(bytes.slice(at, at + size));
  const ports = V2_FIXED + 2 * size;
  return {
    kind: "header",
    length,
    ends: {
      source: addressAt(V2_FIXED),
      sourcePort: view.getUint16(ports),
      destination: addressAt(V2_FIXED + size),
      destinationPort: view.getUint16(ports + 2),
    },
  };
}

/** §2.1: no leading zero. */
function parsePort(text: string): number | undefined {
  const port = /^(?:0|[1-9]\d{0,4})$/.test(text) ? Number(text) : NaN;
  return port <= 65535 ? port : undefined;
}

function mapped(address: IpAddress): IpAddress {
  if (address.version === 6) return address;
  const bytes = new Uint8Array(16).fill(0xff, 10, 12);
  bytes.set(address.bytes, 12);
  return new IpAddress(bytes);
}

/** Whether the two are alike as far as both go. */
function startsWith(bytes: Uint8Array, start: Uint8Array): boolean {
  const length = Math.min(bytes.length, start.length);
  for (let i = 0; i < length; i++) if (bytes[i] !== start[i]) return false;
  return true;
}

function more(length: number): ProxyParse {
  return { kind: "more", length };
}

function wrong(why: string): ProxyParse {
  return { kind: "wrong", why };
}

const V1_START = new TextEncoder().encode("PROXY ");
const CR = 0x0d;
const LF = 0x0a;
