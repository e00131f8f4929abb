/**
 * Whether an address is one of this host's own, without a permission more than sockets need.
 *
 * @module
 */

import { LocalAddressProbe } from "../../ffi/mod.ts";
import { IpAddress } from "../../netstack/mod.ts";
import { getLogger } from "../log/logger.ts";

const log = getLogger(["wirestack", "target"]);

/** How long an answer counts, ms: addresses come and go. */
const VALID_MS = 5_000;
const MAX_KNOWN = 4_096;
/** Of class E (RFC 1112 §4): no host has it. */
const NOBODYS = IpAddress.v4(240, 0, 0, 1);

export interface Probe {
  /** @throws if the system does not say. */
  isOwn(address: IpAddress): boolean;
  close(): void;
}

export class OwnAddresses {
  readonly #now: () => number;
  readonly #open: () => Probe;
  #probe: Probe | undefined;
  readonly #known = new Map<number | string, { readonly isOwn: boolean; readonly until: number }>();
  #hasFailed = false;

  /** @param now Milliseconds, monotonic. @param ffi Whether to ask over FFI, which is exact. */
  constructor(now: () => number, ffi: boolean, probe?: Probe) {
    this.#now = now;
    this.#open = () => ffi && openRouteProbe() || new BindProbe();
    this.#probe = probe ?? this.#open(); // at once, while there are descriptors
  }

  /** @returns undefined if it cannot be found out: then no new flow to it is allowed. */
  isOwn(address: IpAddress): boolean | undefined {
    const { bytes } = address;
    const key = address.version === 4
      ? bytes[0]! << 24 | bytes[1]! << 16 | bytes[2]! << 8 | bytes[3]!
      : bytes.toHex();
    const known = this.#known.get(key);
    const now = this.#now();
    if (known !== undefined && now < known.until) return known.isOwn;
    const isOwn = this.#ask(address);
    if (isOwn === undefined) return undefined;
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(key, { isOwn, until: now + VALID_MS });
    return isOwn;
  }

  close(): void {
    this.#probe?.close();
    this.#probe = undefined;
  }

  #ask(address: IpAddress): boolean | undefined {
    try {
      this.#probe ??= this.#open();
      return this.#probe.isOwn(address);
    } catch (error) {
      if (!this.#hasFailed) {
        log.warn("whether {address} is this host's own is not known, so it is refused: {error}", {
          address,
          error,
        });
      }
      this.#hasFailed = true;
      return undefined;
    }
  }
}

/**
 * @returns undefined where the system does not tell us its routes: behind a filter, or another
 * kernel.
 */
function openRouteProbe(): Probe | undefined {
  try {
    return new LocalAddressProbe();
  } catch (error) {
    log.debug("this host's routes cannot be asked about: {error}", { error });
    return undefined;
  }
}

/**
 * By Deno's own sockets, which cannot be connected without sending: an address that can be bound is this
 * host's. Where the system lets any address be bound (`ip_nonlocal_bind`), all count as its own. It does
 * not find IPv6 addresses that no interface has: anycast, or a whole prefix that is local.
 */
class BindProbe implements Probe {
  #hasWarned = false;

  isOwn(address: IpAddress): boolean {
    if (!canBind(address)) return false;
    if (!this.#hasWarned && canBind(NOBODYS)) {
      this.#hasWarned = true;
      log.error(
        "net.ipv4.ip_nonlocal_bind is set: without FFI this host's own addresses cannot be told from others, and every target is refused",
      );
    }
    return true;
  }

  close(): void {}
}

/** @throws for any reason but that the address is not this host's. */
function canBind(address: IpAddress): boolean {
  try {
    Deno.listenDatagram({ transport: "udp", hostname: `${address}`, port: 0 }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrNotAvailable) return false;
    throw error;
  }
}
