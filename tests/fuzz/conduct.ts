import { get16, ICMP, ICMPV6, type Layout, layoutOf } from "./wire.ts";

/**
 * What is wrong with sending this packet, however well formed it is; undefined = nothing: addresses
 * of no single host (RFC 1122 §3.2.1.3), no hops left, and ICMP errors about what they must not be
 * about (RFC 1122 §3.2.2, RFC 4443 §2.4).
 */
export function misconduct(bytes: Uint8Array): string | undefined {
  const layout = layoutOf(bytes);
  if (layout === undefined) return "no IP header";
  const isIpv4 = layout.version === 4;
  if (bytes[isIpv4 ? 8 : 7] === 0) return "no hops left";
  const [source, destination] = addresses(bytes, layout);
  if (!isUnicast(source) || !isUnicast(destination)) return "an address of no single host";
  const { protocol, transport, isFragment } = layout;
  // Ours are never so long; others' are cut on their way through.
  if (isFragment) return undefined;
  if (protocol !== (isIpv4 ? ICMP : ICMPV6) || !isError(bytes, layout)) return undefined;
  if (bytes.length > (isIpv4 ? 576 : 1280)) return "an ICMP error too long";
  const quoted = bytes.subarray(transport + 8);
  const about = layoutOf(quoted);
  if (about === undefined || about.version !== layout.version) return "an ICMP error about nothing";
  const [from, to] = addresses(quoted, about);
  if (!isUnicast(from)) return "an ICMP error about what came from no single host";
  if (!equal(from, destination)) return "an ICMP error to somebody else";
  if (!isUnicast(to)) return "an ICMP error about what went to many";
  if (isLaterFragment(quoted, about)) return "an ICMP error about a later fragment";
  const isAboutError = about.protocol === protocol && quoted.length > about.transport &&
    isError(quoted, about);
  return isAboutError ? "an ICMP error about an ICMP error" : undefined;
}

function addresses(bytes: Uint8Array, { version }: Layout): [Uint8Array, Uint8Array] {
  return version === 4
    ? [bytes.subarray(12, 16), bytes.subarray(16, 20)]
    : [bytes.subarray(8, 24), bytes.subarray(24, 40)];
}

function isUnicast(address: Uint8Array): boolean {
  if (address.length === 4) return ![0, 127].includes(address[0]!) && address[0]! < 224;
  if (address[0] === 0xff) return false;
  return address.subarray(0, 15).some((byte) => byte !== 0) || address[15]! > 1;
}

function isError(bytes: Uint8Array, { version, transport }: Layout): boolean {
  const type = bytes[transport]!;
  return version === 4 ? [3, 4, 5, 11, 12].includes(type) : type < 128;
}

function isLaterFragment(bytes: Uint8Array, layout: Layout): boolean {
  if (layout.version === 4) return (get16(bytes, 6) & 0x1fff) !== 0;
  // The first fragment has offset 0; layoutOf walks past its header.
  for (let next = bytes[6]!, at = 40; at + 8 <= layout.transport;) {
    if (next === 44) return get16(bytes, at + 2) >> 3 !== 0;
    next = bytes[at]!;
    at += (bytes[at + 1]! + 1) * 8;
  }
  return false;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, i) => byte === b[i]);
}
