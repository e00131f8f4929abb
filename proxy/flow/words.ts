/**
 * The words of the log for flows that failed.
 *
 * @module
 */

import type { FlowEnd } from "./flow.ts";
import type { Refusal } from "./refusal.ts";
import type { DialError } from "./stream.ts";

/** Why a flow is refused, behind "refused: ". */
export const REFUSAL_WORDS: Readonly<Record<Refusal, string>> = {
  "not-proxied": "in no proxied subnet, or not for this protocol",
  "unsafe": "loopback, link-local, multicast or the like, which no map names",
  "own-host": "an address of this host, which no map names",
  "no-peer": "no peer has that address",
  "own-listener": "this gateway itself listens there",
  "rejected": "a rule rejects it",
  "dropped": "a rule drops it",
  "rule-full": "as many as its rule allows are open",
  "peer-full": "as many as its peer may have are open",
  "full": "as many as are allowed are open",
  "dials": "as many as are allowed are being connected",
};

/** How a dial ended that did not connect. */
export const DIAL_WORDS: Readonly<Record<DialError | FlowEnd, string>> = {
  "refused": "refused: nobody listens there",
  "host": "the host cannot be reached",
  "net": "its network cannot be reached",
  "unreachable": "cannot be reached",
  "prohibited": "prohibited on the way",
  "timeout": "no answer in time",
  "exhausted": "this host has no file descriptor left",
  "failed": "this host could not dial it",
  "abandoned": "the client gave up",
  "killed": "ended on request",
  "aborted": "the gateway is closing",
  "closed": "closed",
  "reset-by-source": "reset by the client",
  "reset-by-target": "reset by the target",
  "idle": "idle for too long",
  "evicted": "it made room for another peer's",
  "revoked": "no longer allowed",
};
