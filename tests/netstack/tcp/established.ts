/**
 * Established connections whose other ends are packets without memory: what the path of a segment
 * costs, and allocates. IP is the thinnest possible.
 *
 * @module
 */

import { IpAddress } from "../../../netstack/address.ts";
import { readInt32, readUint16, writeUint16 } from "../../../netstack/bytes.ts";
import { finish, sum } from "../../../netstack/checksum.ts";
import { type Link, LINK_HEADROOM } from "../../../netstack/link.ts";
import type { TcpEndpoint } from "../../../netstack/tcp/endpoint.ts";
import * as header from "../../../netstack/tcp/header.ts";
import { TcpHost } from "./host.ts";

const HOST = IpAddress.v4(10, 0, 0, 1);
const PEER = IpAddress.v4(10, 0, 0, 2);
const PORT = 80;
const MSS = 1380;
const SLOT = 2_048;
/** Segments for which time stands still. */
const TURN = 256;

/** Packets, what applications read and write, and connections' text: one buffer, as in a gateway. */
const ARENA = new Uint8Array(20 * SLOT + (32 << 20));
const PACKET = 16 * SLOT;
const APPLICATION = 17 * SLOT;
const RINGS = 20 * SLOT;

/** The other end of `count` connections, as packets without memory. */
export class Peers {
  readonly host: TcpHost;
  readonly endpoints: TcpEndpoint[] = [];
  /** Of each connection: what we send next, and what the host has sent. */
  readonly #next: Int32Array;
  readonly #acknowledged: Int32Array;
  readonly #count: number;
  #slot = 0;
  #turn = 0;
  #steps = 0;
  /** In an array of anything: there the number is an object once, not at every reading. */
  #clock: [unknown, number] = [undefined, 1_000.5];

  constructor(count: number) {
    this.#count = count;
    this.#next = new Int32Array(count);
    this.#acknowledged = new Int32Array(count);
    const link: Link = {
      buffer: ARENA,
      allocate: () => (this.#slot = (this.#slot + 1) % 16) * SLOT + LINK_HEADROOM,
      release: () => {},
      transmit: (buffer, offset, length) => this.#take(buffer, offset, length),
      forward: () => false,
    };
    this.host = new TcpHost({
      link,
      address: HOST,
      settings: { backlog: count },
      ringRegion: { memory: ARENA, offset: RINGS, length: ARENA.length - RINGS },
    });
    this.host.tcp.listen({ port: PORT }, { accepted: (e) => this.endpoints.push(e) });
    for (let i = 0; i < count; i++) {
      this.#send(i, header.SYN, 0);
      this.#next[i] = 1;
      this.#send(i, header.ACK, 0);
      // The first ACKs are sent at once: not what goes on later.
      for (let j = 0; j < 16; j++) this.segmentIn(i);
    }
  }

  /** Text for the next connection; the application reads it. */
  segmentIn(i = this.#following()): void {
    this.#send(i, header.ACK, MSS);
    this.#next[i] = (this.#next[i]! + MSS) | 0;
    this.endpoints[i]!.read(ARENA, APPLICATION, MSS);
    if (++this.#steps % TURN === 0) this.#clock[1] += 0.25;
  }

  /** The next connection's application writes a segment; it goes out and is acknowledged. */
  segmentOut(): void {
    const i = this.#following();
    this.endpoints[i]!.write(ARENA, APPLICATION, MSS);
    this.host.flush(this.#clock[1]);
    this.#send(i, header.ACK, 0);
  }

  /** An ACK that says nothing new. */
  ack(): void {
    this.#send(this.#following(), header.ACK, 0);
  }

  #following(): number {
    return this.#turn = (this.#turn + 1) % this.#count;
  }

  #send(i: number, flags: number, length: number): void {
    const b = ARENA;
    const tcp = PACKET + 20;
    b[PACKET] = 0x45;
    writeUint16(b, PACKET + 2, 40 + length);
    b[PACKET + 8] = 64;
    b[PACKET + 9] = 6;
    for (let j = 0; j < 4; j++) {
      b[PACKET + 12 + j] = PEER.bytes[j]!;
      b[PACKET + 16 + j] = HOST.bytes[j]!;
    }
    writeUint16(b, PACKET + 10, 0);
    writeUint16(b, PACKET + 10, finish(sum(b, PACKET, 20, 0)));
    const ack = this.#acknowledged[i]!;
    header.writeHeader(b, tcp, 1 + i, PORT, this.#next[i]!, ack, 20, flags, 65_535);
    // The text is zeros: it does not change the checksum.
    const checksum = finish(sum(b, tcp, 20, sum(b, PACKET + 12, 8, 6 + 20 + length)));
    writeUint16(b, tcp + header.CHECKSUM, checksum);
    this.host.receive(b, PACKET, 40 + length, this.#clock[1]);
    this.host.flush(this.#clock[1]);
  }

  #take(buffer: Uint8Array, offset: number, length: number): void {
    const tcp = offset + 20;
    const i = readUint16(buffer, tcp + header.DESTINATION_PORT) - 1;
    const headerLength = 4 * (buffer[tcp + header.DATA_OFFSET]! >> 4);
    const syn = (buffer[tcp + header.FLAGS]! & header.SYN) !== 0 ? 1 : 0;
    const text = length - 20 - headerLength + syn;
    if (text > 0) {
      this.#acknowledged[i] = (readInt32(buffer, tcp + header.SEQUENCE) + text) | 0;
    }
  }
}
