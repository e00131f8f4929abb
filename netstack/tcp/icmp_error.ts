/**
 * What ICMP errors do to a connection (RFC 5927, RFC 1191).
 *
 * @module
 */

import type { IcmpErrorKind } from "../icmp_types.ts";
import type { Connection } from "./connection.ts";
import { resegment } from "./recovery.ts";
import { before } from "./sequence.ts";

/** Smaller path MTUs are not believed (RFC 1191 §3 warns; Linux has the same floor), bytes. */
const SMALLEST_MTU_V4 = 552;
/** RFC 8200 §5 */
const SMALLEST_MTU_V6 = 1_280;
/** RFC 1191 §7.1, for routers that do not tell their MTU. */
const PLATEAUS = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_280, 1_006, 576];

/**
 * ICMP says that the segment with number `sequence` did not arrive.
 *
 * @returns False if the connection has no such segment in flight: forged or old (RFC 5927 §4.1).
 */
export function handleIcmpError(
  c: Connection,
  kind: IcmpErrorKind,
  mtu: number,
  sequence: number,
): boolean {
  const sender = c.sender;
  if (before(sequence, sender.una) || !before(sequence, sender.nxt)) return false;
  if (kind === "too-big") return lowerMtu(c, mtu);
  // RFC 5461 §3.1, RFC 1122 §4.2.3.9: an error is final only while connecting.
  if (c.state !== "syn-sent") return true;
  switch (kind) {
    case "port-unreachable":
    case "protocol-unreachable":
      c.fail({ kind: "refused", message: "the connection was refused" }, false);
      break;
    case "net-unreachable":
    case "host-unreachable":
    case "prohibited":
      c.fail({ kind: "unreachable", message: `the destination is unreachable (${kind})` }, false);
      break;
  }
  return true;
}

/** RFC 1191 §6, RFC 8201 §4: only ever down. */
function lowerMtu(c: Connection, told: number): boolean {
  const floor = c.path.version === 4 ? SMALLEST_MTU_V4 : SMALLEST_MTU_V6;
  const mtu = told > 0 ? told : PLATEAUS.find((plateau) => plateau < c.mtu) ?? floor;
  if (mtu >= c.mtu) return false;
  c.mtu = Math.max(floor, mtu);
  // A path narrower than the floor has to fragment.
  if (mtu < floor) c.path.dontFragment = false;
  if (c.state === "syn-sent" || c.state === "syn-received") return true;
  resegment(c.sender, c.effectiveMss());
  c.tcp.markDirty(c);
  return true;
}
