/**
 * The established path of TCP: a segment in, a segment out, an ACK; with 1 and with 1,000
 * connections in turn. IP is the thinnest possible. The checksum has cases of its own: subtract it.
 */

import { IpAddress } from "../netstack/address.ts";
import { readUint16, writeUint16, writeUint32 } from "../netstack/bytes.ts";
import { finish, sum } from "../netstack/checksum.ts";
import { type Link, LINK_HEADROOM } from "../netstack/link.ts";
import type { TcpEndpoint } from "../netstack/tcp/endpoint.ts";
import * as header from "../netstack/tcp/header.ts";
import { TcpHost } from "../tests/netstack/tcp/host.ts";

const HOST = IpAddress.v4(10, 0, 0, 1);
const PEER = IpAddress.v4(10, 0, 0, 2);
const PORT = 80;
const MSS = 1380;
const SLOT = 2_048;
const TEXT = new Uint8Array(MSS);

/** The other end of `count` connections, as packets without memory. */
class Peers {
  readonly host: TcpHost;
  readonly endpoints: TcpEndpoint[] = [];
  /** Of each connection: what we send next, and what the host has sent. */
  readonly #next: Int32Array;
  readonly #acknowledged: Int32Array;
  readonly #packet = new Uint8Array(SLOT);
  readonly #out = new Uint8Array(16 * SLOT);
  readonly #scratch = new Uint8Array(SLOT);
  readonly #count: number;
  #slot = 0;
  #turn = 0;
  #now = 1_000;

  constructor(count: number) {
    this.#count = count;
    this.#next = new Int32Array(count);
    this.#acknowledged = new Int32Array(count);
    const link: Link = {
      buffer: this.#out,
      allocate: () => (this.#slot = (this.#slot + 1) % 16) * SLOT + LINK_HEADROOM,
      release: () => {},
      transmit: (buffer, offset, length) => this.#take(buffer, offset, length),
    };
    this.host = new TcpHost({ link, address: HOST, settings: { backlog: count } });
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
    this.endpoints[i]!.read(this.#scratch, 0, MSS);
    this.#now += 0.001;
  }

  /** The next connection's application writes a segment; it goes out and is acknowledged. */
  segmentOut(): void {
    const i = this.#following();
    this.endpoints[i]!.write(TEXT, 0, MSS);
    this.host.flush(this.#now);
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
    const b = this.#packet;
    b[0] = 0x45;
    writeUint16(b, 2, 40 + length);
    b[8] = 64;
    b[9] = 6;
    for (let j = 0; j < 4; j++) {
      b[12 + j] = PEER.bytes[j]!;
      b[16 + j] = HOST.bytes[j]!;
    }
    writeUint16(b, 10, 0);
    writeUint16(b, 10, finish(sum(b, 0, 20, 0)));
    const ack = this.#acknowledged[i]!;
    header.writeHeader(b, 20, 1 + i, PORT, this.#next[i]!, ack, 20, flags, 65_535);
    // The text is zeros: it does not change the checksum.
    const checksum = finish(sum(b, 20, 20, sum(b, 12, 8, 6 + 20 + length)));
    writeUint16(b, 20 + header.CHECKSUM, checksum);
    this.host.receive(b, 0, 40 + length, this.#now);
    this.host.flush(this.#now);
  }

  #take(buffer: Uint8Array, offset: number, length: number): void {
    const tcp = offset + 20;
    const i = readUint16(buffer, tcp + header.DESTINATION_PORT) - 1;
    const headerLength = 4 * (buffer[tcp + header.DATA_OFFSET]! >> 4);
    const syn = (buffer[tcp + header.FLAGS]! & header.SYN) !== 0 ? 1 : 0;
    const text = length - 20 - headerLength + syn;
    if (text > 0) {
      this.#acknowledged[i] = (header.readInt32(buffer, tcp + header.SEQUENCE) + text) | 0;
    }
  }
}

const packet = new Uint8Array(1_420);
writeUint32(packet, 0, 0x4500058c);
Deno.bench("checksums of a segment: 20 + 20 + 1,400 bytes", { group: "checksum" }, () => {
  finish(sum(packet, 0, 20, 0));
  finish(sum(packet, 20, 1_400, 0));
});
Deno.bench("checksums of an ACK: 20 + 20 bytes", { group: "checksum" }, () => {
  finish(sum(packet, 0, 20, 0));
  finish(sum(packet, 20, 20, 0));
});

for (const count of [1, 1_000]) {
  const peers = new Peers(count);
  const of = count === 1 ? "1 connection" : `${count} connections`;
  const group = of;
  Deno.bench(`a segment in, read; every second one acknowledged (${of})`, { group }, () => {
    peers.segmentIn();
  });
  Deno.bench(`a segment written and out, its ACK in (${of})`, { group }, () => {
    peers.segmentOut();
  });
  Deno.bench(`an ACK in that says nothing new (${of})`, { group }, () => {
    peers.ack();
  });
}
