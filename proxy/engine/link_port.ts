/**
 * A NIC beside WireGuard's, the link that carries its packets, and their way into the stack.
 *
 * @module
 */

import { NOWHERE, type PacketLink } from "../link/packet_link.ts";
import { type PacketObserver, Tap } from "../link/tap.ts";
import type { Nat, Nic, NicAddress, Stack } from "../../netstack/mod.ts";

export interface LinkOptions {
  /** Of the NIC, for people. */
  readonly name: string;
  /** Bytes. */
  readonly mtu: number;
  /** The stack's own, on this NIC. Default: none. They make no routes. */
  readonly addresses?: readonly NicAddress[];
  /** Whether packets that are routed here leave by the link. */
  readonly forwarding: boolean;
  /** Whether what passes from here to another link, or back, keeps its TTL. Default: it does not. */
  readonly keepsHopLimit?: boolean;
  /** What those behind the link appear as to other links. Default: what they are. */
  readonly nat?: Nat;
  /** Whose the packets are that come by the link: opaque, as for `Stack.handlePacket`. */
  readonly from?: unknown;
  /**
   * Whether a packet may come in here; called for each that is long enough for an IP header. It counts
   * what it refuses. Default: all may.
   */
  readonly accepts?: (buffer: Uint8Array, offset: number, length: number) => boolean;
  /** The link has ended by itself; its NIC is gone. */
  readonly onClosed?: (error?: Error) => void;
}

/** A link that has been added to an engine. Its routes are the caller's to insert. */
export interface EngineLink {
  readonly link: PacketLink;
  readonly nic: Nic;
  /** Counts while it is in use, see {@link EngineLink.observe}. */
  readonly tap: Tap;
  /** Shows `observer` every packet of the link, both ways, until what is returned is called. */
  observe(observer: PacketObserver): () => void;
  /**
   * Closes the link and takes its NIC out of the stack, with routes, connections and flows; nobody
   * behind it is told. Idempotent. Resolves when the link is closed.
   */
  remove(): Promise<void>;
}

/** What a port needs of its engine. */
export interface PortHost {
  readonly stack: Stack;
  /** Asks for a turn, also from within one. */
  rouse(): void;
  removed(port: LinkPort): void;
}

export class LinkPort implements EngineLink {
  readonly link: PacketLink;
  readonly nic: Nic;
  readonly tap: Tap;
  readonly from: unknown;
  readonly #host: PortHost;
  #removal: Promise<void> | undefined;

  constructor(host: PortHost, link: PacketLink, options: LinkOptions) {
    const { name, mtu, addresses = [], forwarding, keepsHopLimit = false, accepts } = options;
    this.#host = host;
    this.link = link;
    this.from = options.from;
    this.tap = new Tap(link);
    const { stack } = host;
    const nic = stack.addNic({ name, mtu, link, addresses, forwarding, keepsHopLimit });
    this.nic = nic;
    try {
      stack.setNat(nic, options.nat);
    } catch (error) {
      stack.removeNic(nic);
      throw error;
    }
    const { from, tap } = this;
    link.start({
      receive: (buffer, offset, length, now) => {
        if (accepts !== undefined && !accepts(buffer, offset, length)) return;
        if (nic.link === tap) tap.received(buffer, offset, length, now, from);
        stack.handlePacket(nic, buffer, offset, length, now, from);
      },
      onReadable: () => host.rouse(),
      onClosed: (error) => {
        if (this.#removal !== undefined) return;
        this.remove();
        options.onClosed?.(error);
      },
    });
  }

  observe(observer: PacketObserver): () => void {
    return observeNic(this.nic, this.tap, observer);
  }

  remove(): Promise<void> {
    this.#removal ??= this.#remove();
    return this.#removal;
  }

  async #remove(): Promise<void> {
    const { nic, link } = this;
    this.#host.removed(this);
    nic.link = NOWHERE; // what has no way out any more must not wait for one
    this.#host.stack.removeNic(nic);
    this.#host.rouse();
    await link.close();
  }
}

/** Puts `tap` around the link of `nic` for as long as somebody looks. */
export function observeNic(nic: Nic, tap: Tap, observer: PacketObserver): () => void {
  tap.add(observer);
  if (nic.link === tap.link) nic.link = tap;
  return () => {
    tap.remove(observer);
    if (tap.isIdle && nic.link === tap) nic.link = tap.link;
  };
}
