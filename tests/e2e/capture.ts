/**
 * What crosses an interface, recorded by tcpdump and judged by tshark.
 *
 * @module
 */

import type { Host } from "./lab.ts";
import type { Process } from "./process.ts";
import { output } from "./process.ts";

/** The fields that {@link Capture.segments} reads, in its order. */
const FIELDS = [
  ...["tcp.stream", "ip.src", "ipv6.src", "tcp.flags", "tcp.seq", "tcp.ack", "tcp.len"],
  ...["tcp.window_size_value", "tcp.options.wscale.shift"],
];

/** One TCP segment in order of capture. Numbers count from the first of the connection. */
export interface CapturedSegment {
  readonly stream: number;
  readonly source: string;
  readonly flags: number;
  readonly sequence: number;
  readonly acknowledgment: number;
  /** Of the payload. */
  readonly length: number;
  /** Scaled. */
  readonly window: number;
  /** In which {@link window} is counted (RFC 7323 §2.2). */
  readonly unit: number;
}

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const ACK = 0x10;
export const ECE = 0x40;

/** A pcap file. */
export class Capture {
  protected readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Packets that a display filter picks, one line each. */
  async matching(filter: string): Promise<string[]> {
    return (await this.#tshark(["-Y", filter])).split("\n").filter((line) => line !== "");
  }

  /**
   * Packets from one of `sources` that tshark takes for broken: malformed, or a bad checksum. An ACK
   * of what was never sent is {@link judgement}'s to find: tshark takes the ACK of a FIN that came with
   * a retransmission (the kernel's tail loss probe) for one.
   */
  broken(sources: readonly string[]): Promise<string[]> {
    return this.matching(`(${from(sources)}) && (${
      [
        "_ws.malformed",
        "_ws.expert.severity == error",
        "ip.checksum.status == bad",
        "tcp.checksum.status == bad",
      ].join(" || ")
    })`);
  }

  async segments(): Promise<CapturedSegment[]> {
    const text = await this.#tshark([
      ...["-Y", "tcp && !icmp && !icmpv6", "-T", "fields", "-E", "separator=,"],
      ...FIELDS.flatMap((field) => ["-e", field]),
    ]);
    // Not tshark's own scaling, which a repeated SYN confuses.
    const shifts = new Map<string, number>();
    const rows = text.trim().split("\n").map((line) => {
      const [stream, source4, source6, flags, ...rest] = line.split(",");
      const [sequence, acknowledgment, length, window] = rest.map(Number);
      const source = source4 || source6!;
      if ((Number(flags) & SYN) !== 0) {
        if (rest[4]) shifts.set(`${stream} ${source}`, Number(rest[4]));
        else shifts.delete(`${stream} ${source}`);
      }
      return {
        ...{ stream: Number(stream), source, flags: Number(flags) },
        ...{ sequence: sequence!, acknowledgment: acknowledgment!, length: length! },
        window: window!,
      };
    });
    const scaling = new Map<number, number>();
    for (const key of shifts.keys()) {
      const stream = parseInt(key);
      scaling.set(stream, (scaling.get(stream) ?? 0) + 1);
    }
    return rows.map((row) => {
      const { stream, source, flags, window } = row;
      const both = scaling.get(stream) === 2;
      const isScaled = both && (flags & SYN) === 0;
      const unit = isScaled ? 1 << shifts.get(`${stream} ${source}`)! : 1;
      return { ...row, window: window * unit, unit };
    });
  }

  #tshark(args: string[]): Promise<string> {
    return output([
      ...["tshark", "-n", "-r", this.path],
      ...["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"],
      // Random payload looks like many a protocol.
      ...["-d", "tcp.port==1-65535,data"],
      ...args,
    ]);
  }
}

/** How long nothing must have come for a recording to be complete. */
const QUIET_MS = 100;

/** A capture that is being made. */
export class Recording extends Capture {
  readonly #tcpdump: Process;

  private constructor(path: string, tcpdump: Process) {
    super(path);
    this.#tcpdump = tcpdump;
  }

  /** Begins to record `device` of `host`, in a file in `directory`. */
  static async start(host: Host, device: string, directory: string): Promise<Recording> {
    const path = `${directory}/${host.label}-${device}-${performance.now()}.pcap`;
    const tcpdump = host.spawn("tcpdump", [
      ...["tcpdump", "-Z", "root", "-i", device, "-n", "-U", "--immediate-mode"],
      ...["-s", "9216", "-B", "65536", "-w", path], // room for 7,000 packets
    ]);
    await tcpdump.line(/listening on/);
    return new Recording(path, tcpdump);
  }

