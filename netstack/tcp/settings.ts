/**
 * Every constant of TCP that somebody may want to change. Times in ms, sizes in bytes.
 *
 * @module
 */

/** When to probe a silent peer (RFC 9293 §3.8.4). */
export interface KeepAlive {
  /** Silence before the first probe, ms. */
  idle: number;
  /** Between probes, ms. */
  interval: number;
  /** Unanswered probes that end the connection. */
  count: number;
}

/** The settings of TCP. Times in ms, sizes in bytes. */
export interface TcpSettings {
  /** Most bytes unsent and unacknowledged per connection. The limit grows from {@link initialBuffer}. */
  sendBuffer: number;
  /** Most bytes unread per connection; the window scale follows from it. */
  receiveBuffer: number;
  /** Where both limits start. Memory is taken only as data comes. */
  initialBuffer: number;
  /** After this long without traffic a connection frees its buffers, and both limits start again. */
  idleMs: number;
  /** How long after full segments have vanished one is sent again to see whether it does. */
  blackHoleMs: number;
  /** How long a compact TIME-WAIT record stays (RFC 9293 §3.4.2: 2 MSL). */
  timeWaitMs: number;
  /** TIME-WAIT records at most; the oldest gives way. */
  maxTimeWait: number;
  /** How long a closed endpoint waits for the peer's FIN. */
  finWait2Ms: number;
  /** RFC 9293 §3.8.6.3 allows 500. */
  delayedAckMs: number;
  /** The least retransmission timeout (RFC 6298 §2.4 asks for a second; Linux has 200). */
  minRtoMs: number;
  /** The most (RFC 6298 §2.5). */
  maxRtoMs: number;
  /** Before the first measurement (RFC 6298 §2.1). */
  initialRtoMs: number;
  /** Unanswered retransmissions of the same data before the connection is given up. */
  maxRetries: number;
  /**
   * The same for a connection whose endpoint was closed, where answered probes of a closed window
   * count, too (Linux tcp_orphan_retries): nobody waits for it any more.
   */
  orphanRetries: number;
  /**
   * How long data may go unacknowledged before the connection is given up (RFC 9293 §3.8.3,
   * RFC 5482); takes the place of {@link maxRetries}. 0 = off.
   */
  userTimeoutMs: number;
  /** Retransmissions of a SYN or SYN-ACK. */
  synRetries: number;
  /** For every connection; undefined = off (RFC 9293 §3.8.4: the default MUST be off). */
  keepAlive: KeepAlive | undefined;
  /** Connections others have opened and not completed, of listeners and forwarders together. */
  maxHalfOpen: number;
  /** Of these, from one address. */
  maxHalfOpenPerSource: number;
  /** How long a forwarder may take to answer a request. */
  requestMs: number;
  /** Past the limits, listeners answer with SYN cookies (RFC 4987 §3.6); forwarders never do. */
  synCookies: boolean;
  /** Of a stack, in both directions. */
  maxConnections: number;
  /** Half-open connections per listener. */
  backlog: number;
  /** Upper bound of the MSS announced and used. */
  maxMss: number;
  /**
   * Lower bound of the MSS used, whatever the peer announces. Keeps a peer from multiplying our
   * segments (SACK Panic, CVE-2019-11479).
   */
  minMss: number;
  /** Separate ranges kept out of order; more are dropped (SegmentSmack, CVE-2018-5390). */
  maxOutOfOrderRanges: number;
  /** Challenge ACKs per second, all connections together (RFC 5961 §10); jittered by half. */
  challengeAcksPerSecond: number;
  /** RFC 7323 §2. */
  windowScale: boolean;
  /** RFC 7323 §3. */
  timestamps: boolean;
  /** RFC 2018. */
  sack: boolean;
  /** RACK-TLP (RFC 8985) finds losses; if not, counting duplicates does (RFC 6675). Needs SACK. */
  rack: boolean;
  /** "none" = no congestion window: for private links and like-for-like measurements. */
  congestion: "cubic" | "newreno" | "none";
  /** Ephemeral ports (RFC 6335 §6). */
  firstEphemeralPort: number;
  /** The last of them. */
  lastEphemeralPort: number;
}

export const DEFAULT_SETTINGS: Readonly<TcpSettings> = {
  sendBuffer: 4 << 20,
  receiveBuffer: 4 << 20,
  initialBuffer: 1 << 16,
  idleMs: 10_000,
  blackHoleMs: 600_000,
  timeWaitMs: 60_000,
  maxTimeWait: 1 << 17,
  finWait2Ms: 60_000,
  delayedAckMs: 40,
  minRtoMs: 200,
  maxRtoMs: 120_000,
  initialRtoMs: 1_000,
  maxRetries: 15,
  orphanRetries: 8,
  userTimeoutMs: 0,
  synRetries: 6,
  keepAlive: undefined,
  maxHalfOpen: 4_096,
  maxHalfOpenPerSource: 1_024,
  requestMs: 30_000,
  synCookies: true,
  maxConnections: 1 << 16,
  backlog: 128,
  maxMss: 65_495,
  minMss: 88,
  maxOutOfOrderRanges: 256,
  challengeAcksPerSecond: 1_000,
  windowScale: true,
  timestamps: true,
  sack: true,
  rack: true,
  congestion: "cubic",
  firstEphemeralPort: 49_152,
  lastEphemeralPort: 65_535,
};

/**
 * Fills in the defaults.
 *
 * @throws {RangeError} for a number that is negative, not finite, or a size below 1.
 */
export function resolveSettings(partial: Partial<TcpSettings>): TcpSettings {
  const settings = { ...DEFAULT_SETTINGS, ...partial };
  for (const [name, value] of Object.entries(settings)) {
    if (typeof value !== "number") continue;
    if (!Number.isFinite(value) || value < 0) {
      throw new RangeError(`TCP setting ${name} must be a finite number from 0, got ${value}`);
    }
  }
  for (const name of ["sendBuffer", "receiveBuffer", "initialBuffer", "minMss"] as const) {
    if (settings[name] < 1) throw new RangeError(`TCP setting ${name} must be at least 1`);
  }
  // RFC 7323 §2.3: the largest window that can be announced.
  settings.receiveBuffer = Math.min(settings.receiveBuffer, 0xffff * 2 ** 14);
  return settings;
}
