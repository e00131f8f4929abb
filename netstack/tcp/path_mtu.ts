/**
 * Path MTU black holes: full segments vanish and no ICMP error says so (RFC 2923 §2.1, RFC 4821).
 * Errors that do come are handled in icmp_error.ts.
 *
 * @module
 */
import type { Connection } from "./connection.ts";
import { HEADER_LENGTH } from "./header.ts";
import { resegment } from "./recovery.ts";

/** Timeouts in a row for the same full segment that make the path suspect (Linux tcp_retries1). */
const SUSPECT = 4;
/** After so many more the next smaller size is tried. */
const AGAIN = 2;
/** Sizes to fall back to: the minimum MTU of IPv6, and what every IPv4 host must accept. */
const SIZES = [1_280, 576];

/** The retransmission timer has expired again. */
export function avoidBlackHole(c: Connection, now: number): void {
  const { sender, path } = c;
  if (sender.retries < SUSPECT || (sender.retries - SUSPECT) % AGAIN !== 0) return;
  if (path.version === 6 && c.mtu <= SIZES[0]!) return;
  const headers = path.headerLength + HEADER_LENGTH;
  const mtu = SIZES.find((size) => size < c.mtu);
  // A small segment that vanishes tells nothing about its size.
  if (mtu === undefined || sender.oldestLength <= mtu - headers) return;
  c.mtu = mtu;
  c.raiseAt = now + c.tcp.settings.blackHoleMs;
  c.tcp.counters.blackHoles++;
  resegment(sender, c.effectiveMss());
}

/** Tries full segments again: the path may have changed (RFC 1191 §6.3 asks for ten minutes). */
export function raiseMtu(c: Connection): void {
  c.raiseAt = Infinity;
  c.mtu = c.path.mtu;
  c.sender.setSegmentSize(c.effectiveMss());
}
