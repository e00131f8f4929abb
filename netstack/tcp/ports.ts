/**
 * Finds local ports.
 *
 * @module
 */

import type { IpAddress } from "../address.ts";
import type { Flow, FlowHash, FlowTable } from "./demux.ts";
import type { KeyedNumbers } from "./keyed_numbers.ts";
import type { TcpSettings } from "./settings.ts";
import type { TimeWaitTable } from "./time_wait.ts";

/** What is known of connections, open and in TIME-WAIT. */
export interface KnownFlows {
  readonly numbers: KeyedNumbers;
  readonly hash: FlowHash;
  readonly flows: Pick<FlowTable<Flow>, "find">;
  readonly timeWait: TimeWaitTable;
}

/** Finds ports that nobody uses. */
export class Ports {
  readonly #settings: TcpSettings;
  readonly #known: KnownFlows;
  readonly #isListening: (port: number) => boolean;

  constructor(
    settings: TcpSettings,
    known: KnownFlows,
    isListening: (port: number) => boolean,
  ) {
    this.#settings = settings;
    this.#known = known;
    this.#isListening = isListening;
  }

  /**
   * For a listener that may have any port.
   *
   * @throws {Error} if none is free.
   */
  listen(): number {
    const { firstEphemeralPort, lastEphemeralPort } = this.#settings;
    for (let port = firstEphemeralPort; port <= lastEphemeralPort; port++) {
      if (!this.#isListening(port)) return port;
    }
    throw new Error("no TCP port is free");
  }

  /**
   * For a connection we open. It may be that of a connection in TIME-WAIT.
   *
   * @param wanted Undefined = an ephemeral one.
   * @throws {Error} if it, or every ephemeral one, is in use.
   */
  local(
    local: IpAddress,
    remote: IpAddress,
    remotePort: number,
    wanted: number | undefined,
    now: number,
  ): number {
    const { numbers, hash: flowHash, flows, timeWait } = this.#known;
    const free = (port: number) => {
      if (this.#isListening(port)) return false;
      const hash = flowHash.ofFlow(local, port, remote, remotePort);
      if (flows.find(hash, local, port, remote, remotePort) !== undefined) return false;
      const before = timeWait.find(hash, local, port, remote, remotePort);
      return before === undefined || timeWait.isReusable(before, now);
    };
    if (wanted !== undefined) {
      checkPort(wanted, 1);
      if (!free(wanted)) throw new Error(`TCP port ${wanted} is in use`);
      return wanted;
    }
    const { firstEphemeralPort: first, lastEphemeralPort: last } = this.#settings;
    const port = numbers.ephemeralPort(local, remote, remotePort, first, last, free);
    if (port === undefined) throw new Error(`no TCP port is free towards ${remote}`);
    return port;
  }
}

/** @throws {RangeError} for a port out of range, or below `least`. */
export function checkPort(port: number, least: number): void {
  if (!Number.isInteger(port) || port < least || port > 0xffff) {
    throw new RangeError(`a TCP port is ${least} to 65535, got ${port}`);
  }
}
