/**
 * What captures are told, from text.
 *
 * @module
 */

import { parseIpAddress } from "../address.ts";
import type { CaptureRotation, CaptureTarget } from "./checked.ts";
import { bytes, integer, type Parse, ParseFailure, parseFile, quote } from "./values.ts";

/** Less would be nothing but headers. */
const MIN_FILE_BYTES = 64 << 10;
const MAX_FILES = 1_000;
/** The longest IP packet. */
const MAX_PACKET = 65_535;

/** Bytes of each packet; 0 for all. */
export const parseSnap: Parse<number> = integer(0, MAX_PACKET);

/** `FILE`, `-` or `tcp:ADDRESS:PORT`. */
export function parseCaptureTarget(text: string): CaptureTarget | ParseFailure {
  if (text === "-") return { to: "stdout" };
  if (text.startsWith("tcp:")) return parseCaptureListen(text);
  const path = parseFile(text);
  return path instanceof ParseFailure
    ? new ParseFailure(`${quote(text)} is no file, expected a path, - or tcp:ADDRESS:PORT`)
    : { to: "file", path };
}

/** `tcp:ADDRESS:PORT`. Whoever connects sees the packets: only this host may. */
export function parseCaptureListen(
  text: string,
): Extract<CaptureTarget, { to: "tcp" }> | ParseFailure {
  const expected = "expected tcp:ADDRESS:PORT, as tcp:127.0.0.1:8082";
  const match = /^tcp:(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  if (match === null) return new ParseFailure(`${quote(text)} is no place to listen, ${expected}`);
  const port = Number(match[3]);
  if (port > 65_535) return new ParseFailure(`port ${port} is out of range, expected 0 to 65535`);
  const host = match[1] ?? match[2]!;
  const address = parseIpAddress(host);
  if (address === undefined) {
    return new ParseFailure(`${quote(host)} is not an address, ${expected}`);
  }
  if (!address.isLoopback) {
    return new ParseFailure(
      `${address} can be reached from outside, expected a loopback address: whoever connects sees ` +
        "every packet",
    );
  }
  return { to: "tcp", hostname: `${address}`, port };
}

/** `nic1`, `nic2`, `outer` or `link:NAME`; whether there is such a link is seen when it begins. */
export function parseCapturePoint(text: string): string | ParseFailure {
  return /^(?:nic1|nic2|outer|link:.+)$/.test(text) ? text : new ParseFailure(
    `${quote(text)} is no place to capture at, expected nic1, nic2, outer or link:NAME`,
  );
}

/** `SIZE,COUNT`. */
export function parseRotation(text: string): CaptureRotation | ParseFailure {
  const match = /^([^,\s]+)\s*,\s*([^,\s]+)$/.exec(text);
  if (match === null) {
    return new ParseFailure(`${quote(text)} is not two numbers, expected SIZE,COUNT as 100M,10`);
  }
  const size = bytes(MIN_FILE_BYTES, 2 ** 50)(match[1]!);
  if (size instanceof ParseFailure) return size;
  const count = integer(2, MAX_FILES)(match[2]!);
  if (count instanceof ParseFailure) return new ParseFailure(`${count.message} files`);
  return { bytes: size, count };
}
