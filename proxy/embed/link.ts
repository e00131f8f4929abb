/**
 * Packets of an embedder's own, as a link beside WireGuard.
 *
 * @module
 */

import type { ListInput, UdpFiltering } from "../config/config.ts";
import type { NatConfig } from "../config/checked.ts";
import { parseNatAddress, parseNatPorts } from "../config/link_values.ts";
import { oneOf, ParseFailure, parsePeerName, splitList } from "../config/values.ts";
import type { Gateway, LinkStats } from "../gateway/gateway.ts";
import type { AttachedLink } from "../gateway/links.ts";
import { WebStreamsLink } from "../link/web_streams.ts";
import { type IpAddress, Prefix } from "../../netstack/mod.ts";

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
  /** What all of it appears as to peers and other links: one address of each family at most. */
  readonly nat?: ListInput;
  /** Who may answer there: anybody, or an address, or an address and port, that it was sent to. Default `address`. */
  readonly natFiltering?: UdpFiltering;
  /** Ports that stand for those behind it: `20000-24999`. Default all. */
  readonly natPorts?: string;
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
   * @throws {TypeError} if a stream is locked, or a name or prefix is none or taken.
   * @throws {RangeError} for an MTU out of range, or a NAT with an address of this end's own.
   */
  constructor(gateway: Gateway, options: AddLinkOptions, prefixes: readonly Prefix[]) {
    const { readable, writable, mtu = DEFAULT_MTU } = options;
    this.name = nameOf(gateway, options.name);
    this.closed = this.#ended.promise;
    this.closed.catch(() => {}); // no unhandled rejection: a caller that awaits it sees the error
    if (!Number.isInteger(mtu) || mtu < 576 || mtu > 65_535) {
      throw new RangeError(`mtu: expected 576 to 65535, got ${mtu}`);
    }
    for (
      const [name, hasMethod] of [["readable", "getReader"], ["writable", "getWriter"]] as const
    ) {
      const stream = options[name] as unknown as Record<string, unknown> | undefined;
      if (typeof stream?.[hasMethod] !== "function") {
        throw new TypeError(`${name}: expected a web stream of packets, got ${typeof stream}`);
      }
    }
    if (mtu < MIN_IPV6_MTU && prefixes.some(({ version }) => version === 6)) {
      throw new RangeError(`mtu: expected ${MIN_IPV6_MTU} or more for IPv6, got ${mtu}`);
    }
    const nat = natOf(options);
    checkFree(gateway, prefixes, nat.nat?.addresses ?? []);
    const link = new WebStreamsLink({ name: this.name, mtu, readable, writable });
    this.#gateway = gateway;
    try {
      this.#attached = gateway.links.attach(link, {
        prefixes,
        mtu,
        ...nat,
        onClosed: (error) => {
          if (error === undefined) this.#ended.resolve();
          else this.#ended.reject(error);
        },
      });
    } catch (error) {
      link.close();
      throw error;
    }
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
/** RFC 8200 §5. */
const MIN_IPV6_MTU = 1280;

/** Packets can be routed to one place alone. @throws {TypeError} */
function checkFree(
  { routes }: Gateway,
  prefixes: readonly Prefix[],
  nat: readonly IpAddress[],
): void {
  const check = (what: string, prefix: Prefix, shown: Prefix | IpAddress) => {
    const holder = routes.holderOf(prefix);
    if (holder === undefined) return;
    throw new TypeError(`${what}: ${shown} is ${holder} already, expected it once`);
  };
  for (const prefix of prefixes) check("prefixes", prefix, prefix);
  for (const address of nat) check("nat", Prefix.of(address), address);
}

const parseFiltering = oneOf("endpoint", "address", "address-port");

function natOf(
  { nat = [], natFiltering, natPorts }: AddLinkOptions,
): { nat?: NatConfig } {
  const texts = typeof nat === "string" ? splitList(nat) : nat;
  if (texts.length === 0) return {};
  const addresses = texts.map((text) => parsed("nat", parseNatAddress(text)));
  const filtering = natFiltering && parsed("natFiltering", parseFiltering(natFiltering));
  const ports = natPorts === undefined ? undefined : parsed("natPorts", parseNatPorts(natPorts));
  return { nat: { addresses, ...(filtering && { filtering }), ...(ports && { ports }) } };
}

function parsed<T>(what: string, value: T | ParseFailure): T {
  if (value instanceof ParseFailure) throw new TypeError(`${what}: ${value.message}`);
  return value;
}

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
