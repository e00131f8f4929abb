import { IpAddress } from "../../../netstack/address.ts";
import { finish, sum } from "../../../netstack/checksum.ts";
import type { Link } from "../../../netstack/link.ts";
import { Nic } from "../../../netstack/nic.ts";
import { type MemoryRegion, RingMemory } from "../../../netstack/tcp/ring_memory.ts";
import { Tcp } from "../../../netstack/tcp/tcp.ts";
import type { TcpSettings } from "../../../netstack/tcp/settings.ts";
import type { Inbound, IpOutput, Path, UnreachableKind } from "../../../netstack/transport.ts";
import { Random } from "../../sim/random.ts";

/** A report that TCP asked IP to send. */
export interface Report {
  kind: UnreachableKind;
  original: Uint8Array;
}

export interface TcpHostOptions {
  link: Link;
  address: IpAddress;
  mtu?: number;
  seed?: number;
  /** Any destination is delivered, as behind NIC 2. */
  promiscuous?: boolean;
  settings?: Partial<TcpSettings>;
  ringRegion?: MemoryRegion;
}

/** TCP on the thinnest possible IP, so that a test of TCP shows TCP's faults only. */
export class TcpHost implements IpOutput {
  readonly sum = sum;
  readonly tcp: Tcp;
  readonly nic: Nic;
  readonly address: IpAddress;
  readonly reports: Report[] = [];
  /** How often a flush was asked for. */
  wakes = 0;
  readonly #random: Random;
  readonly #inbound: { -readonly [K in keyof Inbound]: Inbound[K] };

  constructor(options: TcpHostOptions) {
    const { link, address, mtu = 1500, seed = 1, settings = {}, ringRegion } = options;
    this.address = address;
    this.#random = new Random(seed);
    this.nic = new Nic(1, {
      name: "test",
      mtu,
      link,
      addresses: [{ address, length: address.version === 4 ? 24 : 64 }],
      promiscuous: options.promiscuous ?? false,
      spoofing: options.promiscuous ?? false,
    });
    this.tcp = new Tcp(this, settings, new RingMemory(ringRegion));
    this.#inbound = {
      nic: this.nic,
      ingress: this.nic,
      from: undefined,
      version: 4,
      local: true,
      buffer: new Uint8Array(0),
      ipOffset: 0,
      source: 0,
      destination: 0,
      transport: 0,
      length: 0,
      hopLimit: 64,
      trafficClass: 0,
    };
  }

  /** A packet for this host, headers taken as they are. */
  readonly receive = (buffer: Uint8Array, offset: number, _length: number, now: number): void => {
    const inbound = this.#inbound;
    const version = buffer[offset]! >> 4 === 4 ? 4 : 6;
    inbound.version = version;
    inbound.buffer = buffer;
    inbound.ipOffset = offset;
    if (version === 4) {
      if (finish(sum(buffer, offset, 20, 0)) !== 0) return;
      inbound.source = offset + 12;
      inbound.destination = offset + 16;
      inbound.transport = offset + 20;
      inbound.length = (buffer[offset + 2]! << 8 | buffer[offset + 3]!) - 20;
    } else {
      inbound.source = offset + 8;
      inbound.destination = offset + 24;
      inbound.transport = offset + 40;
      inbound.length = buffer[offset + 4]! << 8 | buffer[offset + 5]!;
    }
    inbound.local = this.address.matches(buffer, inbound.destination, version);
    if (!inbound.local && !this.nic.promiscuous) return;
    this.tcp.handlePacket(inbound, now);
  };

  flush(now: number, budget = 1024): boolean {
    return this.tcp.flush(now, budget);
  }

  pollTimeout(): number {
    return this.tcp.pollTimeout();
  }

  handleTimeout(now: number): void {
    this.tcp.handleTimeout(now);
  }

  allocate(path: Path): number {
    const offset = path.nic.link.allocate();
    return offset < 0 ? -1 : offset + path.headerLength;
  }

  release(path: Path, offset: number): void {
    path.nic.link.release(offset - path.headerLength);
  }

  transmit(path: Path, offset: number, length: number, now: number): void {
    const link = path.nic.link;
    const buffer = link.buffer;
    const start = offset - path.headerLength;
    const { source, destination } = path;
    if (path.version === 4) {
      const total = length + 20;
      buffer[start] = 0x45;
      buffer[start + 1] = 0;
      buffer[start + 2] = total >> 8;
      buffer[start + 3] = total;
      buffer.fill(0, start + 4, start + 12);
      buffer[start + 6] = path.dontFragment ? 0x40 : 0;
      buffer[start + 8] = path.hopLimit;
      buffer[start + 9] = path.protocol;
      for (let i = 0; i < 4; i++) {
        buffer[start + 12 + i] = source.bytes[i]!;
        buffer[start + 16 + i] = destination.bytes[i]!;
      }
      const checksum = finish(sum(buffer, start, 20, 0));
      buffer[start + 10] = checksum >> 8;
      buffer[start + 11] = checksum;
    } else {
      buffer.fill(0, start, start + 40);
      buffer[start] = 0x60;
      buffer[start + 4] = length >> 8;
      buffer[start + 5] = length;
      buffer[start + 6] = path.protocol;
      buffer[start + 7] = path.hopLimit;
      buffer.set(source.bytes, start + 8);
      buffer.set(destination.bytes, start + 24);
    }
    link.transmit(buffer, start, length + path.headerLength, now, path.hop);
  }

  /** As over its rate limit. */
  isIcmpSilent = false;

  route(_destination: IpAddress): { nic: Nic; source: IpAddress } | undefined {
    return { nic: this.nic, source: this.address };
  }

  sendUnreachable(
    kind: UnreachableKind,
    _ingress: Nic,
    original: Uint8Array,
    offset: number,
    length: number,
  ): boolean {
    if (this.isIcmpSilent) return false;
    this.reports.push({ kind, original: original.slice(offset, offset + length) });
    return true;
  }

  random(out: Uint8Array): void {
    for (let i = 0; i < out.length; i++) out[i] = this.#random.below(256);
  }

  markDirty(): void {
    this.wakes++;
  }
}
