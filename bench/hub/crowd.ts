/**
 * Thousands of peers in one process, for the bench of a hub: each is a device of ours with a UDP socket of
 * its own, at an address and a port that no other has, 10.77.x.y. What they are sent is counted, and not opened while they
 * are sent a lot: this process has the other core, and is not what is measured.
 *
 * Commands come as lines of JSON, each is answered by one.
 *
 * @module
 */

import { openArena } from "../../proxy/arena/arena.ts";
import {
  type Destination,
  openUdpLibc,
  ReceiveRing,
  SendBatch,
  SOCKADDR_IN_SIZE,
  writeSockaddr,
} from "../../ffi/mod.ts";
import { Device, type Peer, PlainEndpoint, SendResult } from "../../wireguard/mod.ts";
import { linesOf } from "../flood/process.ts";
import { Sockets } from "./sockets.ts";

/** The first line: who they are. */
export interface CrowdTask {
  readonly hub: { readonly address: string; readonly port: number; readonly publicKey: string };
  /** Private keys, hex: the nth peer is {@link innerAddress} of n. */
  readonly keys: readonly string[];
}

export type CrowdCommand =
  /** All of them shake hands, at once. */
  | {
    readonly do: "connect";
    readonly first: number;
    readonly end: number;
    readonly keepalive: number;
  }
  /** Until all of them have shaken hands again, whoever begins. */
  | { readonly do: "await" }
  /** From each `from[i]` to `to[i]`, in turn, as fast as it gets through. */
  | {
    readonly do: "send";
    readonly from: readonly number[];
    readonly to: readonly number[];
    readonly seconds: number;
    /** Bytes of a packet, and how many of a peer's leave one behind the other. */
    readonly size: number;
    readonly burst: number;
    /** Packets under way at most. */
    readonly window: number;
  };

export interface Connected {
  readonly connected: number;
  /** Until half of them, and all, were in. */
  readonly halfMs: number;
  readonly allMs: number;
  readonly initiations: number;
}

export interface Sent {
  readonly seconds: number;
  readonly sent: number;
  readonly received: number;
  readonly lost: number;
}

/** Inside the tunnel. Outside it is 10.77. in the place of 10.78. */
export const innerAddress = (n: number) => `10.78.${n >> 8}.${n & 255}`;

const MTU = 1420;
const FIRST_PORT = 10_000;
const TICK_MS = 1;
const PATIENCE_MS = 60_000;
/** Without progress for so long what is under way is lost. */
const LOST_MS = 50;
/** Largest datagram that is none of a session's own. */
const SMALL = 200;
const TYPE_DATA = 4;

interface Member {
  readonly device: Device;
  readonly peer: Peer;
  readonly fd: number;
}

class Crowd {
  readonly #libc = openUdpLibc();
  readonly #sockets = new Sockets();
  readonly #arena = openArena(MTU);
  readonly #ring: ReceiveRing;
  readonly #batch: SendBatch;
  readonly #members: Member[] = [];
  readonly #hub: Destination;
  /** Whose datagrams the batch has. */
  #sender = -1;
  /** Members with handshakes to work on. */
  readonly #busy = new Set<Member>();
  #isCounting = false;
  #received = 0;
  initiations = 0;