  /** Ends the recording, once nothing more comes. @throws if packets are missing in it */
  async stop(): Promise<void> {
    for (let [before, now] = ["", ""]; before === "" || now !== before;) {
      [before, now] = [now, await this.#figures()];
      await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    }
    this.#tcpdump.signal("SIGINT");
    await this.#tcpdump.exit();
    const [, captured] = await this.#tcpdump.line(/^(\d+) packets captured/);
    const [, received] = await this.#tcpdump.line(/^(\d+) packets received by filter/);
    const [, dropped] = await this.#tcpdump.line(/^(\d+) packets dropped by kernel/);
    if (captured !== received || dropped !== "0") {
      throw new Error(`tcpdump wrote ${captured} of ${received} packets, ${dropped} dropped`);
    }
  }

  /** How many packets it has written and received, once these are the same. */
  async #figures(): Promise<string> {
    for (;;) {
      const from = this.#tcpdump.lines.length;
      this.#tcpdump.signal("SIGUSR1");
      const figures = /(\d+) packets? captured, (\d+) packets? received by filter/;
      const [, captured, received] = await this.#tcpdump.line(figures, { from });
      if (captured === received) return captured!;
      await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    }
  }
}

function from(sources: readonly string[]): string {
  return sources.map((address) => `${address.includes(":") ? "ipv6" : "ip"}.src == ${address}`)
    .join(" || ");
}

/** What one side of the connections in a capture, made at the other side, has done. */
export interface Judgement {
  /**
   * What TCP does not allow (RFC 9293 §3.8.6, §3.10.7): text beyond the window it was given, an ACK
   * of what was not sent, a window taken back, anything after its own RST.
   */
  readonly offences: string[];
  /**
   * Connections, not over, that it has reset. On one that is over, a late ACK of the other side finds
   * nobody any more, and RST is the answer; so it is to a SYN that was sent again.
   */
  resets: number;
}

/** @param sources The addresses of the side to judge. */
export function judgement(
  segments: readonly CapturedSegment[],
  sources: readonly string[],
): Judgement {
  const judgement: Judgement = { offences: [], resets: 0 };
  const streams = new Map<number, Stream>();
  for (const segment of segments) {
    const stream = streams.get(segment.stream) ?? new Stream();
    streams.set(segment.stream, stream);
    if (sources.includes(segment.source)) stream.judge(segment, judgement);
    else stream.hear(segment);
  }
  return judgement;
}

class Stream {
  /** What the other side allows, has sent and has acknowledged at most. */
  #theirEdge = -1;
  #theirEnd = 0;
  #theirAck = 0;
  #theirFin = Infinity;
  #ourEdge = 0;
  #ourFin = Infinity;
  #hasReset = false;

  hear({ flags, sequence, acknowledgment, length, window }: CapturedSegment): void {
    const end = sequence + length + (flags & FIN) + ((flags & SYN) >> 1);
    this.#theirEnd = Math.max(this.#theirEnd, end);
    if ((flags & FIN) !== 0) this.#theirFin = end;
    if ((flags & ACK) === 0) return;
    this.#theirEdge = Math.max(this.#theirEdge, acknowledgment + window);
    this.#theirAck = Math.max(this.#theirAck, acknowledgment);
  }

  judge(segment: CapturedSegment, judgement: Judgement): void {
    const { flags, sequence, acknowledgment, length, window, unit } = segment;
    const say = (what: string) => judgement.offences.push(`${what}: ${JSON.stringify(segment)}`);
    if (this.#hasReset && (flags & RST) === 0) say("after its own RST");
    if ((flags & RST) !== 0) {
      const isOver = this.#theirAck >= this.#ourFin && this.#theirFin !== Infinity;
      if (!isOver && !this.#hasReset) judgement.resets++;
      this.#hasReset = true;
      return;
    }
    if ((flags & FIN) !== 0) this.#ourFin = sequence + length + 1;
    // The probe of a closed window is one byte beyond it.
    if (length > 0 && this.#theirEdge >= 0 && sequence + length > this.#theirEdge + 1) {
      say(`beyond the window's edge ${this.#theirEdge}`);
    }
    if ((flags & ACK) === 0) return;
    if (acknowledgment > this.#theirEnd) say(`acknowledges more than ${this.#theirEnd}`);
    // The window of a SYN is not scaled, and behind a FIN it means nothing.
    if ((flags & SYN) !== 0 || acknowledgment >= this.#theirFin) return;
    // Rounding may take back less than a unit (RFC 7323 §2.4).
    const edge = acknowledgment + window;
    if (edge + unit <= this.#ourEdge) {
      say(`takes the window's edge back from ${this.#ourEdge}`);
    }
    this.#ourEdge = Math.max(this.#ourEdge, edge);
  }
}
