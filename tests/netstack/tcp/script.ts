/**
 * Packet scripts: segments in, segments out, in virtual time, one line each, to be read beside the
 * RFC. A segment is written like packetdrill's:
 *
 *     S 0 win 65535 mss 1460 sackok wscale 7      SYN, sequence number 0
 *     . 1 ack 1 win 1000                          ACK
 *     P. 1:1001 ack 1                             bytes 1 to 1000
 *     F. 1001 ack 1                               FIN behind them
 *     . 1 ack 1 sack 1001:2001 ts 100 200         options
 *
 * Numbers are relative to the initial sequence number of whoever they count for. What goes in
 * defaults to `win 65535`; of what comes out, only what the line names is compared.
 *
 * @module
 */
import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/address.ts";
import { readUint16, writeUint16 } from "../../../netstack/bytes.ts";
import { finish, sum } from "../../../netstack/checksum.ts";
import { type Link, LINK_HEADROOM } from "../../../netstack/link.ts";
import type { TcpEndpoint, TcpError } from "../../../netstack/tcp/endpoint.ts";
import * as header from "../../../netstack/tcp/header.ts";
import type { TcpSettings } from "../../../netstack/tcp/settings.ts";
import { Path } from "../../../netstack/transport.ts";
import { TcpHost } from "./host.ts";

export const HOST = IpAddress.v4(10, 0, 0, 1);
export const PEER = IpAddress.v4(10, 0, 0, 2);
/** Where listeners of scripts listen, and what the peer sends from. */
export const PORT = 80;
export const PEER_PORT = 40_000;

const SLOTS = 256;

export interface ScriptOptions extends Partial<TcpSettings> {
  /** The peer's initial sequence number. */
  irs?: number;
  mtu?: number;
  promiscuous?: boolean;
  /** Transmit slots of the link. */
  slots?: number;
}

interface Parsed {
  flags: string;
  sequence: number;
  length: number;
  ack: number | undefined;
  win: number | undefined;
  mss: number | undefined;
  wscale: number | undefined;
  sackok: boolean;
  sack: [number, number][];
  ts: [number, number] | undefined;
}

/** A segment that came out. */
export interface Sent {
  flags: string;
  /** Raw, unsigned. */
  rawSequence: number;
  rawAck: number;
  sequence: number;
  length: number;
  ack: number;
  win: number;
  mss: number | undefined;
  wscale: number | undefined;
  sackok: boolean;
  sack: [number, number][];
  ts: [number, number] | undefined;
  sourcePort: number;
  destinationPort: number;
  payload: Uint8Array;
  at: number;
}

export class Script {
  readonly host: TcpHost;
  now = 1_000;
  /** The peer's ISS; numbers of segments in count from it. */
  irs: number;
  /** Ours, learned from the first SYN that comes out. */
  iss: number | undefined;
  /** Ports of the conversation that {@link in} writes. */
  port = PORT;
  peerPort = PEER_PORT;
  endpoint: TcpEndpoint | undefined;
  /** What the handler was told, in order. */
  readonly events: string[] = [];
  error: TcpError | undefined;
  /** Free transmit slots; 0 = the link is busy. */
  slots: number;
  readonly #out: Sent[] = [];
  readonly #in = new Uint8Array(70_000);

  constructor(options: ScriptOptions = {}) {
    const { irs = 0x7000_0000, mtu = 1500, promiscuous = false, slots = SLOTS, ...settings } =
      options;
    this.irs = irs;
    this.slots = slots;
    this.host = new TcpHost({
      link: this.#link(mtu),
      address: HOST,
      mtu,
      promiscuous,
      // Options off unless a script is about them, and every ACK at its time.
      settings: { timestamps: false, windowScale: false, sack: false, ...settings },
    });
  }

  get tcp() {
    return this.host.tcp;
  }

  listen(): void {
    this.tcp.listen({ port: PORT }, { accepted: (endpoint) => this.watch(endpoint) });
  }

  connect(): TcpEndpoint {
    const endpoint = this.tcp.connect({ remote: PEER, remotePort: PEER_PORT }, this.now);
    this.watch(endpoint);
    this.port = endpoint.localPort;
    this.flush();
    return endpoint;
  }

  /** Writes down what the endpoint's handler is told. */
  watch(endpoint: TcpEndpoint): void {
    this.endpoint = endpoint;
    endpoint.handler = {
      connected: () => this.events.push("connected"),
      readable: () => this.events.push("readable"),
      writable: () => this.events.push("writable"),
      broken: (error) => this.events.push(`broken: ${error.kind}`),
      closed: (error) => {
        this.events.push(error === undefined ? "closed" : `closed: ${error.kind}`);
        this.error = error;
      },
    };
  }

  /** A passive connection, handshake done, nothing in the air. */
  established(syn = "S 0 mss 1460"): TcpEndpoint {
    this.listen();
    this.in(syn);
    this.out("S. 0 ack 1");
    this.in(syn.includes(" ts ") ? ". 1 ack 1 ts 101 0" : ". 1 ack 1");
    this.quiet();
    return this.endpoint!;
  }

