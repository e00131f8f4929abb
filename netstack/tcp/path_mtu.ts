/**
 * Path MTU black holes: full segments vanish and no ICMP error says so (RFC 2923 §2.1, RFC 4821).
 * Errors that do come are handled in icmp_error.ts.
 *
 * @module
 */
import type { Connection } from "./connection.ts";
import { HEADER_LENGTH } from "./header.ts";
import { resegment } from "./recovery.ts";
import { before } from "./sequence.ts";

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
  c.raiseAt = now;
  c.tcp.counters.blackHoles++;
  resegment(sender, c.effectiveMss());
}

/**
 * An ACK has come while segments are smaller than they were. That nobody answered may have been an
 * outage: then full segments pass again at once, and one alone finds out. If it is lost, the others
 * repair it; the path is asked again after ten minutes (RFC 1191 §6.3).
 */
export function seekFullSize(c: Connection, now: number): void {
  const { sender, path } = c;
  const probe = sender.sizeProbe;
  if (probe.isLost) {
    const { mtu } = probe;
    const next = SIZES.find((size) => size < mtu && size > c.mtu);
    if (next === undefined) {
      probe.reset();
      c.raiseAt = now + c.tcp.settings.blackHoleMs;
    } else probe.arm(next, c.effectiveMss(next));
  } else if (probe.isSent) {
    if (before(sender.una, probe.end)) return;
    c.mtu = probe.mtu;
    c.raiseAt = c.mtu === path.mtu ? Infinity : now + c.tcp.settings.blackHoleMs;
    probe.reset();
    sender.setSegmentSize(c.effectiveMss());
  } else if (probe.size === 0) probe.arm(path.mtu, c.effectiveMss(path.mtu));
}