  constructor({ hub, keys }: CrowdTask) {
    const { memory, offset, length } = this.#arena.receiveRegion;
    this.#ring = new ReceiveRing(this.#libc, memory, offset, length);
    this.#batch = new SendBatch(this.#libc, this.#arena.pool.buffer, this.#arena.pool.slots);
    const address = Uint8Array.from(hub.address.split("."), Number);
    const endpoint = new PlainEndpoint(address, hub.port);
    const sockaddr = new Uint8Array(SOCKADDR_IN_SIZE);
    writeSockaddr(sockaddr, address, hub.port);
    this.#hub = { sockaddr, segmentLimit: Infinity };
    keys.forEach((key, n) => {
      const own = new Uint8Array(SOCKADDR_IN_SIZE);
      writeSockaddr(own, Uint8Array.of(10, 77, n >> 8, n), FIRST_PORT + n);
      const fd = this.#sockets.open(own, n);
      const device = new Device({
        privateKey: Uint8Array.fromHex(key),
        crypto: this.#arena.crypto,
        random: (out) => void crypto.getRandomValues(out as Uint8Array<ArrayBuffer>),
        wallClock: Date.now,
        mtu: MTU,
        sink: {
          transmit: (_endpoint, buffer, offset, length, mayTake) => {
            if (buffer[offset] === 1) this.initiations++;
            this.#push(fd, buffer, offset, length, mayTake);
            return mayTake;
          },
          receive: () => {},
        },
        now: performance.now(),
      });
      const peer = device.addPeer({
        publicKey: Uint8Array.fromHex(hub.publicKey),
        allowedIps: [{ address: new Uint8Array(4), length: 0 }],
        endpoint,
      }, performance.now());
      this.#members.push({ device, peer, fd });
    });
  }

  async connect(first: number, end: number, keepalive: number): Promise<Connected> {
    const members = this.#members.slice(first, end);
    const start = performance.now();
    this.initiations = 0;
    for (const member of members) {
      if (member.peer.hasSession) continue;
      member.peer.setPersistentKeepalive(keepalive, start);
      member.peer.initiate(start);
      this.#busy.add(member);
    }
    return await this.#until(members, ({ peer }) => peer.hasSession, start);
  }

  /** What {@link connect} says, of handshakes from now on. */
  async again(): Promise<Connected> {
    const start = performance.now();
    const since = Date.now();
    this.initiations = 0;
    return await this.#until(this.#members, ({ peer }) => peer.lastHandshake >= since, start);
  }

