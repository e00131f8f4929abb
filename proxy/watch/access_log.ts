/**
 * `[Log] Access`: one line of JSON for each flow that has ended, and for those that were refused.
 *
 * @module
 */

import type { Flow, FlowProtocol, FlowRequest } from "../flow/flow.ts";
import type { Refusal } from "../flow/refusal.ts";
import type { FlowObserver } from "../flow/table.ts";
import { socketAddress } from "../address.ts";
import type { LineFile } from "../log/line_file.ts";

/** A client that does not stop asking may have one refused for each packet. */
const REFUSED_PER_SECOND = 20;
const SECOND_MS = 1_000;

/** A line. Times are ISO 8601 in UTC, durations milliseconds, `up` is towards the target. */
export interface AccessRecord {
  /** When it ended, or was refused. */
  readonly time: string;
  /** Null for what was refused: it has none. */
  readonly id: string | null;
  readonly protocol: FlowProtocol;
  /** Its name, or its public key. */
  readonly peer: string;
  /** `ADDRESS:PORT` in the tunnel. */
  readonly source: string;
  /** What was asked for. */
  readonly destination: string;
  /** What was dialled; null for what was refused. */
  readonly dialled: string | null;
  /** The name that a rule had dialled; null for none. */
  readonly dialledName: string | null;
  /** The number of the rule that decided; null for none. */
  readonly rule: number | null;
  /** `allowed`, or why not. */
  readonly verdict: "allowed" | Refusal;
  /** Why it ended; null for what was refused. */
  readonly ending: string | null;
  readonly startedAt: string;
  readonly durationMs: number;
  /** How long the target took to be connected; null where nothing was. */
  readonly dialMs: number | null;
  /** Round trip to the source; null where none was measured. */
  readonly rttMs: number | null;
  /** Round trip to the target, of TCP and pings; null where none was measured. */
  readonly targetRttMs: number | null;
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly packetsUp: number;
  readonly packetsDown: number;
  /** Refused flows that had no line since the last that had. */
  readonly leftOut?: number;
}

export interface AccessLogOptions {
  readonly file: Pick<LineFile, "write" | "reopen" | "close" | "lost">;
  /** Milliseconds, monotonic: the clock of the flows. */
  now(): number;
  /** Milliseconds since the Unix epoch. */
  wallClock(): number;
}

export class AccessLog implements FlowObserver {
  readonly #options: AccessLogOptions;
  #protocols: ReadonlySet<FlowProtocol>;
  /** Refused flows that had no line. */
  leftOut = 0;
  #leftOutSince = 0;
  #second = -Infinity;
  #refused = 0;

  constructor(options: AccessLogOptions, protocols: readonly FlowProtocol[]) {
    this.#options = options;
    this.#protocols = new Set(protocols);
  }

  /** Lines lost to the disk. */
  get lost(): number {
    return this.#options.file.lost;
  }

  setProtocols(protocols: readonly FlowProtocol[]): void {
    this.#protocols = new Set(protocols);
  }

  ended(flow: Flow): void {
    if (!this.#protocols.has(flow.protocol)) return;
    const { now, wallClock } = this.#options;
    const [at, time] = [now(), wallClock()];
    this.#write({
      ...head(flow, time),
      id: flow.id,
      dialled: flow.dialled === undefined ? null : socketAddress(flow.dialled, flow.dialledPort),
      dialledName: flow.dialledName ?? null,
      verdict: "allowed",
      ending: flow.end!,
      startedAt: new Date(time - (at - flow.startedAt)).toISOString(),
      durationMs: rounded(at - flow.startedAt),
      dialMs: flow.dialMs < 0 ? null : rounded(flow.dialMs),
      rttMs: flow.rttMs === 0 ? null : rounded(flow.rttMs),
      targetRttMs: flow.targetRttMs === 0 ? null : rounded(flow.targetRttMs),
      bytesUp: flow.bytesUp,
      bytesDown: flow.bytesDown,
      packetsUp: flow.packetsUp,
      packetsDown: flow.packetsDown,
    });
  }

  refused(request: FlowRequest, verdict: Refusal): void {
    if (!this.#protocols.has(request.protocol)) return;
    const now = this.#options.now();
    if (now - this.#second >= SECOND_MS) {
      this.#second = now;
      this.#refused = 0;
    }
    if (this.#refused++ >= REFUSED_PER_SECOND) {
      this.leftOut++;
      this.#leftOutSince++;
      return;
    }
    const time = this.#options.wallClock();
    const leftOut = this.#leftOutSince;
    this.#leftOutSince = 0;
    this.#write({
      ...head(request, time),
      verdict,
      startedAt: new Date(time).toISOString(),
      ...NOTHING,
      ...(leftOut > 0 && { leftOut }),
    });
  }

  #write(record: AccessRecord): void {
    this.#options.file.write(`${JSON.stringify(record)}\n`);
  }
}

const NOTHING = {
  id: null,
  dialled: null,
  dialledName: null,
  ending: null,
  durationMs: 0,
  dialMs: null,
  rttMs: null,
  targetRttMs: null,
  bytesUp: 0,
  bytesDown: 0,
  packetsUp: 0,
  packetsDown: 0,
} as const;

function head(request: FlowRequest, time: number) {
  const { protocol, owner, source, sourcePort, destination, destinationPort } = request;
  return {
    time: new Date(time).toISOString(),
    protocol,
    peer: owner.name,
    source: socketAddress(source, sourcePort),
    destination: socketAddress(destination, destinationPort),
    rule: (request as Partial<Flow>).rule?.number ?? null,
  };
}

/** Whole microseconds. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