  /** The peer's ACKs are no longer answered at once, as after the start of a real connection. */
  noQuickAcks(): void {
    for (let i = 0; i < 16; i++) this.in(`. ${1 + i}:${2 + i} ack 1`);
    this.endpoint!.read(new Uint8Array(100));
    this.flush();
    this.drop();
  }

  /** A segment from the peer. */
  in(line: string): void {
    this.deliver(line);
    this.flush();
  }

  /** The same, with others to follow before the flush. */
  deliver(line: string): void {
    const { buffer, length } = this.encode(line);
    this.host.receive(buffer, 0, length, this.now);
  }

  flush(): void {
    for (let i = 0; this.host.flush(this.now); i++) {
      if (this.slots === 0) return;
      if (i > 1_000) assert.fail("flush never ends");
    }
  }

  /** Expects the next segment out. */
  out(line: string): Sent {
    const sent = this.#out.shift();
    if (sent === undefined) assert.fail(`nothing was sent, expected: ${line}`);
    const wanted = parse(line);
    const seen: Record<string, unknown> = {};
    const expected: Record<string, unknown> = {};
    const compare = (name: keyof Parsed & keyof Sent) => {
      seen[name] = sent[name];
      expected[name] = wanted[name];
    };
    // PSH is advice: not compared.
    wanted.flags = wanted.flags.replace("P", "");
    compare("flags");
    compare("sequence");
    compare("length");
    for (const name of ["ack", "win", "mss", "wscale", "ts"] as const) {
      if (wanted[name] !== undefined) compare(name);
    }
    if (wanted.sack.length > 0 || line.includes("nosack")) compare("sack");
    if (wanted.sackok) compare("sackok");
    assert.deepEqual(seen, expected, `expected ${line}`);
    return sent;
  }

