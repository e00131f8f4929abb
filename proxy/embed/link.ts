/**
 * Packets of an embedder's own, as a link beside WireGuard.
 *
 * @module
 */

import type { ListInput } from "../config/config.ts";
import { ParseFailure, parsePeerName } from "../config/values.ts";
import type { Gateway, LinkStats } from "../gateway/gateway.ts";
import type { AttachedLink } from "../gateway/links.ts";
import { WebStreamsLink } from "../link/web_streams.ts";
import type { Prefix } from "../../netstack/mod.ts";

/** Where a link's packets come from and go to. */
export interface AddLinkOptions {
  /** IP packets, one in each chunk. */
  readonly readable: ReadableStream<Uint8Array>;
  /** As {@link readable}, to the other side. A chunk is the writer's to keep. */
  readonly writable: WritableStream<Uint8Array>;
  /** In rules, flows and figures; no other link's and no peer's. Default `link1`, `link2` … */
  readonly name?: string;
  /** What is behind it. Missing: anything that is nowhere else, and nothing is routed to it. */
  readonly prefixes?: ListInput;
  /** Bytes. Default 1500. */
  readonly mtu?: number;
}

/** A link that was added. */
export class TunnelLink implements AsyncDisposable {
  readonly name: string;
  /** Resolves when it has ended, by either side; rejects if one of the streams has failed. */
  readonly closed: Promise<void>;
  readonly #gateway: Gateway;
  readonly #attached: AttachedLink;
  readonly #ended = Promise.withResolvers<void>();

  /**
   * @throws {TypeError} if a stream is locked, or a name is none or taken.
   * @throws {RangeError} for an MTU out of range.
   */
  constructor(gateway: Gateway, options: AddLinkOptions, prefixes: readonly Prefix[]) {
    const { readable, writable, mtu = DEFAULT_MTU } = options;
    this.name = nameOf(gateway, options.name);
    this.closed = this.#ended.promise;
    this.closed.catch(() => {}); // no unhandled rejection: a caller that awaits it sees the error
    if (!Number.isInteger(mtu) || mtu < 576 || mtu > 65_535) {
      throw new RangeError(`mtu: expected 576 to 65535, got ${mtu}`);
    }
    const link = new WebStreamsLink({ name: this.name, mtu, readable, writable });
    this.#gateway = gateway;
    this.#attached = gateway.links.attach(link, {
      prefixes,
      mtu,
      onClosed: (error) => {
        if (error === undefined) this.#ended.resolve();
        else this.#ended.reject(error);
      },
    });
  }

  /** Its figures; undefined when it has ended. */
  stats(): LinkStats | undefined {
    return this.#gateway.links.stats().find(({ name }) => name === this.name);
  }

  /** Ends it: the writable is closed, connections and flows over it are gone. Idempotent. */
  async close(): Promise<void> {
    await this.#attached.remove();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

const DEFAULT_MTU = 1500;

function nameOf(gateway: Gateway, given: string | undefined): string {
  const taken = new Set(gateway.links.stats().map(({ name }) => name.toLowerCase()));
  for (const { name } of gateway.engine.device.peers()) {
    if (name !== undefined) taken.add(name.toLowerCase());
  }
  if (given === undefined) {
    for (let i = 1;; i++) if (!taken.has(`link${i}`)) return `link${i}`;
  }
  const name = parsePeerName(given);
  if (name instanceof ParseFailure) throw new TypeError(`name: ${name.message}`);
  if (taken.has(name.toLowerCase())) {
    throw new TypeError(`name: ${name} is another link's or a peer's, expected each name once`);
  }
  return name;
}
