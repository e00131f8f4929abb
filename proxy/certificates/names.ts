/**
 * What a server is called in its certificate: DNS names and addresses, as in SubjectAltName (RFC 5280
 * §4.2.1.6).
 *
 * @module
 */

import { domainToASCII } from "node:url";
import { parseIpAddress } from "../address.ts";
import { ParseFailure, quote } from "../config/values.ts";

/** One entry of SubjectAltName. */
export interface SubjectName {
  readonly type: "dns" | "ip";
  /** A DNS name in lower case, as it is in DNS (`xn--…`); an address in its shortest form. */
  readonly value: string;
}

const EXPECTED =
  "expected a DNS name or an address, such as hub.example.com, 203.0.113.7 or fd00::1";

/** Bytes of a DNS name without its last dot (RFC 1035 §2.3.4). */
const MAX_NAME = 253;

/**
 * A DNS name, one with `*` for its first label, or an address. Names of other alphabets become what
 * is looked up for them (IDNA).
 */
export function parseSubjectName(text: string): SubjectName | ParseFailure {
  const address = parseIpAddress(text);
  if (address !== undefined) return { type: "ip", value: `${address}` };
  const isWildcard = text.startsWith("*.");
  const name = domainToASCII(text.slice(isWildcard ? 2 : 0).replace(/\.$/, "")).toLowerCase();
  const value = isWildcard ? `*.${name}` : name;
  const labels = name.split(".");
  if (value.length > MAX_NAME || !labels.every(isLabel)) {
    return new ParseFailure(`${quote(text)} is neither, ${EXPECTED}`);
  }
  // A mistyped address: what looks a name up may take it for a short or an octal one.
  if (/^(?:\d+|0x[0-9a-f]*)$/.test(labels.at(-1)!)) {
    return new ParseFailure(`${quote(text)} is no address that every program reads, ${EXPECTED}`);
  }
  // No verifier takes *.com (RFC 6125 §7.2).
  if (isWildcard && labels.length < 2) {
    return new ParseFailure(
      `${quote(text)} stands for too much, expected one such as *.example.com`,
    );
  }
  return { type: "dns", value };
}

/** RFC 1123 §2.1, and the underscore that names of containers have. */
function isLabel(label: string): boolean {
  return /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label);
}
