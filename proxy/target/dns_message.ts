/**
 * Questions to name servers and what their answers say, for addresses alone.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import packet from "npm:dns-packet@5.6.1";
import type { IpAddress } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";

/** What is asked for: addresses of one family. */
export type DnsType = "A" | "AAAA";

/** What a server says about a name. TTLs are as sent, ms. */
export type DnsAnswer =
  | { readonly kind: "addresses"; readonly addresses: readonly IpAddress[]; readonly ttlMs: number }
  /** There is no such name, or it has no address of that family. */
  | { readonly kind: "none"; readonly ttlMs: number }
  /** Only where the name leads: that one is to be asked for. */
  | { readonly kind: "alias"; readonly name: string; readonly ttlMs: number }
  /** Does not fit into a datagram: to be asked again over TCP. */
  | { readonly kind: "truncated" }
  /** The server does not know, or will not say. */
  | { readonly kind: "failed"; readonly why: string };

/** Links of a chain of aliases within one answer. */
const MAX_ALIASES = 16;
/** Addresses that are kept of one answer. */
const MAX_ADDRESSES = 32;

/**
 * A query for the addresses of one family, without EDNS: these answers fit into 512 bytes nearly
 * always, some servers refuse what they do not know, and TCP serves the rest.
 *
 * @param id 0 to 65535.
 */
export function encodeQuery(id: number, name: string, type: DnsType): Uint8Array {
  return packet.encode({
    type: "query",
    id,
    flags: packet.RECURSION_DESIRED,
    questions: [{ type, name }],
  });
}

/**
 * Reads a message that claims to be an answer.
 *
 * @returns undefined if it is malformed, or answers anything but this question.
 */
export function decodeAnswer(
  message: Uint8Array,
  id: number,
  name: string,
  type: DnsType,
): DnsAnswer | undefined {
  let decoded: Message;
  try {
    const { buffer, byteOffset, byteLength } = message;
    decoded = packet.decode(Buffer.from(buffer, byteOffset, byteLength));
  } catch { // the library throws on what it cannot read
    return undefined;
  }
  if (decoded.type !== "response" || decoded.id !== id || decoded.opcode !== "QUERY") {
    return undefined;
  }
  const [question, ...others] = decoded.questions;
  if (others.length > 0 || question === undefined) return undefined;
  if (question.type !== type || question.class !== "IN" || !isSame(question.name, name)) {
    return undefined;
  }
  if (decoded.flag_tc) return { kind: "truncated" };
  if (decoded.rcode !== "NOERROR" && decoded.rcode !== "NXDOMAIN") {
    return { kind: "failed", why: `it answers ${decoded.rcode}` };
  }
  return addressesOf(decoded, name, type);
}

/** Follows the chain of aliases, in whatever order its links come. */
function addressesOf(message: Message, name: string, type: DnsType): DnsAnswer {
  let owner = name;
  let ttl = Infinity;
  for (let i = 0; i <= MAX_ALIASES; i++) {
    const own = message.answers.filter((record) =>
      record.class === "IN" && isSame(record.name, owner)
    );
    const addresses: IpAddress[] = [];
    for (const record of own) {
      if (record.type !== type || addresses.length === MAX_ADDRESSES) continue;
      const address = parseIpAddress(String(record.data));
      if (address === undefined) continue;
      addresses.push(address);
      ttl = Math.min(ttl, secondsOf(record.ttl));
    }
    if (addresses.length > 0) return { kind: "addresses", addresses, ttlMs: 1000 * ttl };
    const alias = own.find((record) => record.type === "CNAME");
    if (alias === undefined) {
      const isUnfinished = owner !== name && message.rcode === "NOERROR" &&
        soaTtl(message) === undefined;
      if (isUnfinished) return { kind: "alias", name: owner, ttlMs: 1000 * ttl };
      return { kind: "none", ttlMs: 1000 * Math.min(ttl, soaTtl(message) ?? 0) };
    }
    owner = String(alias.data);
    ttl = Math.min(ttl, secondsOf(alias.ttl));
  }
  return { kind: "failed", why: "its aliases lead nowhere" };
}

/** RFC 2308 §5: how long it holds that there is nothing, seconds; undefined if the server does not say. */
function soaTtl({ authorities }: Message): number | undefined {
  const soa = authorities.find((record) => record.type === "SOA");
  if (soa === undefined) return undefined;
  const { minimum } = soa.data as { readonly minimum?: unknown };
  return Math.min(secondsOf(soa.ttl), secondsOf(minimum));
}

/** RFC 2181 §8: the topmost bit set is no time at all. */
function secondsOf(ttl: unknown): number {
  return typeof ttl === "number" && ttl >= 0 && ttl < 2 ** 31 ? ttl : 0;
}

/** RFC 1035 §2.3.3. */
function isSame(a: string, b: string): boolean {
  const plain = (name: string) => name.replace(/\.$/, "").toLowerCase();
  return plain(a) === plain(b);
}

/** What of the library's message is looked at. */
interface Message {
  readonly id: number;
  readonly type: string;
  readonly opcode: string;
  readonly rcode: string;
  readonly flag_tc: boolean;
  readonly questions: readonly { readonly name: string; type: string; class: string }[];
  readonly answers: readonly DnsRecord[];
  readonly authorities: readonly DnsRecord[];
}

interface DnsRecord {
  readonly name: string;
  readonly type: string;
  readonly class: string;
  readonly ttl: number;
  readonly data: unknown;
}
