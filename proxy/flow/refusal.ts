/**
 * Why a flow may not begin.
 *
 * @module
 */

export type Refusal =
  /** The address is not proxied, or not for this protocol. */
  | "not-proxied"
  /** An address that must not be reachable by accident: see `safe_targets.ts`. */
  | "unsafe"
  /** An address of this host that no map, or rule for what passes through, names. */
  | "own-host"
  /** Nothing in the tunnel, or behind a link, has the address that a program of this host asks for. */
  | "no-peer"
  /** This process itself listens there. */
  | "own-listener"
  /** A rule, or the default, rejects it: the client is told. */
  | "rejected"
  /** A rule, or the default, drops it, in silence. */
  | "dropped"
  /** The rule has as many connections and sessions as it may. */
  | "rule-full"
  /** The peer has as many connections or sessions as it may. */
  | "peer-full"
  /** The limit on connections or sessions is reached, and none has to give way. */
  | "full"
  /** The limit on dials in flight is reached. The client may try again. */
  | "dials";
