/**
 * Where this process itself connects to, by sockets that cannot be marked: those addresses are not
 * redirected. What names stand for is asked for again and again.
 *
 * @module
 */

import { Prefix } from "../../netstack/mod.ts";
import { getLogger } from "../log/logger.ts";
import { HostAddresses, type HostAddressesOptions } from "./host_addresses.ts";

const log = getLogger(["wirestack", "system"]);

export interface ExemptOptions extends HostAddressesOptions {
  /** Exempt in any case. */
  readonly prefixes: readonly Prefix[];
  /** Has all of them exempt, and nothing else. Called when they have changed. */
  apply(exempt: readonly Prefix[]): void;
}

export class ExemptHosts {
  readonly #options: ExemptOptions;
  readonly #addresses: HostAddresses;
  #applied = "";

  constructor(options: ExemptOptions) {
    this.#options = options;
    this.#addresses = new HostAddresses(options);
  }

  /** What is exempt now, each once: a hub's fallback is at the place of its endpoint. */
  get prefixes(): Prefix[] {
    const all = [...this.#options.prefixes, ...this.#addresses.all.map(Prefix.of)];
    return [...new Map(all.map((prefix) => [`${prefix}`, prefix])).values()];
  }

  /** Looks once. A name that is not found keeps what it stood for. */
  async look(): Promise<void> {
    await this.#addresses.look();
  }

  /** Applies what is exempt now, and looks again and again. */
  start(): void {
    this.#apply();
    this.#addresses.start(() => this.#apply());
  }

  close(): void {
    this.#addresses.close();
  }

  #apply(): void {
    const exempt = this.prefixes;
    const text = exempt.map(String).sort().join(" ");
    if (text === this.#applied) return;
    try {
      this.#options.apply(exempt);
      this.#applied = text;
    } catch (error) {
      log.error("{problem}", { problem: `what is not redirected: ${(error as Error).message}` });
    }
  }
}