  /** Expects that nothing (more) was sent. */
  quiet(): void {
    assert.deepEqual(this.#out.map(describe), []);
  }

  /** What came out and was not looked at. */
  drop(): Sent[] {
    return this.#out.splice(0);
  }

  /** Lets time pass, deadline by deadline. */
  wait(ms: number): void {
    const end = this.now + ms;
    for (let turns = 0; turns < 100_000; turns++) {
      const next = this.host.pollTimeout();
      if (next > end) {
        this.now = end;
        return;
      }
      this.now = Math.max(this.now, next);
      this.host.handleTimeout(this.now);
      this.flush();
    }
    assert.fail("a deadline that stays due");
  }

  /** Bytes of the stream from `first` on, as {@link in} fills segments. */
  static bytes(first: number, length: number): Uint8Array {
    return Uint8Array.from({ length }, (_, i) => (first + i) * 31 + 7);
  }

  /** Reads everything and expects it to be the peer's stream from `first` to before `end`. */
  read(first: number, end: number): void {
    const into = new Uint8Array(1 << 20);
    const length = this.endpoint!.read(into);
    assert.deepEqual(into.subarray(0, length), Script.bytes(first, end - first));
    this.flush();
  }

  /** Writes `length` bytes and lets them go. */
  write(length: number): number {
    const taken = this.endpoint!.write(new Uint8Array(length).fill(0x55));
    this.flush();
    return taken;
  }

  /** The IP packet for `line`. */
  encode(line: string): { buffer: Uint8Array; length: number } {
    const p = parse(line);
    const buffer = this.#in;
    buffer.fill(0, 0, 100);
    let end = 20 + header.HEADER_LENGTH;
    if (p.mss !== undefined) {
      buffer.set([header.OPTION_MSS, 4, p.mss >> 8, p.mss & 255], end);
      end += 4;
    }
    if (p.wscale !== undefined) {
      buffer.set([header.OPTION_NOP, header.OPTION_WINDOW_SCALE, 3, p.wscale], end);
      end += 4;
    }
    if (p.sackok) {
      buffer.set([header.OPTION_NOP, header.OPTION_NOP, header.OPTION_SACK_PERMITTED, 2], end);
      end += 4;
    }
    if (p.ts !== undefined) end = header.writeTimestamps(buffer, end, p.ts[0], p.ts[1]);
    if (p.sack.length > 0) {
      const edges = Int32Array.from(p.sack.flat().map((edge) => (edge + (this.iss ?? 0)) | 0));
      end = header.writeSack(buffer, end, edges, p.sack.length);
    }

    buffer.set(Script.bytes(p.sequence, p.length), end);
    let flags = 0;
    for (const letter of p.flags) flags |= FLAG_BITS[letter]!;
    header.writeHeader(
      buffer,
      20,
      this.peerPort,
      this.port,
      (p.sequence + this.irs) | 0,
      p.ack === undefined ? 0 : (p.ack + (this.iss ?? 0)) | 0,
      end - 20,
      flags,
      p.win ?? 65_535,
    );

    return { buffer, length: this.seal(end - 20, p.length) };
  }

  /** Adds IP header and checksums to the segment behind it. @returns The packet's length. */
  seal(headerLength: number, payload: number): number {
    const buffer = this.#in;
    const segment = headerLength + payload;
    const path = new Path(this.host.nic, 6, PEER, HOST);
    buffer.set([0x45, 0, (segment + 20) >> 8, (segment + 20) & 255, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    buffer.set(PEER.bytes, 12);
    buffer.set(HOST.bytes, 16);
    const ip = finish(sum(buffer, 0, 20, 0));
    buffer.set([ip >> 8, ip & 255], 10);
    writeUint16(buffer, 20 + header.CHECKSUM, 0);
    const checksum = finish(sum(buffer, 20, segment, path.pseudoSum + segment));
    writeUint16(buffer, 20 + header.CHECKSUM, checksum);
    return segment + 20;
  }

  #link(mtu: number): Link {
    const buffer = new Uint8Array((mtu + 64) * SLOTS);
    let next = 0;
    return {
      buffer,
      allocate: () => {
        if (this.slots === 0) return -1;
        next = (next + 1) % SLOTS;
        return next * (mtu + 64) + LINK_HEADROOM;
      },
      release: () => {},
      transmit: (bytes, offset, length) => {
        assert.ok(length <= mtu, `a packet of ${length} bytes on a link with MTU ${mtu}`);
        this.#take(bytes, offset, length);
      },
      forward: () => false,
    };
  }

  #take(buffer: Uint8Array, offset: number, length: number): void {
    const path = new Path(this.host.nic, 6, HOST, PEER);
    const at = offset + 20;
    const size = length - 20;
    assert.equal(finish(sum(buffer, at, size, path.pseudoSum + size)), 0, "TCP checksum");
    const segment = new header.Segment();
    assert.ok(segment.parse(buffer, at, size));
    let flags = "";
    for (const [letter, bit] of Object.entries(FLAG_BITS)) {
      if ((segment.flags & bit) !== 0 && letter !== "P") flags += letter;
    }
    if ((segment.flags & header.SYN) !== 0) this.iss ??= segment.sequence;
    const iss = this.iss ?? 0;
    const syn = (segment.flags & header.SYN) !== 0;
    const acknowledges = (segment.flags & header.ACK) !== 0;
    const sack: [number, number][] = [];
    for (let i = 0; i < segment.sackCount; i++) {
      sack.push([
        (segment.sack[2 * i]! - this.irs) | 0,
        (segment.sack[2 * i + 1]! - this.irs) | 0,
      ]);
    }
    this.#out.push({
      flags,
      rawSequence: segment.sequence >>> 0,
      rawAck: segment.acknowledgment >>> 0,
      sequence: (segment.sequence - iss) | 0,
      length: segment.length,
      ack: acknowledges ? (segment.acknowledgment - this.irs) | 0 : 0,
      win: segment.window,
      mss: syn ? segment.mss : undefined,
      wscale: syn && segment.windowScale >= 0 ? segment.windowScale : undefined,
      sackok: syn && segment.sackPermitted,
      sack,
      ts: segment.hasTimestamps ? [segment.tsValue, segment.tsEcho] : undefined,
      sourcePort: readUint16(buffer, at),
      destinationPort: readUint16(buffer, at + 2),
      payload: buffer.slice(segment.payload, segment.payload + segment.length),
      at: this.now,
    });
  }
}

const FLAG_BITS: Record<string, number> = {
  S: header.SYN,
  F: header.FIN,
  R: header.RST,
  P: header.PSH,
  ".": header.ACK,
};

function parse(line: string): Parsed {
  const words = line.split(/\s+/);
  const parsed: Parsed = {
    flags: words.shift()!,
    sequence: 0,
    length: 0,
    ack: undefined,
    win: undefined,
    mss: undefined,
    wscale: undefined,
    sackok: false,
    sack: [],
    ts: undefined,
  };
  const [first, end] = words.shift()!.split(":").map(Number);
  parsed.sequence = first!;
  parsed.length = end === undefined ? 0 : end - first!;
  while (words.length > 0) {
    const word = words.shift()!;
    if (word === "sackok") parsed.sackok = true;
    else if (word === "sack") {
      while (words[0]?.includes(":")) {
        parsed.sack.push(words.shift()!.split(":").map(Number) as [number, number]);
      }
    } else if (word === "ts") parsed.ts = [Number(words.shift()), Number(words.shift())];
    else if (word === "ack" || word === "win" || word === "mss" || word === "wscale") {
      parsed[word] = Number(words.shift());
    } else if (word !== "nosack") throw new Error(`unknown word ${word} in "${line}"`);
  }
  return parsed;
}

function describe(sent: Sent): string {
  const end = sent.length > 0 ? `:${sent.sequence + sent.length}` : "";
  return `${sent.flags} ${sent.sequence}${end} ack ${sent.ack} win ${sent.win}`;
}