  /** Goes on until all of them are in. */
  async #until(
    members: readonly Member[],
    isIn: (member: Member) => boolean,
    start: number,
  ): Promise<Connected> {
    let halfMs = 0;
    for (;;) {
      this.tick();
      const now = performance.now();
      const connected = members.reduce((sum, member) => sum + Number(isIn(member)), 0);
      if (halfMs === 0 && connected * 2 >= members.length) halfMs = now - start;
      if (connected === members.length || now > start + PATIENCE_MS) {
        return { connected, halfMs, allMs: now - start, initiations: this.initiations };
      }
      await sleep(TICK_MS);
    }
  }

  async send(
    { from, to, seconds, size, burst, window }: Extract<CrowdCommand, { do: "send" }>,
  ): Promise<Sent> {
    const { pool } = this.#arena;
    const packets = from.map((source, i) => packetOf(size, source, to[i]!));
    const start = performance.now();
    const end = start + seconds * 1000;
    this.#isCounting = true;
    this.#received = 0;
    let sent = 0;
    let lost = 0;
    let progressAt = start;
    let turn = 0;
    let now = start;
    let yieldAt = start + 20;
    while (now < end) {
      const before = this.#received;
      this.#drain(now);
      now = performance.now();
      if (this.#received > before) progressAt = now;
      else if (now > progressAt + LOST_MS) {
        lost += sent - lost - this.#received;
        progressAt = now;
      }
      for (let left = 8; left > 0 && sent - lost - this.#received + burst <= window; left--) {
        const i = turn++ % from.length;
        const { device } = this.#members[from[i]!]!;
        for (let k = 0; k < burst; k++) {
          const at = pool.allocate();
          if (at < 0) break;
          pool.buffer.set(packets[i]!, at);
          if (device.sendPacket(pool.buffer, at, size, now) !== SendResult.Taken) pool.give(at);
          sent++;
        }
      }
      this.#flush();
      if (now > yieldAt) { // keepalives and handshakes go on
        this.#timers(now);
        await sleep(0);
        yieldAt = now + 20;
      }
    }
    const took = (performance.now() - start) / 1000;
    const received = this.#received;
    this.#isCounting = false;
    return { seconds: took, sent, received, lost };
  }

  tick(): void {
    const now = performance.now();
    this.#drain(now);
    this.#timers(now);
    this.#flush();
  }

  #timers(now: number): void {
    for (const member of this.#members) {
      const { device } = member;
      const at = device.pollTimeout();
      if (at > now) continue;
      device.handleTimeout(now);
      this.#busy.add(member);
    }
    for (const member of this.#busy) {
      if (!member.device.handleHandshakes(now, 1)) this.#busy.delete(member);
    }
  }

  #drain(now: number): void {
    this.#sockets.ready((number) => this.#drainOf(this.#members[number]!, now));
  }

  #drainOf(member: Member, now: number): void {
    const ring = this.#ring;
    ring.fill(member.fd);
    while (ring.next()) {
      const { memory, offset, length } = ring;
      if (this.#isCounting && length > SMALL && memory[offset] === TYPE_DATA) {
        this.#received++;
        continue;
      }
      member.device.handleDatagram(
        memory,
        offset,
        length,
        member.peer.endpoint as PlainEndpoint,
        now,
      );
      this.#busy.add(member);
    }
    ring.release();
  }

  #push(
    fd: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    isSlot: boolean,
  ): void {
    const { pool } = this.#arena;
    if (fd !== this.#sender) this.#flush();
    this.#sender = fd;
    let at = offset;
    if (!isSlot) {
      at = pool.take();
      if (at < 0) {
        this.#flush();
        at = pool.take();
      }
      if (at < 0) return;
      pool.buffer.set(buffer.subarray(offset, offset + length), at);
    }
    this.#batch.push(this.#hub, at, length);
    if (this.#batch.size >= pool.slots - 1) this.#flush();
  }

  #flush(): void {
    const { pool } = this.#arena;
    if (this.#batch.size === 0) return;
    while (!this.#batch.flush(this.#sender, (offset) => pool.give(offset)));
  }
}

/** A UDP packet of zeros, with its checksums: without one nothing could be coalesced behind a hub. */
function packetOf(size: number, from: number, to: number): Uint8Array {
  const packet = new Uint8Array(size);
  const view = new DataView(packet.buffer);
  view.setUint32(0, 0x45000000 | size);
  view.setUint16(6, 0x4000); // don't fragment
  view.setUint16(8, 64 << 8 | 17);
  view.setUint32(12, 10 << 24 | 78 << 16 | from);
  view.setUint32(16, 10 << 24 | 78 << 16 | to);
  view.setUint16(10, ~sumOf(view, 0, 20, 0));
  view.setUint32(20, 7 << 16 | 7);
  view.setUint16(24, size - 20);
  view.setUint16(26, ~sumOf(view, 12, size, 17 + size - 20));
  return packet;
}

/** The ones' complement sum of the words from an offset to another (RFC 1071). */
function sumOf(view: DataView, from: number, to: number, initial: number): number {
  let sum = initial;
  for (let i = from; i < to; i += 2) sum += view.getUint16(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

if (import.meta.main) {
  const lines = linesOf(Deno.stdin.readable);
  const crowd = new Crowd(JSON.parse((await lines.next()).value!));
  console.log(JSON.stringify({ ready: true }));
  let isIdle = true;
  (async () => {
    for (;;) {
      if (isIdle) crowd.tick();
      await sleep(2);
    }
  })();
  for await (const line of lines) {
    const command: CrowdCommand = JSON.parse(line);
    isIdle = false;
    const answer = command.do === "connect"
      ? await crowd.connect(command.first, command.end, command.keepalive)
      : command.do === "await"
      ? await crowd.again()
      : await crowd.send(command);
    isIdle = true;
    console.log(JSON.stringify(answer));
  }
  Deno.exit(0);
}
