/**
 * The links of an engine beside WireGuard's, in its turns.
 *
 * @module
 */

import type { PacketLink } from "../link/packet_link.ts";
import { type EngineLink, type LinkOptions, LinkPort, type PortHost } from "./link_port.ts";

/** What links need of their engine. */
export interface LinksHost extends Pick<PortHost, "stack" | "rouse"> {
  /** Whether packets for the tunnel leave at once. */
  readonly hasRoom: boolean;
  /** A defect, which stops nobody else. */
  fault(error: unknown): void;
}

export class Links {
  readonly #host: LinksHost;
  #ports: readonly LinkPort[] = [];

  constructor(host: LinksHost) {
    this.#host = host;
  }

  get all(): readonly EngineLink[] {
    return this.#ports;
  }

  get isEmpty(): boolean {
    return this.#ports.length === 0;
  }

  add(link: PacketLink, options: LinkOptions): EngineLink {
    const { stack, rouse } = this.#host;
    const port = new LinkPort(
      {
        stack,
        rouse,
        removed: (gone) => this.#ports = this.#ports.filter((other) => other !== gone),
      },
      link,
      options,
    );
    this.#ports = [...this.#ports, port];
    rouse();
    return port;
  }

  /** Whether a link has packets and the tunnel has room for them; without room they are not read. */
  get hasReady(): boolean {
    for (let i = 0; i < this.#ports.length; i++) {
      if (this.#ports[i]!.link.hasReady && this.#host.hasRoom) return true;
    }
    return false;
  }

  drain(now: number): void {
    const ports = this.#ports; // one that ends does not shift the others
    for (let i = 0; i < ports.length; i++) {
      const { link } = ports[i]!;
      if (!link.hasReady || !this.#host.hasRoom) continue;
      try {
        link.drain(now);
      } catch (error) {
        this.#host.fault(error);
      }
    }
  }

  flush(isMoreAtHand: boolean): void {
    const ports = this.#ports;
    for (let i = 0; i < ports.length; i++) {
      try {
        ports[i]!.link.flush(isMoreAtHand);
      } catch (error) {
        this.#host.fault(error);
      }
    }
  }

  /** Bytes that all links but those of `from` have moved, both ways. */
  bytesBeside(from: unknown): number {
    let total = 0;
    for (let i = 0; i < this.#ports.length; i++) {
      const port = this.#ports[i]!;
      const { bytesIn, bytesOut } = port.link.counters;
      if (from === undefined || port.from !== from) total += bytesIn + bytesOut;
    }
    return total;
  }

  async close(): Promise<void> {
    await Promise.all(this.#ports.map((port) => port.remove()));
  }
}
