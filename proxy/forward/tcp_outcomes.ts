/**
 * What becomes of a TCP connection that is refused, or whose dial fails: how it counts, and what is
 * known of the target from it.
 *
 * @module
 */

import type { DialOutcome } from "../flow/dials.ts";
import type { FlowEnd } from "../flow/flow.ts";
import type { Refusal } from "../flow/refusal.ts";
import type { DialError } from "../flow/stream.ts";
import type { TcpForwarderCounters } from "./tcp_counters.ts";

const FORBIDDEN = { counter: "forbidden", answer: "reset" } as const;
/** How each refusal counts, and what a client inside the tunnel is answered. */
export const REFUSAL_ENDS = {
  "not-proxied": FORBIDDEN,
  "unsafe": FORBIDDEN,
  "own-host": FORBIDDEN,
  "no-peer": FORBIDDEN,
  "own-listener": FORBIDDEN,
  "rejected": FORBIDDEN,
  "dropped": { counter: "forbidden", answer: "drop" },
  "rule-full": { counter: "overQuota", answer: "reset" },
  "full": { counter: "tooManyConnections", answer: "reset" },
  "peer-full": { counter: "overQuota", answer: "reset" },
  // In silence: the client's next SYN may find room.
  "dials": { counter: "tooManyDials", answer: "drop" },
} as const satisfies Record<Refusal, unknown>;

interface DialEnd {
  readonly counter?: keyof TcpForwarderCounters;
  readonly outcome: DialOutcome;
  /** Missing: the reason is the flow's end. */
  readonly end?: FlowEnd;
}

const OTHER_DIAL_END: DialEnd = { outcome: "unknown" };
const DIAL_ENDS: Partial<Record<DialError | FlowEnd, DialEnd>> = {
  refused: { counter: "refused", outcome: "answered" },
  prohibited: { counter: "unreachable", outcome: "answered", end: "unreachable" },
  timeout: { counter: "timedOut", outcome: "silent" },
  host: { counter: "unreachable", outcome: "silent", end: "unreachable" },
  net: { counter: "unreachable", outcome: "unknown", end: "unreachable" },
  failed: { counter: "failed", outcome: "unknown" },
  exhausted: { counter: "failed", outcome: "unknown", end: "failed" },
  abandoned: { counter: "abandoned", outcome: "unknown" },
  aborted: { counter: "abandoned", outcome: "unknown" },
  evicted: { outcome: "silent" },
};

/** How a dial ended that did not connect, or was given up. */
export function dialEnd(why: DialError | FlowEnd): DialEnd {
  return DIAL_ENDS[why] ?? OTHER_DIAL_END;
}
