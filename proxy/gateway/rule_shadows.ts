/**
 * Which rules are shadowed: an earlier one matches all that they do.
 *
 * @module
 */

import { type IpVersion, Prefix } from "../../netstack/mod.ts";
import type { PortsConfig, RuleConfig } from "../config/config.ts";
import { isSingle } from "../flow/maps.ts";

type Values = readonly (Prefix | string)[];

/**
 * Finds, for each rule in turn, one earlier rule that matches all that it does. Several that do so
 * together are not found.
 */
export class Shadows {
  readonly #allowedIps: ReadonlyMap<string, readonly Prefix[]>;
  readonly #rules: RuleConfig[] = [];
  readonly #byFrom = new Places();
  readonly #byTo = new Places();

  /** @param allowedIps Of peers, by their names in small letters. */
  constructor(allowedIps: ReadonlyMap<string, readonly Prefix[]>) {
    this.#allowedIps = allowedIps;
  }

  /**
   * Enters a rule, unless it is shadowed.
   *
   * @returns the place of the earlier one; undefined if there is none.
   */
  add(rule: RuleConfig, place: number): number | undefined {
    const ofFrom = this.#byFrom.covering(this.#first(rule.from));
    const ofTo = this.#byTo.covering(rule.to.slice(0, 1));
    // The shorter: a rule that covers this one is in both.
    for (const earlier of ofFrom.length < ofTo.length ? ofFrom : ofTo) {
      if (this.#covers(this.#rules[earlier]!, rule)) return earlier;
    }
    this.#rules[place] = rule;
    this.#byFrom.add(rule.from, place);
    this.#byTo.add(rule.to, place);
    return undefined;
  }

  /** What a rule must have for covering the first of `from`: any of these. */
  #first([from]: Values): Values {
    if (typeof from !== "string") return from === undefined ? [] : [from];
    return [from, ...this.#allowedIpsOf(from).slice(0, 1)];
  }

  #allowedIpsOf(name: string): readonly Prefix[] {
    return this.#allowedIps.get(name.toLowerCase()) ?? [];
  }

  #covers(wide: RuleConfig, narrow: RuleConfig): boolean {
    return coversPorts(wide.ports, narrow.ports) && coversAll(wide.to, narrow.to) &&
      this.#coversFrom(wide.from, narrow.from) && coversFamily(wide, narrow);
  }

  #coversFrom(wide: Values, narrow: Values): boolean {
    if (wide.length === 0) return true;
    return narrow.length > 0 && narrow.every((one) => {
      if (covers(wide, one)) return true;
      // A peer is where its AllowedIPs are, and nowhere else.
      const own = typeof one === "string" ? this.#allowedIpsOf(one) : [];
      return own.length > 0 && own.every((prefix) => covers(wide, prefix));
    });
  }
}

/** Rules by the prefixes and names that they have. */
class Places {
  readonly #lists = new Map<string, number[]>();
  /** Of all prefixes. */
  readonly #lengths = { 4: new Set<number>(), 6: new Set<number>() };

  add(values: Values, place: number): void {
    if (values.length === 0) this.#enter(ANY, place);
    for (const value of values) {
      this.#enter(keyOf(value), place);
      if (typeof value !== "string") this.#lengths[value.version].add(value.length);
    }
  }

  /** Rules for everything, and those with one of `values` or a wider prefix. */
  covering(values: Values): number[] {
    const found = [...this.#lists.get(ANY) ?? []];
    for (const value of values) {
      const keys = typeof value === "string" ? [keyOf(value)] : this.#wider(value);
      for (const key of keys) found.push(...this.#lists.get(key) ?? []);
    }
    return found;
  }

  #enter(key: string, place: number): void {
    const list = this.#lists.get(key);
    if (list === undefined) this.#lists.set(key, [place]);
    else list.push(place);
  }

  #wider({ address, length, version }: Prefix): string[] {
    const lengths = [...this.#lengths[version]].filter((other) => other <= length);
    return lengths.map((length) => `${new Prefix(address, length)}`);
  }
}

/** No name or prefix is written so. */
const ANY = "";

function keyOf(value: Prefix | string): string {
  return typeof value === "string" ? value.toLowerCase() : `${value}`;
}

function coversAll(wide: Values, narrow: Values): boolean {
  return wide.length === 0 || narrow.length > 0 && narrow.every((one) => covers(wide, one));
}

function covers(wide: Values, one: Prefix | string): boolean {
  return wide.some((other) => {
    if (typeof one === "string" || typeof other === "string") return keyOf(one) === keyOf(other);
    return other.covers(one);
  });
}

const ALL_PORTS: readonly PortsConfig[] = (["tcp", "udp", "icmp"] as const)
  .map((protocol) => ({ protocol, first: 0, last: 65535 }));

function coversPorts(wide: readonly PortsConfig[], narrow: readonly PortsConfig[]): boolean {
  if (wide.length === 0) return true;
  return (narrow.length === 0 ? ALL_PORTS : narrow).every((one) =>
    wide.some(({ protocol, first, last }) =>
      protocol === one.protocol && first <= one.first && one.last <= last
    )
  );
}

/** Whether `wide` is about every family that `narrow` is about: see `Rewrite`. */
function coversFamily(wide: RuleConfig, narrow: RuleConfig): boolean {
  const family = familyOf(wide);
  return family === undefined || familyOf(narrow) === family ||
    narrow.to.length > 0 &&
      narrow.to.every((to) => typeof to !== "string" && to.version === family);
}

function familyOf({ rewrite }: RuleConfig): IpVersion | undefined {
  const to = rewrite?.to;
  return to === undefined || typeof to === "string" || isSingle(to) ? undefined : to.version;
}
