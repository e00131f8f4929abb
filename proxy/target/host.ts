/**
 * This host's way to targets: what dials, what makes sockets for UDP and pings, and which addresses are its own.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import { icmpUnavailable, TcpInfo } from "../../ffi/mod.ts";
import type { IpAddress } from "../../netstack/mod.ts";
import type { Dialer } from "../flow/stream.ts";
import { DnsClient, type DnsServer } from "./dns_client.ts";
import type { IcmpTargets, IcmpTargetsOptions } from "./icmp.ts";
import { FfiIcmpTargets } from "./icmp_ffi.ts";
import type { After, NameSource } from "./names.ts";
import { OwnAddresses } from "./own_address.ts";
import { mayReachAll } from "./runtime_permission.ts";
import { SystemNames } from "./system_names.ts";
import { HostDialer } from "./tcp.ts";
import { FfiDialer } from "./tcp_ffi.ts";
import type { UdpTargets, UdpTargetsOptions } from "./udp.ts";
import { openUdpTargets } from "./udp_open.ts";

/** Uses the runtime's timers. */
export const hostAfter: After = (ms, run) => {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
};

/** After this many tasks the runtime asks the system what has arrived, whatever else is ready. */
const TASKS_BETWEEN_POLLS = 61;

/**
 * Calls back when everything that had arrived before the call has been handed on. A timer alone is not
 * enough: one that is already due runs before the system is asked.
 */
export function hostTurn(run: () => void): void {
  let left = TASKS_BETWEEN_POLLS + 2;
  const next = () => --left > 0 ? void setImmediate(next) : run();
  setTimeout(next, 0);
}

/** What {@link openTargetHost} gives; a simulation has its own. */
export interface TargetHost {
  readonly dialer: Dialer;
  /** Dials are about to come: does now what would delay the first one. Idempotent. */
  prepare?(): void;
  /**
   * Hands on what has arrived on connections. Called in the engine's turns; without it that happens
   * later.
   */
  look?(): void;
  /** Where names are looked up. @param servers None: the system's resolver. */
  names(servers: readonly DnsServer[]): NameSource;
  /** A timer. */
  readonly after: After;
  /** As {@link hostTurn}. Missing: a timer of 0 ms. */
  readonly turn?: (run: () => void) => void;
  openUdp(options: UdpTargetsOptions): UdpTargets;
  /** What is missing for pings, in words that follow "needs"; undefined if nothing is. */
  icmpUnavailable(): string | undefined;
  /** @throws if pings are unavailable. */
  openIcmp(options: IcmpTargetsOptions): IcmpTargets;
  /** Whether an address, not loopback, is one of this host's; undefined if that is not known. */
  isOwnAddress(target: IpAddress): boolean | undefined;
  /**
   * Round trips to targets as the kernel measures them, ms, by the local port of the connection: of
   * streams that do not tell theirs. Looks at every descriptor if there may be any. An undefined comes
   * wherever others should have their turn before it goes on. Missing where that cannot be known.
   */
  roundTrips?(): Generator<undefined, ReadonlyMap<number, number>, undefined>;
  /** Called last: nothing is dialled any more. Resolves when nothing of its own is pending. */
  close(): void | Promise<void>;
}

/**
 * @param now Milliseconds, monotonic.
 * @param ffi Whether sockets are over FFI.
 * @param onFailed Called with the system's code, such as `EMFILE`, when a socket could not be opened.
 */
export function openTargetHost(
  now: () => number,
  ffi: boolean,
  onFailed: (code: string | undefined) => void,
): TargetHost {
  const own = new OwnAddresses(now, ffi);
  const isFree = mayReachAll();
  const hostDialer = new HostDialer(onFailed);
  const ffiDialer = ffi ? new FfiDialer(hostDialer, onFailed) : undefined;
  return {
    dialer: ffiDialer ?? hostDialer,
    ...(ffiDialer && {
      prepare: () => void ffiDialer.ready(),
      look: () => ffiDialer.look(),
    }),
    names: (servers) => servers.length > 0 ? new DnsClient(servers) : new SystemNames(),
    after: hostAfter,
    turn: hostTurn,
    openUdp: (options) => openUdpTargets(options, ffi && isFree),
    icmpUnavailable: () => {
      if (!ffi) return "UDP over FFI";
      return isFree ? icmpUnavailable() : "the permission to reach every address (--allow-net)";
    },
    openIcmp: (options) => new FfiIcmpTargets(options),
    isOwnAddress: (target) => own.isOwn(target),
    ...(ffiDialer && {
      *roundTrips() {
        return ffiDialer.hasFallenBack ? yield* roundTrips() : NO_ROUND_TRIPS;
      },
    }),
    async close() {
      own.close();
      await ffiDialer?.close();
    },
  };
}

const NO_ROUND_TRIPS: ReadonlyMap<number, number> = new Map();

function* roundTrips(): Generator<undefined, ReadonlyMap<number, number>, undefined> {
  const info = new TcpInfo();
  try {
    return yield* info.roundTrips();
  } finally {
    info.close();
  }
}
