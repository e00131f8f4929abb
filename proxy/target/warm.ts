/**
 * Warm connections: a few to each target that a rule wants them for, kept ready so that a flow need not
 * wait for its dial.
 *
 * With a target that speaks first, or that closes idle connections, none stay ready: what arrives on one
 * would belong to nobody.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { WarmConnection } from "./warm_connection.ts";
import {
  WarmConnections,
  type WarmCounters,
  type WarmOptions,
  type WarmTarget,
} from "./warm_target.ts";

export class WarmPool {
  readonly counters: WarmCounters = { opened: 0, used: 0, spoilt: 0 };
  readonly #options: WarmOptions;
  readonly #targets = new Map<string, WarmConnections>();

  constructor(options: WarmOptions) {
    this.#options = options;
  }

  /** Connections that are ready, or being made. */
  get size(): number {
    let size = 0;
    for (const target of this.#targets.values()) size += target.size;
    return size;
  }

  /**
   * Keeps connections to these targets ready, and to no others. Of a target listed twice the larger
   * count is kept.
   */
  set(targets: readonly WarmTarget[]): void {
    const wanted = new Map<string, WarmTarget>();
    for (const target of targets) {
      const key = keyOf(target.to, target.port);
      if (target.count > (wanted.get(key)?.count ?? 0)) wanted.set(key, target);
    }
    for (const [key, target] of this.#targets) {
      if (wanted.has(key)) continue;
      target.close();
      this.#targets.delete(key);
    }
    for (const [key, target] of wanted) {
      let known = this.#targets.get(key);
      if (known === undefined) {
        known = new WarmConnections(target, this.#options, this.counters);
        this.#targets.set(key, known);
      }
      known.setCount(target.count);
    }
  }

  /**
   * A connection for one flow, which waits for a turn of the event loop and then looks whether it is
   * still {@link WarmConnection.isReady}.
   */
  take(to: IpAddress | string, port: number): WarmConnection | undefined {
    if (this.#targets.size === 0) return undefined;
    return this.#targets.get(keyOf(to, port))?.take();
  }

  /**
   * This host has run out of descriptors: closes connections that no flow uses, and makes none for
   * a while.
   */
  giveUp(): void {
    for (const target of this.#targets.values()) target.giveUp();
  }

  close(): void {
    this.set([]);
  }
}

function keyOf(to: IpAddress | string, port: number): string {
  return `${to} ${port}`;
}
