/**
 * Names into addresses, as the rest of the system does it.
 *
 * @module
 */

import { lookup } from "node:dns/promises";
import type { IpAddress } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";
import { Slots } from "./slots.ts";
import type { NameAnswer, NameSource } from "./names.ts";

/** How long an answer is good for, ms: the system tells no TTL. */
const TTL_MS = 30_000;
/** Look-ups at once: each takes a thread of the runtime's for as long as the system tries. */
const MAX_LOOKUPS = 4;

/**
 * How long an old answer may be used, ms. Less than a day: a name that is gone looks like a server
 * that is down.
 */
const STALE_MS = 3_600_000;

/** What the system says, remembered for a while. */
export class SystemNames implements NameSource<"any"> {
  readonly questions = ["any"] as const;
  readonly staleMs = STALE_MS;
  readonly #slots = new Slots(MAX_LOOKUPS);

  /** Not to be aborted. */
  async ask(name: string): Promise<NameAnswer> {
    await this.#slots.take();
    try {
      return { addresses: await resolveBySystem(name), ttlMs: TTL_MS };
    } finally {
      this.#slots.give();
    }
  }
}

/** Hosts file, then DNS, in the system's own order (RFC 6724). */
export async function resolveBySystem(hostname: string): Promise<readonly IpAddress[]> {
  const found = await lookup(hostname, { all: true, order: "verbatim" });
  const addresses = found.flatMap(({ address }) => {
    const ip = parseIpAddress(address.replace(/%.*/, ""));
    return ip === undefined ? [] : [ip.unmapped()];
  });
  if (addresses.length === 0) throw new Error("the system gave no address");
  return addresses;
}
