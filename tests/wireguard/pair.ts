/**
 * Two devices and a wire between them, in simulated time.
 *
 * @module
 */

import {
  type AllowedIp,
  type Crypto,
  Device,
  type DeviceEvent,
  type Endpoint,
  generatePrivateKey,
  nobleCrypto,
  type Peer,
  type PeerHop,
  type PeerOptions,
  PlainEndpoint,
  SendResult,
  type TimerSettings,
} from "../../wireguard/mod.ts";

export interface Datagram {
  readonly bytes: Uint8Array;
  readonly from: PlainEndpoint;
  readonly to: Endpoint;
  readonly sentAt: number;
  readonly type: number;
}

/** mulberry32: a seeded source of bytes, good enough for keys that protect nothing. */
export function seededRandom(seed: number): (out: Uint8Array) => void {
  let state = seed >>> 0;
  return (out) => {
    for (let i = 0; i < out.length; i++) {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = state;
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      out[i] = (t ^ (t >>> 14)) >>> 0;
    }
  };
}

/** Endpoints are interned: the same text is the same object. */
const endpoints = new Map<string, PlainEndpoint>();

export function endpoint(address: string | Uint8Array, port: number): PlainEndpoint {
  const bytes = typeof address === "string" ? v4(address) : address;
  const name = `${bytes.join(".")}:${port}`;
  let found = endpoints.get(name);
  if (found === undefined) {
    found = new PlainEndpoint(bytes, port);
    endpoints.set(name, found);
  }
  return found;
}

export function v4(text: string): Uint8Array {
  return Uint8Array.from(text.split("."), Number);
}

/** The nth of many strangers, each with an address of its own. */
export function stranger(n: number): PlainEndpoint {
  return endpoint(Uint8Array.of(100, 64, n >>> 8, n), 1 + n);
}

/** 10.0.0.x/32 */
export function host(last: number): AllowedIp {
  return { address: Uint8Array.of(10, 0, 0, last), length: 32 };
}

/** An IPv4 packet of `length` bytes whose payload counts up from `mark`. */
export function ipv4Packet(source: string, destination: string, length = 84, mark = 0): Uint8Array {
  const packet = new Uint8Array(length);
  packet[0] = 0x45;
  packet[2] = length >>> 8;
  packet[3] = length;
  packet[8] = 64;
  packet[9] = 17;
  packet.set(v4(source), 12);
  packet.set(v4(destination), 16);
  for (let i = 20; i < length; i++) packet[i] = mark + i;
  return packet;
}

/** One device with everything it put out. */
export class Host {
  readonly device: Device;
  readonly events: DeviceEvent[] = [];
  readonly received: { peer: Peer; bytes: Uint8Array; at: number }[] = [];
  /** Datagrams on their way out, for {@link Network} to carry. */
  readonly outbox: Datagram[] = [];
  /** Where the last datagram was when it was handed over. */
  lastTransmit: { buffer: Uint8Array; offset: number; length: number } | undefined;
  /** Whether the sink keeps the buffers that it may. */
  takes = false;
  /** Every datagram this host has sent. */
  readonly sent: Datagram[] = [];
  /** Set back or forward to see what a wall clock can do. */
  wallOffset = 1_700_000_000_000;
  address: PlainEndpoint;
  now = 0;

  constructor(
    seed: number,
    address: PlainEndpoint,
    options: {
      timers?: Partial<TimerSettings>;
      mtu?: number;
      privateKey?: Uint8Array;
      crypto?: Crypto;
    } = {},
  ) {
    const random = seededRandom(seed);
    this.address = address;
    this.device = new Device({
      privateKey: options.privateKey ?? generatePrivateKey(random),
      crypto: options.crypto ?? nobleCrypto,
      random,
      wallClock: () => this.wallOffset + this.now,
      sink: {
        transmit: (to, buffer, offset, length, mayTake) => {
          const bytes = buffer.slice(offset, offset + length);
          const datagram = {
            bytes,
            from: this.address,
            to,
            sentAt: this.now,
            type: bytes[0]!,
          };
          this.lastTransmit = { buffer, offset, length };
          this.outbox.push(datagram);
          this.sent.push(datagram);
          return mayTake && this.takes;
        },
        receive: (peer, buffer, offset, length, at) => {
          this.received.push({ peer, bytes: buffer.slice(offset, offset + length), at });
        },
        event: (event) => this.events.push(event),
      },
      mtu: options.mtu,
      timers: options.timers,
      now: 0,
    });
  }

