/**
 * Values of `[Rule]` from text, as `values.ts` has those of the other sections.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import { parsePrefix } from "../address.ts";
import type { PortsConfig, RewriteConfig } from "./checked.ts";
import { isHostName, ParseFailure, parsePeerName, quote, wrongPrefix } from "./values.ts";

/** A peer's name, or a prefix of its addresses. */
export function parseRuleSource(text: string): Prefix | string | ParseFailure {
  const prefix = parsePrefix(text);
  if (prefix !== undefined) return prefix;
  if (looksLikeAddress(text)) return wrongPrefix(text, "10.9.0.0/24 or fd09::/64");
  const name = parsePeerName(text);
  return name instanceof ParseFailure
    ? new ParseFailure(
      `${quote(text)} is neither, expected the Name of a peer or link, or a prefix`,
    )
    : name;
}

/** A host's name in small letters, or a prefix. */
export function parseRuleDestination(text: string): Prefix | string | ParseFailure {
  const prefix = parsePrefix(text);
  if (prefix !== undefined) return prefix;
  if (looksLikeAddress(text)) return wrongPrefix(text, "10.50.0.0/24 or fd50::/64");
  return hostName(text) ??
    new ParseFailure(`${quote(text)} is neither, expected a prefix, or a host`);
}

/** `tcp/80`, `tcp/8000-8100`, `tcp`, `udp/53`, `udp` or `icmp`. */
export function parsePorts(text: string): PortsConfig | ParseFailure {
  const [, protocol = "", rest] = /^([a-z0-9]+)(?:\/(.*))?$/i.exec(text) ?? [];
  const name = protocol.toLowerCase();
  if (name === "icmp" && rest === undefined) {
    return { protocol: "icmp", first: 0, last: MAX_PORT };
  }
  if (/^icmp/.test(name)) {
    return new ParseFailure(
      `${quote(text)} is unknown, expected icmp alone, which is of both families`,
    );
  }
  if (name !== "tcp" && name !== "udp") {
    return new ParseFailure(
      `${quote(text)} is unknown, expected as tcp/80, udp/5000-5100, tcp or icmp`,
    );
  }
  if (rest === undefined) return { protocol: name, first: 0, last: MAX_PORT };
  const range = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(rest);
  if (range === null) {
    return new ParseFailure(
      `${quote(text)} has no port, expected ${name}/80, ${name}/8000-8100 or ${name}`,
    );
  }
  const first = Number(range[1]);
  const last = Number(range[2] ?? first);
  if (first < 1 || last > MAX_PORT || first > MAX_PORT) {
    return new ParseFailure(
      `port ${first < 1 ? first : Math.max(first, last)} of ${
        quote(text)
      } is out of range, expected 1 to ${MAX_PORT}`,
    );
  }
  return first <= last
    ? { protocol: name, first, last }
    : new ParseFailure(`${quote(text)} ends before it begins, expected ${name}/${last}-${first}`);
}

/**
 * Where to, and behind it, where wanted, a port: `192.168.1.7:8443`, `192.168.1.0/24`,
 * `[fd50::7]:8443`, `[fd50::/64]:8443`, `db.corp.test:5432`, or the port alone: `:8443`.
 */
export function parseRewrite(text: string): RewriteConfig | ParseFailure {
  const whole = parsePrefix(text);
  if (whole !== undefined) return { to: whole };
  const [, bracketed, plain = "", digits] =
    /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const target = bracketed ?? plain;
  const port = digits === undefined ? undefined : Number(digits);
  if (port !== undefined && (port < 1 || port > MAX_PORT)) {
    return new ParseFailure(`port ${port} is out of range, expected 1 to ${MAX_PORT}`);
  }
  const portOf = port === undefined ? {} : { port };
  if (target === "" && bracketed === undefined && port !== undefined) return portOf;
  const prefix = parsePrefix(target);
  const isBracketed = bracketed !== undefined;
  if (prefix !== undefined && isBracketed === (prefix.version === 6)) {
    return { to: prefix, ...portOf };
  }
  if (!isBracketed && looksLikeAddress(target)) {
    return wrongPrefix(target, "192.168.1.7:8443 or 192.168.1.0/24");
  }
  const name = isBracketed ? undefined : hostName(target);
  return name !== undefined ? { to: name, ...portOf } : new ParseFailure(
    `${
      quote(text)
    } is no target, expected ADDRESS, PREFIX or HOST, and :PORT behind it for another ` +
      "port (IPv6 as [ADDRESS]:PORT)",
  );
}

const MAX_PORT = 65535;

function hostName(text: string): string | undefined {
  return isHostName(text) ? text.toLowerCase().replace(/\.$/, "") : undefined;
}

/** Not a name then: a mistyped address must not become one. */
function looksLikeAddress(text: string): boolean {
  return /^[0-9.]+$/.test(text) || text.includes("/") || text.includes(":");
}
