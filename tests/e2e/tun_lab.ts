/**
 * The kernel's TCP and ours on the two ends of a link that we make ourselves:
 *
 *     program ── kernel ── TUN ── LossyLink ⇄ LossyLink ── Stack        (or a second kernel)
 *
 * The TUN is moved into a namespace; its packets come and go in this process.
 *
 * @module
 */

import { TunDevice } from "../../ffi/tun/mod.ts";
import {
  type Link,
  LINK_HEADROOM,
  LINK_TAILROOM,
  type Nic,
  Prefix,
  Stack,
  type TcpSettings,
} from "../../netstack/mod.ts";
import { parseInterfaceAddress } from "../../proxy/address.ts";
import type { TimeoutSource } from "../../proxy/engine/engine.ts";
import { HostDialer } from "../../proxy/target/tcp.ts";
import { admission, forwarderOptions, map } from "../proxy/forward/lab.ts";
import { TcpForwarder } from "../../proxy/forward/tcp_forwarder.ts";
import type { Host } from "./lab.ts";
import { LossyLink, type LossyLinkOptions } from "./lossy_link.ts";
import { output } from "./process.ts";

/** Packets read in one turn of the event loop. */
const BATCH = 64;
/** Segments sent in one round of a flush: the gateway's figure. */
const FLUSH_BUDGET = 32;

/** An end of a link. */
export interface PacketPort {
  /** Where the packets go that this end sends. They are borrowed. */
  output: (packet: Uint8Array) => void;
  /** Takes a packet for itself. */
  input(packet: Uint8Array): void;
}

/** Both directions between two ends. */
export class Cable implements Disposable {
  readonly forward: LossyLink;
  readonly backward: LossyLink;

  constructor(a: PacketPort, b: PacketPort, options: LossyLinkOptions) {
    this.forward = new LossyLink(options, (packet) => b.input(packet));
    this.backward = new LossyLink(
      { ...options, seed: options.seed + 1 },
      (packet) => a.input(packet),
    );
    a.output = (packet) => this.forward.send(packet);
    b.output = (packet) => this.backward.send(packet);
  }

  [Symbol.dispose](): void {
    this.forward.close();
    this.backward.close();
  }
}

/** The interface `tun` of a host. */
export class KernelPort implements PacketPort, AsyncDisposable {
  output: (packet: Uint8Array) => void = () => {};
  readonly tun: TunDevice;
  readonly #pump: Promise<void>;

  private constructor(tun: TunDevice) {
    this.tun = tun;
    this.#pump = this.#run();
  }

  /** @param addresses With prefix lengths. */
  static async open(host: Host, addresses: string[], mtu = 1500): Promise<KernelPort> {
    const tun = TunDevice.open({ name: `ws${Deno.pid}t%d`, offload: false });
    try {
      await output(["ip", "link", "set", tun.name, "netns", host.namespace, "name", "tun"]);
      // Without link-local addresses, which the kernel would solicit and report from by itself.
      await host.ip("link set tun addrgenmode none", `link set tun mtu ${mtu} up`);
      await host.addAddresses("tun", addresses);
    } catch (error) {
      await tun.close();
      throw error;
    }
    return new KernelPort(tun);
  }

  input(packet: Uint8Array): void {
    this.tun.write(packet);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.tun.close();
    await this.#pump;
  }

  async #run(): Promise<void> {
    while (await this.tun.readable()) {
      this.tun.drain((memory, offset, length) => {
        this.output(memory.subarray(offset, offset + length));
      }, BATCH);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

export interface StackPortOptions {
  /** With prefix lengths; each makes a route. */
  readonly addresses: string[];
  readonly mtu?: number;
  /** Answers for every address: the stack of a gateway with its forwarders on this one NIC. */
  readonly isGateway?: boolean;
  readonly tcp?: Partial<TcpSettings>;
}

/** A stack of ours in real time: the gateway's engine without WireGuard. */
export class StackPort implements PacketPort, Link, Disposable {
  output: (packet: Uint8Array) => void = () => {};
  /** One slot: a packet has left when {@link transmit} returns. */
  readonly buffer: Uint8Array;
  readonly stack: Stack;
  readonly nic: Nic;
  /** Whose deadlines are served beside the stack's. */
  readonly #sources: TimeoutSource[] = [];
  #isScheduled = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor(options: StackPortOptions) {
    const { mtu = 1500, isGateway = false, tcp = {} } = options;
    const addresses = options.addresses.map((text) => parseInterfaceAddress(text)!);
    this.buffer = new Uint8Array(LINK_HEADROOM + mtu + LINK_TAILROOM);
    this.stack = new Stack({
      random: (out) => {
        crypto.getRandomValues(out);
      },
      wake: () => this.wake(),
      tcp,
    });
    this.nic = this.stack.addNic({
      ...{ name: "tun", mtu, link: this, addresses },
      ...{ promiscuous: isGateway, spoofing: isGateway },
    });
    for (const { address, length } of addresses) {
      this.stack.routes.insert(new Prefix(address, length), this.nic);
    }
  }

  now(): number {
    return performance.now();
  }

  /** Dials `to` for who asks for `from`, an address each, as the gateway does. */
  forwardTcp(from: string, to: string): TcpForwarder {
    const forwarder = new TcpForwarder({
      ...forwarderOptions().options,
      admission: admission({ maps: [map(from, to)] }),
      dialer: new HostDialer(),
      now: () => this.now(),
      wake: () => this.wake(),
    });
    this.stack.tcp.setForwarder(this.nic, forwarder);
    this.#sources.push(forwarder);
    return forwarder;
  }

  input(packet: Uint8Array): void {
    this.stack.handlePacket(this.nic, packet, 0, packet.length, this.now());
    this.wake();
  }

  allocate(): number {
    return LINK_HEADROOM;
  }

  release(): void {}

  forward(buffer: Uint8Array, offset: number, length: number): boolean {
    this.transmit(buffer, offset, length);
    return true;
  }

  transmit(buffer: Uint8Array, offset: number, length: number): void {
    this.output(buffer.subarray(offset, offset + length));
  }

  /** Asks for a turn. */
  wake(): void {
    if (this.#isScheduled || this.#isClosed) return;
    this.#isScheduled = true;
    setImmediate(() => this.#turn());
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #turn(): void {
    this.#isScheduled = false;
    if (this.#isClosed) return;
    const now = this.now();
    let next = Infinity;
    for (const source of [this.stack, ...this.#sources]) {
      if (source.pollTimeout() <= now) source.handleTimeout(now);
    }
    const isMore = this.stack.flush(now, FLUSH_BUDGET);
    for (const source of [this.stack, ...this.#sources]) {
      next = Math.min(next, source.pollTimeout());
    }
    clearTimeout(this.#timer);
    if (isMore) this.wake();
    else if (next !== Infinity) {
      this.#timer = setTimeout(() => this.wake(), Math.max(0, Math.ceil(next - now)));
    }
  }
}
