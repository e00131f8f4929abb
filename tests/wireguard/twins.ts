/**
 * Random sequences against plain twins: the replay filter against a set of all counters, cryptokey
 * routing against a list searched from end to end. A seed is a sequence.
 *
 * @module
 */

import assert from "node:assert/strict";
import {
  type AllowedIp,
  AllowedIps,
  type Device,
  nobleCrypto,
  type Peer,
} from "../../wireguard/mod.ts";
import { REPLAY_WINDOW, ReplayFilter } from "../../wireguard/replay.ts";
import { Random } from "../sim/random.ts";
import { endpoint, Host } from "./pair.ts";

const TWO_32 = 2 ** 32;

/** Every counter ever seen, in a set. Counters are relative to where a sequence starts. */
class NaiveReplay {
  readonly #seen = new Set<number>();
  #greatest = -Infinity;

  accept(counter: number): boolean {
    if (this.#greatest - counter > REPLAY_WINDOW || this.#seen.has(counter)) return false;
    this.#seen.add(counter);
    this.#greatest = Math.max(this.#greatest, counter);
    return true;
  }
}

/** Where counters start: the upper half, and the lower one. */
const STARTS = [[0, 0], [0, 9000], [0, TWO_32 - 200], [7, 0], [0x7fffffff, TWO_32 - 1], [
  0xffffffff,
  TWO_32 - 30_000,
]] as const;

/** @returns counters tried. */
export function compareReplay(seed: number): number {
  const random = new Random(seed);
  const [high, low] = STARTS[random.below(STARTS.length)]!;
  const filter = new ReplayFilter();
  const twin = new NaiveReplay();
  const steps = random.between(20, 200);
  let at = 0;
  for (let i = 0; i < steps; i++) {
    at += step(random);
    // Neither below zero nor beyond 2^64.
    if (high === 0 && low + at < 0) at = -low;
    if (high === 0xffffffff && low + at >= TWO_32) at = TWO_32 - 1 - low;
    const carry = Math.floor((low + at) / TWO_32);
    const [h, l] = [high + carry, low + at - carry * TWO_32];
    const isAccepted = filter.isFresh(h, l);
    if (isAccepted) filter.mark(h, l);
    assert.equal(isAccepted, twin.accept(at), `seed ${seed}, counter ${h} ${l}`);
  }
  return steps;
}

function step(random: Random): number {
  switch (random.below(12)) {
    case 0:
      return random.between(-8300, 8300);
    case 1:
      return -REPLAY_WINDOW + random.between(-2, 2);
    case 2:
      return random.between(8155, 8195);
    case 3:
      return random.between(-100_000, 100_000);
    case 4:
      return 0;
    default:
      return random.between(-40, 60);
  }
}

interface Entry {
  readonly bits: string;
  readonly owner: number;
}

/** A list per family, searched from end to end. */
class NaiveRoutes {
  readonly #entries: Record<4 | 16, Entry[]> = { 4: [], 16: [] };

  insert({ address, length }: AllowedIp, owner: number): number | undefined {
    const previous = this.remove({ address, length });
    this.#of(address).push({ bits: bitsOf(address).slice(0, length), owner });
    return previous;
  }

  remove({ address, length }: AllowedIp, owner?: number): number | undefined {
    const entries = this.#of(address);
    const bits = bitsOf(address).slice(0, length);
    const i = entries.findIndex((entry) =>
      entry.bits === bits && (owner === undefined || entry.owner === owner)
    );
    return i < 0 ? undefined : entries.splice(i, 1)[0]!.owner;
  }

  removeAllOf(owner: number): void {
    for (const size of [4, 16] as const) {
      this.#entries[size] = this.#entries[size].filter((entry) => entry.owner !== owner);
    }
  }

  lookup(address: Uint8Array): number | undefined {
    const bits = bitsOf(address);
    let best: Entry | undefined;
    for (const entry of this.#of(address)) {
      if (bits.startsWith(entry.bits) && entry.bits.length >= (best?.bits.length ?? 0)) {
        best = entry;
      }
    }
    return best?.owner;
  }

