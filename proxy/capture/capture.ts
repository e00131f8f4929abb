/**
 * A live capture: packets of some points of a gateway that a filter picks, as pcapng. Between the
 * gateway and whoever reads there is a ring of bounded size: a slow reader loses packets, which are
 * counted, and never holds up the gateway.
 *
 * @module
 */

import { copyBytes } from "../../netstack/mod.ts";
import { type Endpoint, Peer, type SecretKeys, type Sender } from "../../wireguard/protocol.ts";
import { FlowOwner } from "../flow/flow.ts";
import type { Direction } from "../link/tap.ts";
import { peerName } from "../gateway/peer_name.ts";
import { VERSION } from "../version.ts";
import { FirstPackets } from "./first_packets.ts";
import { FLOW_CHARACTERS, type FlowIndex } from "./flow_index.ts";
import { OuterHeaders } from "./outer.ts";
import { CapturedPacket } from "./packet.ts";
import {
  commentOffset,
  commentOption,
  concat,
  headerBlocks,
  type InterfaceCounts,
  keyLogBlock,
  longerComment,
  PACKET_DATA_OFFSET,
  packetBlockLength,
  statisticsBlock,
  Timestamp,
  writePacketBlock,
} from "./pcapng.ts";
import { describePoint, observePoint, type PointHost, type PointName } from "./points.ts";
import type { Predicate } from "./predicate.ts";
import { keyLogLines } from "./key_log.ts";
import { BlockRing } from "./ring.ts";

/** What a capture is of. */
export interface CaptureHost extends PointHost {
  /** Of WireGuard's socket. */
  readonly port: number;
  readonly listenAddress: string | undefined;
  readonly flows: FlowIndex;
  /** Milliseconds since the Unix epoch. */
  wallClock(): number;
  /** The capture is over. */
  closed(capture: Capture): void;
}

export interface CaptureSettings {
  /** One at least, all of which there are. */
  readonly at: readonly PointName[];
  /** The filter's text, for the file, and what picks the packets. */
  readonly filter: string | undefined;
  readonly predicate: Predicate | undefined;
  /** Bytes of each packet; 0 for all. */
  readonly snapLength: number;
  /** Whether the secrets of handshakes go into the file. */
  readonly hasKeys: boolean;
  /** Bytes that wait for the reader at most. */
  readonly bufferBytes: number;
}

/** Bytes that are worth a write, and the most of one. */
const WORTH_A_WRITE = 128 << 10;
const MAX_PIECE = 256 << 10;
/** How long fewer wait for more, ms; and how often a reader who waits looks for new links. */
const LATENCY_MS = 20;
const IDLE_MS = 1_000;
/** The least time between two figures of what came and was lost, ms. */
const STATISTICS_MS = 1_000;
const ALL_BYTES = 0x4_0000;

interface Point {
  readonly name: PointName;
  readonly id: number;
  seen: number;
  accepted: number;
  dropped: number;
  /** Since the last packet that was not. */
  recentlyDropped: number;
}

export class Capture {
  readonly settings: CaptureSettings;
  readonly #host: CaptureHost;
  readonly #points: readonly Point[];
  readonly #ring: BlockRing;
  readonly #packet = new CapturedPacket();
  readonly #firsts = new FirstPackets();
  readonly #disown: () => void;
  readonly #time = new Timestamp();
  readonly #outer = new OuterHeaders();
  readonly #comments = new WeakMap<Peer, Uint8Array>();
  /** From the gateway's clock to the world's, ms. */
  readonly #epoch: number;
  readonly #startedAt: number;
  #links: unknown = undefined;
  #detach: (() => void)[] = [];
  #header: Uint8Array | undefined;
  /** Bytes of the piece that was read last. */
  #lent = 0;
  #wake: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isStopped = false;
  #isClosed = false;
  #hasFinalStatistics = false;
  #statisticsAt = -Infinity;
  /** Packets seen when figures were last told. */
  #seenThen = -1;
  /** Of the packet in hand. */
  #isPeersPoint = false;

