/**
 * Which of thousands of rules is the first that matches, without looking at each.
 *
 * Whose a flow is, where it wants to go and by which port each say for themselves which rules are not
 * against it, as a set of bits, one for each rule: what is in all of the sets matches, and the lowest
 * bit is the first.
 *
 * @module
 */

import { IpAddress, type IpVersion, Prefix, PrefixTable } from "../../netstack/mod.ts";
import type { FlowOwner, FlowProtocol, FlowRequest } from "./flow.ts";
import { isSingle } from "./maps.ts";
import type { RuleOptions } from "./rule.ts";

export class RuleIndex {
  readonly #sources: Sources;
  readonly #destinations: Destinations;
  readonly #ports: Ports;
  /** Rules that are about addresses of one family alone: a prefix to rewrite to has no place for others'. */
  readonly #ofFamily: Readonly<Record<IpVersion, Int32Array>>;
  /** What is left, and what one of the questions says. */
  readonly #left: Int32Array;
  readonly #answer: Int32Array;

  constructor(rules: readonly RuleOptions[]) {
    const words = rules.length + 31 >>> 5;
    this.#left = new Int32Array(words);
    this.#answer = new Int32Array(words);
    this.#ofFamily = { 4: new Int32Array(words), 6: new Int32Array(words) };
    rules.forEach(({ rewrite }, i) => {
      const to = rewrite?.to;
      const isOfOne = to instanceof Prefix && !isSingle(to);
      if (!isOfOne || to.version === 4) setBit(this.#ofFamily[4], i);
      if (!isOfOne || to.version === 6) setBit(this.#ofFamily[6], i);
    });
    this.#sources = new Sources(rules, words);
    this.#destinations = new Destinations(rules, words);
    this.#ports = new Ports(rules, words);
  }

  /** Names of hosts in rules, in small letters. */
  get names(): readonly string[] {
    return this.#destinations.names;
  }

  /** The addresses that a name of {@link names} stands for from now on. */
  setAddresses(name: string, addresses: readonly IpAddress[]): void {
    this.#destinations.setAddresses(name, addresses);
  }

  /** The place of the first rule that matches; -1 for none. Allocates nothing but a name in small letters. */
  find({ protocol, owner, source, destination, destinationPort }: FlowRequest): number {
    const left = this.#left;
    const answer = this.#answer;
    if (left.length === 0) return -1;
    left.set(this.#ofFamily[destination.version]);
    this.#destinations.ask(answer, destination);
    keep(left, answer);
    this.#ports.ask(answer, protocol, destinationPort);
    keep(left, answer);
    this.#sources.ask(answer, source, owner);
    return firstOfBoth(left, answer);
  }

  /** Whether the rule at a place is about flows of this owner and source, wherever they go. */
  isFrom(place: number, { source, owner }: Pick<FlowRequest, "source" | "owner">): boolean {
    this.#sources.ask(this.#answer, source, owner);
    return (this.#answer[place >> 5]! & 1 << place) !== 0;
  }
}

class Sources {
  readonly #everybodys: Group;
  readonly #byName: ReadonlyMap<string, Group>;
  readonly #byPrefix: Prefixes;

  constructor(rules: readonly RuleOptions[], words: number) {
    const byName = new Map<string, number[]>();
    const byPrefix = new PrefixesBuilder();
    const everybodys: number[] = [];
    rules.forEach(({ from }, i) => {
      if (from.length === 0) everybodys.push(i);
      for (const one of from) {
        if (typeof one === "string") push(byName, one.toLowerCase(), i);
        else byPrefix.add(one, i);
      }
    });
    this.#everybodys = new Group(everybodys, words);
    this.#byName = new Map(Array.from(byName, ([name, of]) => [name, new Group(of, words)]));
    this.#byPrefix = byPrefix.build(words);
  }

  ask(answer: Int32Array, source: IpAddress, owner: FlowOwner): void {
    this.#everybodys.begin(answer);
    if (this.#byName.size > 0) this.#byName.get(owner.name.toLowerCase())?.add(answer);
    this.#byPrefix.add(answer, source.bytes, source.version);
  }
}

class Destinations {
  readonly names: readonly string[];
  readonly #everywheres: Group;
  readonly #byPrefix: Prefixes;
  readonly #byName = new Map<string, number[]>();
  /** What names stand for, as the addresses' bytes, and the other way round. */
  readonly #addresses = new Map<string, readonly string[]>();
  readonly #namesAt = new Map<string, Set<string>>();
  /** The rules of these names. */
  readonly #byAddress = new Map<string, Group>();
  readonly #words: number;

  constructor(rules: readonly RuleOptions[], words: number) {
    this.#words = words;
    const byPrefix = new PrefixesBuilder();
    const everywheres: number[] = [];
    rules.forEach(({ to }, i) => {
      if (to.length === 0) everywheres.push(i);
      for (const one of to) {
        if (typeof one === "string") push(this.#byName, one, i);
        else byPrefix.add(one, i);
      }
    });
    this.#everywheres = new Group(everywheres, words);
    this.#byPrefix = byPrefix.build(words);
    this.names = [...this.#byName.keys()];
  }

  setAddresses(name: string, addresses: readonly IpAddress[]): void {
    if (!this.#byName.has(name)) return;
    // Only what changes is made anew: thousands of names are learnt one by one.
    const before = this.#addresses.get(name) ?? [];
    this.#addresses.set(name, addresses.map(({ bytes }) => bytes.toHex()));
    for (const address of before) this.#namesAt.get(address)?.delete(name);
    for (const address of this.#addresses.get(name)!) {
      const names = this.#namesAt.get(address);
      if (names === undefined) this.#namesAt.set(address, new Set([name]));
      else names.add(name);
    }
    for (const address of new Set([...before, ...this.#addresses.get(name)!])) this.#learn(address);
  }

  /** Notes which rules an address is in by its names. */
  #learn(address: string): void {
    const names = this.#namesAt.get(address)!;
    if (names.size === 0) {
      this.#namesAt.delete(address);
      this.#byAddress.delete(address);
      return;
    }
    const rules = new Set([...names].flatMap((name) => this.#byName.get(name)!));
    this.#byAddress.set(address, new Group([...rules].sort((a, b) => a - b), this.#words));
  }

  ask(answer: Int32Array, { bytes, version }: IpAddress): void {
    this.#everywheres.begin(answer);
    this.#byPrefix.add(answer, bytes, version);
    if (this.#byAddress.size > 0) this.#byAddress.get(bytes.toHex())?.add(answer);
  }
}

const PORT_BITS = 16;

class Ports {
  readonly #any: Group;
  readonly #pings: Group;
  /** A port as the first bits of an IPv4 address: a range is at most 30 prefixes of it. */
  readonly #tcp: Prefixes;
  readonly #udp: Prefixes;
  readonly #port = new Uint8Array(4);

  constructor(rules: readonly RuleOptions[], words: number) {
    const any: number[] = [];
    const pings: number[] = [];
    const ranges = { tcp: new PrefixesBuilder(), udp: new PrefixesBuilder() };
    rules.forEach(({ ports }, i) => {
      if (ports.length === 0) any.push(i);
      for (const { protocol, first, last } of ports) {
        if (protocol === "icmp") pings.push(i);
        else for (const prefix of prefixesOf(first, last)) ranges[protocol].add(prefix, i);
      }
    });
    this.#any = new Group(any, words);
    this.#pings = new Group(pings, words);
    this.#tcp = ranges.tcp.build(words);
    this.#udp = ranges.udp.build(words);
  }

  ask(answer: Int32Array, protocol: FlowProtocol, port: number): void {
    this.#any.begin(answer);
    if (protocol === "icmp") {
      this.#pings.add(answer);
      return;
    }
    const bytes = this.#port;
    bytes[0] = port >> 8;
    bytes[1] = port;
    (protocol === "tcp" ? this.#tcp : this.#udp).add(answer, bytes, 4);
  }
}

/** Prefixes of addresses, each with its rules. An address has those of every prefix that it is in. */
class Prefixes {
  readonly #table: PrefixTable<PrefixRules>;

  constructor(table: PrefixTable<PrefixRules>) {
    this.#table = table;
  }

  add(answer: Int32Array, address: Uint8Array, version: IpVersion): void {
    let found = this.#table.lookup(address, 0, version);
    for (; found !== undefined; found = found.wider) found.rules.add(answer);
  }
}

interface PrefixRules {
  readonly rules: Group;
  /** The next wider prefix. */
  readonly wider: PrefixRules | undefined;
}

class PrefixesBuilder {
  readonly #prefixes = new Map<string, { readonly prefix: Prefix; readonly rules: number[] }>();

  add(prefix: Prefix, rule: number): void {
    const name = `${prefix}`;
    const known = this.#prefixes.get(name);
    if (known === undefined) this.#prefixes.set(name, { prefix, rules: [rule] });
    else known.rules.push(rule);
  }

  build(words: number): Prefixes {
    const table = new PrefixTable<PrefixRules>();
    // The widest first: the narrowest that is there already is the next wider one.
    const byLength = [...this.#prefixes.values()].sort((a, b) => a.prefix.length - b.prefix.length);
    for (const { prefix: { address, length }, rules } of byLength) {
      const wider = table.lookup(address.bytes, 0, address.version);
      table.insert(address.bytes, length, { rules: new Group(rules, words), wider });
    }
    return new Prefixes(table);
  }
}

/** Some rules: a list while that takes less than the bits. */
class Group {
  readonly #list: Int32Array | undefined;
  readonly #bits: Int32Array | undefined;

  /** @param rules Ascending; one may be there twice. */
  constructor(rules: readonly number[], words: number) {
    if (rules.length < words) this.#list = Int32Array.from(rules);
    else {
      this.#bits = new Int32Array(words);
      for (const rule of rules) setBit(this.#bits, rule);
    }
  }

  /** Makes `answer` these. */
  begin(answer: Int32Array): void {
    if (this.#bits !== undefined) {
      answer.set(this.#bits);
      return;
    }
    answer.fill(0);
    this.add(answer);
  }

  /** Adds these to `answer`. */
  add(answer: Int32Array): void {
    const bits = this.#bits;
    if (bits !== undefined) {
      for (let i = 0; i < bits.length; i++) answer[i]! |= bits[i]!;
      return;
    }
    const list = this.#list!;
    for (let i = 0; i < list.length; i++) answer[list[i]! >> 5]! |= 1 << list[i]!;
  }
}

function setBit(bits: Int32Array, place: number): void {
  bits[place >> 5]! |= 1 << place;
}

function keep(left: Int32Array, answer: Int32Array): void {
  for (let i = 0; i < left.length; i++) left[i]! &= answer[i]!;
}

function firstOfBoth(left: Int32Array, answer: Int32Array): number {
  for (let i = 0; i < left.length; i++) {
    const both = left[i]! & answer[i]!;
    if (both !== 0) return (i << 5) + 31 - Math.clz32(both & -both);
  }
  return -1;
}

/** The prefixes that are a range of ports, together. */
function prefixesOf(first: number, last: number): Prefix[] {
  const prefixes: Prefix[] = [];
  for (let port = first; port <= last;) {
    let size = port === 0 ? 1 << PORT_BITS : port & -port;
    while (port + size - 1 > last) size >>= 1;
    const length = PORT_BITS - (31 - Math.clz32(size));
    prefixes.push(new Prefix(IpAddress.v4(port >> 8, port & 0xff, 0, 0), length));
    port += size;
  }
  return prefixes;
}

function push(lists: Map<string, number[]>, key: string, rule: number): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [rule]);
  else list.push(rule);
}
