/**
 * Where the peers are, found out before this host asks for names by way of the tunnel.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";
import type { PeerConfig } from "../config/config.ts";
import type { Resolve } from "../gateway/resolver.ts";
import { getLogger } from "../log/logger.ts";
import { SystemTunnelError } from "./error.ts";

const log = getLogger(["wirestack", "system"]);

/** As `wg` does while a machine starts: some 15 times, a second and more apart. */
export const ATTEMPTS = 15;
/** Between two, ms. */
export const PAUSE_MS = 1_000;

export interface FoundEndpoints {
  /** The preferred address of each endpoint that was found. */
  readonly addresses: readonly IpAddress[];
  /**
   * For the gateway: what was found is the first answer for each name. Then it is asked for again, by
   * way of the tunnel's name servers.
   */
  readonly resolve: Resolve;
}

/**
 * @param signal Ends it when nobody wants to know any more.
 * @param pause Between two attempts.
 * @throws {SystemTunnelError} naming a host that cannot be found.
 */
export async function findEndpoints(
  peers: readonly PeerConfig[],
  resolve: Resolve,
  signal: AbortSignal,
  pause: (ms: number) => Promise<void> = (ms) => new Promise((done) => setTimeout(done, ms)),
): Promise<FoundEndpoints> {
  const known = new Map<string, IpAddress | readonly IpAddress[]>();
  const addresses: IpAddress[] = [];
  const hosts = peers.flatMap(({ endpoint, otherEndpoints = [] }) => [
    ...endpoint === undefined ? [] : [{ hostname: endpoint.hostname, isNeeded: true }],
    ...otherEndpoints.map(({ hostname }) => ({ hostname, isNeeded: false })),
  ]);
  for (const { hostname, isNeeded } of hosts) {
    const address = parseIpAddress(hostname);
    if (address !== undefined) {
      addresses.push(address);
      continue;
    }
    if (!known.has(hostname)) {
      try {
        // The others are looked up again by the gateway, when they are not found now.
        const found = isNeeded
          ? find(hostname, resolve, signal, pause)
          : before(signal, hostname, resolve(hostname));
        known.set(hostname, await found);
      } catch (error) {
        if (isNeeded || signal.aborted) throw error;
        continue;
      }
    }
    const first = [known.get(hostname)!].flat()[0] as IpAddress | undefined;
    if (first !== undefined) addresses.push(first);
  }
  return {
    addresses,
    resolve(hostname) {
      const found = known.get(hostname);
      known.delete(hostname);
      return found === undefined ? resolve(hostname) : Promise.resolve(found);
    },
  };
}

async function find(
  hostname: string,
  resolve: Resolve,
  signal: AbortSignal,
  pause: (ms: number) => Promise<void>,
): Promise<IpAddress | readonly IpAddress[]> {
  for (let attempt = 1;; attempt++) {
    try {
      return await before(signal, hostname, resolve(hostname));
    } catch (error) {
      if (error instanceof SystemTunnelError) throw error;
      const reason = (error as Error).message;
      if (attempt === ATTEMPTS) {
        throw new SystemTunnelError(
          `Endpoint ${hostname}: cannot be found (${reason}), expected a name that ` +
            "resolves before the tunnel is up, or an address",
        );
      }
      if (attempt === 1) {
        log.warn("Endpoint {host}: not found ({reason}), looked up again {count} times", {
          host: hostname,
          reason,
          count: ATTEMPTS - 1,
        });
      }
    }
    await before(signal, hostname, pause(PAUSE_MS));
  }
}

/** A look-up may take many seconds, and cannot be ended: it is left alone. */
async function before<T>(signal: AbortSignal, hostname: string, promise: Promise<T>): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = () =>
    aborted.reject(new SystemTunnelError(`Endpoint ${hostname}: not found when it was to stop`));
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort);
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
