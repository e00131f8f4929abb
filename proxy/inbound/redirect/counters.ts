/**
 * What a redirect counts beside its flows.
 *
 * @module
 */

/** Totals since the start, by reason. */
export interface RedirectCounters {
  /** Connections made to the redirect's own port, which nobody redirected: reset. */
  direct: number;
  /** Connections of which the kernel does not know where they wanted to go: reset. */
  unknown: number;
  /** How often there was no descriptor for a connection that waits. */
  exhausted: number;
  /** Datagrams without the address that they were on their way to: dropped. */
  stray: number;
  /** Sockets for answers that could not be opened: their datagrams are dropped. */
  noReplySocket: number;
}

export function newRedirectCounters(): RedirectCounters {
  return { direct: 0, unknown: 0, exhausted: 0, stray: 0, noReplySocket: 0 };
}
