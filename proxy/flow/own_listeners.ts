/**
 * Where this process itself listens on this host. No peer gets there, whatever a map says.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { FlowProtocol } from "./flow.ts";

/** Read whenever it is needed: its values may change. */
export interface OwnListener {
  readonly protocol: FlowProtocol;
  /** 0 while it does not listen. */
  readonly port: number;
  /** Missing: every address of this host. */
  readonly address?: IpAddress | undefined;
}

/**
 * SIGUSR1 makes the runtime listen here for a debugger, whether the program handles that signal or
 * not, and a debugger can do whatever this process can.
 */
const INSPECTOR_PORT = 9229;

export class OwnListeners {
  readonly #listeners = new Set<OwnListener>();

  /** @returns a function that removes it. */
  add(listener: OwnListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * @param target What is dialled.
   * @param isOwn Whether it is an address of this host. Called only if a port matches.
   */
  has(
    protocol: FlowProtocol,
    target: IpAddress,
    port: number,
    isOwn: (target: IpAddress) => boolean,
  ): boolean {
    if (protocol === "tcp" && port === INSPECTOR_PORT && target.isLoopback) return true;
    for (const listener of this.#listeners) {
      if (listener.protocol !== protocol || listener.port !== port || port === 0) continue;
      const address = listener.address?.unmapped(); // as a target is
      if (address === undefined || address.isUnspecified ? isOwn(target) : address.equals(target)) {
        return true;
      }
    }
    return false;
  }
}