  /** Sends an inner packet from a buffer with the promised room around it. */
  send(packet: Uint8Array, hop?: PeerHop): SendResult {
    const buffer = new Uint8Array(16 + packet.length + 32).fill(0xee);
    buffer.set(packet, 16);
    return this.device.sendPacket(buffer, 16, packet.length, this.now, hop);
  }

  receive(datagram: Datagram, from = datagram.from): void {
    this.device.handleDatagram(datagram.bytes.slice(), 0, datagram.bytes.length, from, this.now);
  }

  /** Receives a handshake message, and gives it its turn. */
  handle(datagram: Datagram, from = datagram.from): void {
    this.receive(datagram, from);
    this.device.handleHandshakes(this.now, 1);
  }

  /** Datagrams of one type sent since the last call, or ever. */
  sentOfType(type: number): Datagram[] {
    return this.sent.filter((datagram) => datagram.type === type);
  }

  eventTypes(): string[] {
    return this.events.map((event) => event.type);
  }
}

/** Carries datagrams between hosts and jumps from deadline to deadline. */
export class Network {
  now = 0;
  /** Return false to lose a datagram. */
  filter: (datagram: Datagram) => boolean = () => true;

  constructor(readonly hosts: Host[]) {}

  /** Delivers everything that is on its way, and what comes of it, at this instant. */
  settle(): void {
    for (;;) {
      let busy = false;
      for (const sender of this.hosts) {
        if (sender.device.handleHandshakes(this.now, 16)) busy = true;
        for (const datagram of sender.outbox.splice(0)) {
          busy = true;
          if (!this.filter(datagram)) continue;
          for (const receiver of this.hosts) {
            if (receiver.address === datagram.to) receiver.receive(datagram);
          }
        }
      }
      if (!busy) return;
    }
  }

  /** Lets `ms` pass. */
  advance(ms: number): void {
    const end = this.now + ms;
    this.settle();
    for (;;) {
      const next = Math.min(...this.hosts.map((host) => host.device.pollTimeout()));
      if (next > end) break;
      this.#jump(Math.max(next, this.now));
      for (const host of this.hosts) host.device.handleTimeout(this.now);
      this.settle();
    }
    this.#jump(end);
  }

  #jump(now: number): void {
    this.now = now;
    for (const host of this.hosts) host.now = now;
  }
}

/** `a` (10.0.0.1) and `b` (10.0.0.2) know each other; `a` knows where `b` is. */
export class Pair extends Network {
  readonly a: Host;
  readonly b: Host;
  /** b as seen by a. */
  readonly ab: Peer;
  /** a as seen by b. */
  readonly ba: Peer;

  constructor(options: {
    timers?: Partial<TimerSettings>;
    mtu?: number;
    crypto?: Crypto;
    a?: Partial<PeerOptions>;
    b?: Partial<PeerOptions>;
    seed?: number;
  } = {}) {
    const seed = options.seed ?? 1;
    const a = new Host(seed, endpoint("192.0.2.1", 1001), options);
    const b = new Host(seed + 1000, endpoint("192.0.2.2", 1002), options);
    super([a, b]);
    this.a = a;
    this.b = b;
    this.ab = a.device.addPeer({
      publicKey: b.device.publicKey,
      allowedIps: [host(2)],
      endpoint: b.address,
      ...options.a,
    }, 0);
    this.ba = b.device.addPeer({
      publicKey: a.device.publicKey,
      allowedIps: [host(1)],
      ...options.b,
    }, 0);
  }

  /** A session initiated by `a`, confirmed, at time 0. */
  connect(): this {
    this.ab.initiate(this.now);
    this.settle();
    if (!this.ba.hasSession) throw new Error("no session");
    return this;
  }

  aToB(length = 84, mark = 0): SendResult {
    return this.a.send(ipv4Packet("10.0.0.1", "10.0.0.2", length, mark));
  }

  bToA(length = 84, mark = 0): SendResult {
    return this.b.send(ipv4Packet("10.0.0.2", "10.0.0.1", length, mark));
  }
}