  /** Made by `Captures`. */
  constructor(host: CaptureHost, settings: CaptureSettings) {
    const { engine } = host;
    this.#host = host;
    this.settings = settings;
    this.#ring = new BlockRing(settings.bufferBytes);
    this.#points = settings.at.map((name, id) => ({
      name,
      id,
      seen: 0,
      accepted: 0,
      dropped: 0,
      recentlyDropped: 0,
    }));
    this.#startedAt = engine.now();
    this.#epoch = host.wallClock() - this.#startedAt;
    const { snapLength, filter } = settings;
    this.#header = headerBlocks(
      `wirestack ${VERSION}`,
      settings.at.map((name) => ({ name, description: describePoint(name), snapLength, filter })),
    );
    this.#disown = host.flows.observe((flow, protocol, comment) =>
      this.#firsts.began(flow, protocol, (at, bytes) => {
        const option = comment();
        // Names may have changed in between.
        if (option.length === bytes) this.#ring.bytes.set(option, at);
      })
    );
    this.#attach();
  }

  /** Packets of all points. */
  get counts(): InterfaceCounts {
    let [seen, accepted, dropped] = [0, 0, 0];
    for (const point of this.#points) {
      seen += point.seen;
      accepted += point.accepted;
      dropped += point.dropped;
    }
    return { seen, accepted, dropped };
  }

  /** For the filter: whose the packet in hand is. */
  readonly peerOf = (packet: CapturedPacket): Peer | undefined => {
    if (packet.from instanceof Peer) return packet.from;
    const { version } = packet;
    if (!this.#isPeersPoint || packet.direction !== "out" || version === 0) return undefined;
    return this.#host.engine.device.peerAt(packet.buffer, packet.destination, version);
  };

  /**
   * The next piece of the file, of whole blocks; waits for packets, and a moment for more of them.
   *
   * @returns borrowed until the next call; undefined at the end, which follows {@link stop}.
   */
  async read(): Promise<Uint8Array<ArrayBufferLike> | undefined> {
    const ring = this.#ring;
    if (this.#lent > 0) ring.consume(this.#lent);
    this.#lent = 0;
    if (this.#header !== undefined) {
      const header = this.#header;
      this.#header = undefined;
      return header;
    }
    while (!this.#isStopped && ring.waiting < WORTH_A_WRITE) {
      if (!await this.#more()) break;
    }
    if (this.#isClosed) return undefined;
    this.#followLinks();
    const isEnd = this.#isStopped && ring.isEmpty;
    if (isEnd ? !this.#hasFinalStatistics : this.#areStatisticsDue()) {
      this.#hasFinalStatistics = isEnd;
      return this.#statistics();
    }
    if (isEnd) {
      this.close();
      return undefined;
    }
    this.#firsts.forget();
    const piece = ring.peek(MAX_PIECE);
    this.#lent = piece.length;
    return piece;
  }

  /** No packet is added any more; what there is can still be read, and the final figures. */
  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    for (const detach of this.#detach) detach();
    this.#detach = [];
    this.#disown();
    this.#wakeUp();
  }

  /** Ends it, whoever reads. Idempotent. */
  close(): void {
    this.stop();
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#wakeUp();
    this.#host.closed(this);
  }

  /** Writes secrets down, in front of the packets that they belong to. */
  logKeys(keys: SecretKeys): void {
    if (!this.settings.hasKeys || this.#isStopped) return;
    const block = keyLogBlock(keyLogLines(keys));
    const at = this.#ring.reserve(block.length);
    if (at >= 0) {
      this.#ring.bytes.set(block, at);
      this.#commit(block.length);
    }
    block.fill(0);
  }

  #attach(): void {
    const { engine } = this.#host;
    for (const detach of this.#detach) detach();
    this.#detach = this.#points.map((point) => {
      if (point.name === "outer") {
        return engine.observeDatagrams((direction, buffer, offset, length, now, end) =>
          this.#datagram(point, direction, buffer, offset, length, now, end)
        );
      }
      return observePoint(
        point.name,
        this.#host,
        (direction, buffer, offset, length, now, from) =>
          this.#shown(point, direction, buffer, offset, length, now, from),
      );
    });
    this.#links = engine.links;
  }

  /** A link that came, or came back, is looked at too. */
  #followLinks(): void {
    if (this.#links !== this.#host.engine.links && !this.#isStopped) this.#attach();
  }

  #shown(
    point: Point,
    direction: Direction,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
    from: unknown,
  ): void {
    point.seen++;
    const packet = this.#packet;
    packet.parse(direction, buffer, offset, length, from);
    this.#isPeersPoint = point.name === "nic1" || point.name === "nic2";
    const { predicate } = this.settings;
    if (predicate !== undefined && !predicate(packet)) return;
    const known = this.#host.flows.commentOf(packet);
    const comment = known ?? this.#peerComment(packet);
    const begins = known === undefined && comment !== undefined && this.#firsts.mayBegin(packet);
    this.#add(point, direction, buffer, offset, length, 0, now, comment, begins);
  }

  #datagram(
    point: Point,
    direction: Direction,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
    end: Sender | Endpoint,
  ): void {
    point.seen++;
    const outer = this.#outer;
    const { port, listenAddress } = this.#host;
    const headers = outer.write(direction, end, port, listenAddress, buffer, offset, length);
    const packet = this.#packet;
    packet.setDatagram(
      direction,
      outer.bytes,
      outer.version,
      outer.sourcePort,
      outer.destinationPort,
    );
    this.#isPeersPoint = false;
    const { predicate } = this.settings;
    if (predicate !== undefined && !predicate(packet)) return;
    this.#add(point, direction, buffer, offset, length, headers, now, undefined, false);
  }

  #peerComment(packet: CapturedPacket): Uint8Array | undefined {
    const { from } = packet;
    if (from instanceof FlowOwner) return commentOption(`link ${from.name}`);
    const peer = this.peerOf(packet);
    if (peer === undefined) return undefined;
    let comment = this.#comments.get(peer);
    if (comment === undefined) {
      comment = commentOption(`peer ${peerName(peer)}`);
      this.#comments.set(peer, comment);
    }
    return comment;
  }

  /**
   * @param headers Bytes of {@link OuterHeaders} in front of it; 0 for none.
   * @param begins Whether a flow may be made because of the packet in hand.
   */
  #add(
    point: Point,
    direction: Direction,
    buffer: Uint8Array,
    offset: number,
    length: number,
    headers: number,
    now: number,
    comment: Uint8Array | undefined,
    begins: boolean,
  ): void {
    point.accepted++;
    const ring = this.#ring;
    const original = headers + length;
    const captured = Math.min(original, this.settings.snapLength || ALL_BYTES);
    const drops = point.recentlyDropped;
    const commentBytes = comment === undefined
      ? 0
      : begins
      ? longerComment(comment, FLOW_CHARACTERS)
      : comment.length;
    const blockLength = packetBlockLength(captured, commentBytes, drops > 0);
    const at = ring.reserve(blockLength);
    if (at < 0) {
      point.dropped++;
      point.recentlyDropped++;
      return;
    }
    point.recentlyDropped = 0;
    this.#time.set(this.#epoch + now);
    writePacketBlock(
      ring.view,
      ring.bytes,
      at,
      blockLength,
      point.id,
      this.#time,
      captured,
      original,
      direction === "in",
      drops,
      comment,
      commentBytes,
    );
    if (begins) {
      this.#firsts.add(this.#packet, at + commentOffset(blockLength, commentBytes), commentBytes);
    }
    const data = at + PACKET_DATA_OFFSET;
    const ofHeaders = Math.min(headers, captured);
    if (ofHeaders > 0) copyBytes(this.#outer.bytes, 0, ring.bytes, data, ofHeaders);
    copyBytes(buffer, offset, ring.bytes, data + ofHeaders, captured - ofHeaders);
    this.#commit(blockLength);
  }

  #commit(length: number): void {
    const ring = this.#ring;
    const wasEmpty = ring.isEmpty;
    ring.commit(length);
    if (this.#wake === undefined) return;
    if (ring.waiting >= WORTH_A_WRITE) this.#wakeUp();
    else if (wasEmpty) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#wakeUp(), LATENCY_MS);
    }
  }

  /** Waits. @returns whether to go on waiting: there is nothing. */
  async #more(): Promise<boolean> {
    const { isEmpty } = this.#ring;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      this.#timer = setTimeout(() => this.#wakeUp(), isEmpty ? IDLE_MS : LATENCY_MS);
    });
    this.#followLinks();
    return this.#ring.isEmpty;
  }

  #wakeUp(): void {
    clearTimeout(this.#timer);
    this.#wake?.();
    this.#wake = undefined;
  }

  #areStatisticsDue(): boolean {
    return this.counts.seen > this.#seenThen &&
      this.#host.engine.now() >= this.#statisticsAt + STATISTICS_MS;
  }

  #statistics(): Uint8Array {
    const now = this.#host.engine.now();
    this.#statisticsAt = now;
    this.#seenThen = this.counts.seen;
    return concat(
      this.#points.map((point) =>
        statisticsBlock(point.id, point, this.#epoch + this.#startedAt, this.#epoch + now)
      ),
    );
  }
}