  countOf(owner: number): number {
    return [...this.#entries[4], ...this.#entries[16]].filter((e) => e.owner === owner).length;
  }

  get size(): number {
    return this.#entries[4].length + this.#entries[16].length;
  }

  #of(address: Uint8Array): Entry[] {
    return this.#entries[address.length as 4 | 16];
  }
}

function bitsOf(address: Uint8Array): string {
  let bits = "";
  for (const byte of address) bits += byte.toString(2).padStart(8, "0");
  return bits;
}

/** Few different bytes, so that prefixes overlap. */
const BYTES = [0, 1, 3, 10, 128, 129, 192, 255];

function prefix(random: Random): AllowedIp {
  const address = new Uint8Array(random.chance(0.5) ? 4 : 16);
  if (address.length === 4) {
    for (let i = 0; i < 4; i++) address[i] = BYTES[random.below(BYTES.length)]!;
  } else {
    for (const i of [0, 1, 3 + random.below(8), 15]) {
      address[i] = BYTES[random.below(BYTES.length)]!;
    }
  }
  return { address, length: random.below(8 * address.length + 1) };
}

/** The trie alone: insert and remove. @returns operations done. */
export function compareAllowedIps(seed: number): number {
  const random = new Random(seed);
  const trie = new AllowedIps<number>();
  const twin = new NaiveRoutes();
  const used: AllowedIp[] = [];
  const operations = random.between(5, 60);
  for (let i = 0; i < operations; i++) {
    const known = used[random.below(used.length || 1)];
    const ip = known !== undefined && random.chance(0.4) ? known : prefix(random);
    used.push(ip);
    const owner = random.below(4);
    if (random.chance(0.65)) {
      assert.equal(
        trie.insert(ip.address, ip.length, owner),
        twin.insert(ip, owner),
        `seed ${seed}`,
      );
    } else {
      assert.equal(trie.remove(ip.address, ip.length), twin.remove(ip), `seed ${seed}`);
    }
    assert.equal(trie.size, twin.size, `seed ${seed}`);
    // One of before may be remembered from then.
    for (const { address } of [prefix(random), ip, used[random.below(used.length)]!]) {
      const buffer = new Uint8Array(23);
      buffer.set(address, 7);
      const found = trie.lookup(buffer, 7, address.length === 4 ? 4 : 6);
      assert.equal(found, twin.lookup(address), `seed ${seed}`);
    }
  }
  for (const ip of used) assert.equal(trie.remove(ip.address, ip.length), twin.remove(ip));
  assert.equal(trie.size, 0, `seed ${seed}: something is left`);
  return operations;
}

/** Peers of a device: insert, remove, replace, and peers that come and go. */
export function comparePeers(seed: number): number {
  const random = new Random(seed);
  const { device } = new Host(seed, endpoint("192.0.2.1", 1), HOST);
  const twin = new NaiveRoutes();
  const peers: Peer[] = [0, 1, 2].map((i) => device.addPeer({ publicKey: key(1 + i) }, 0));
  const operations = random.between(5, 40);
  for (let i = 0; i < operations; i++) {
    const owner = random.below(3);
    const ip = prefix(random);
    switch (random.below(6)) {
      case 0: {
        const list = Array.from({ length: random.below(5) }, () => prefix(random));
        const [kept] = peers[owner]!.allowedIps;
        if (kept !== undefined) list.push(kept);
        peers[owner]!.replaceAllowedIps(list);
        twin.removeAllOf(owner);
        for (const one of list) twin.insert(one, owner);
        break;
      }
      case 1: {
        const [own = ip] = peers[owner]!.allowedIps;
        assert.equal(peers[owner]!.removeAllowedIp(own), twin.remove(own, owner) !== undefined);
        break;
      }
      case 2:
        device.removePeer(peers[owner]!, 0);
        twin.removeAllOf(owner);
        peers[owner] = device.addPeer({ publicKey: key(1 + owner), allowedIps: [ip] }, 0);
        twin.insert(ip, owner);
        break;
      default:
        peers[owner]!.addAllowedIp(ip);
        twin.insert(ip, owner);
    }
    assertSame(device, peers, twin, [ip.address, prefix(random).address], seed);
  }
  return operations;
}

/** No handshake happens here, so keys need not be real. */
const HOST = {
  privateKey: new Uint8Array(32).fill(1),
  crypto: { ...nobleCrypto, x25519: { publicKey: () => key(0), sharedSecret: () => key(1) } },
};

function key(i: number): Uint8Array {
  return new Uint8Array(32).fill(1 + i);
}

function assertSame(
  device: Device,
  peers: readonly Peer[],
  twin: NaiveRoutes,
  addresses: readonly Uint8Array[],
  seed: number,
): void {
  for (const address of addresses) {
    const owner = twin.lookup(address);
    const found = device.peerAt(address, 0, address.length === 4 ? 4 : 6);
    assert.equal(found, owner === undefined ? undefined : peers[owner], `seed ${seed}`);
  }
  peers.forEach((peer, i) => {
    assert.equal(peer.allowedIps.length, twin.countOf(i), `seed ${seed}, peer ${i}`);
  });
}

/** By name. */
export const TWINS: Readonly<Record<string, (seed: number) => number>> = {
  "replay filter": compareReplay,
  "allowed IPs": compareAllowedIps,
  "allowed IPs of peers": comparePeers,
};
