/**
 * Cryptokey routing (whitepaper §2): which peer owns an address, by the longest prefix.
 *
 * @module
 */

import { CACHED_FROM, LookupCache } from "./lookup_cache.ts";

/** An address block, as in `AllowedIPs`. Bits behind the length are ignored. */
export interface AllowedIp {
  /** 4 or 16 bytes, network order. */
  readonly address: Uint8Array;
  /** Number of leading bits that count. */
  readonly length: number;
}

/**
 * A prefix that several may hold. One holds it at a time, and they take turns; all of them may send from
 * it at any time.
 */
export interface SharedPrefix<T> {
  /** Whether `value` is one of those who may hold it. */
  has(value: T): boolean;
  /**
   * Picks who gets a packet for the prefix. Called for every packet.
   *
   * @param holder Who holds the prefix.
   * @param offset Where the packet starts.
   */
  choose(
    holder: T,
    buffer: Uint8Array,
    offset: number,
    length: number,
    version: 4 | 6,
    now: number,
  ): T;
  /**
   * A packet from the prefix was sent by one that does not hold it, or by a holder that is
   * followed.
   */
  arrived(
    from: T,
    buffer: Uint8Array,
    offset: number,
    length: number,
    version: 4 | 6,
    now: number,
  ): void;
}

/** Two path-compressed binary tries, one per address family. A lookup reads the packet itself. */
export class AllowedIps<T> {
  #v4: Node<T> | undefined;
  #v6: Node<T> | undefined;
  #size = 0;
  #generation = 1;
  #cache4: LookupCache<Node<T>> | undefined;
  #cache6: LookupCache<Node<T>> | undefined;

  /** Number of prefixes. */
  get size(): number {
    return this.#size;
  }

  /** Rises with every change: a cached look-up is valid while this stays the same. Never 0. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * Gives a prefix to `value`.
   *
   * @returns whom it belonged to before.
   * @throws {RangeError} if address or length is out of range.
   */
  insert(address: Uint8Array, length: number, value: T): T | undefined {
    const leaf = prefixNode<T>(address, length);
    this.#changed();
    leaf.value = value;
    const v4 = address.length === 4;
    let parent: Node<T> | undefined;
    let node = v4 ? this.#v4 : this.#v6;
    while (node !== undefined) {
      const common = Math.min(commonBits(node, leaf.w0, leaf.w1, leaf.w2, leaf.w3), length);
      if (common < node.length) break;
      if (node.length === length) {
        const previous = node.value;
        node.value = value;
        if (previous === undefined) this.#size++;
        return previous;
      }
      parent = node;
      node = bitAt(leaf.w0, leaf.w1, leaf.w2, leaf.w3, node.length) === 0 ? node.zero : node.one;
    }
    this.#size++;
    this.#replaceChild(parent, leaf, node === undefined ? leaf : join(leaf, node), v4);
    return undefined;
  }

  /** Removes a prefix. @returns its owner until now. */
  remove(address: Uint8Array, length: number): T | undefined {
    const key = prefixNode<T>(address, length);
    const v4 = address.length === 4;
    let grandparent: Node<T> | undefined;
    let parent: Node<T> | undefined;
    let node = v4 ? this.#v4 : this.#v6;
    while (node !== undefined && node.length < length) {
      grandparent = parent;
      parent = node;
      node = bitAt(key.w0, key.w1, key.w2, key.w3, node.length) === 0 ? node.zero : node.one;
    }
    if (node === undefined || node.length !== length || node.value === undefined) return undefined;
    if (commonBits(node, key.w0, key.w1, key.w2, key.w3) < length) return undefined;
    const previous = node.value;
    node.value = undefined;
    node.shared = undefined;
    this.#size--;
    this.#changed();
    if (node.zero !== undefined && node.one !== undefined) return previous;
    this.#replaceChild(parent, node, node.zero ?? node.one, v4);
    // A branch that only joined two subtrees is not needed for one.
    if (parent !== undefined && parent.value === undefined) {
      const only = parent.zero === undefined ? parent.one : parent.zero;
      if (parent.zero === undefined || parent.one === undefined) {
        this.#replaceChild(grandparent, parent, only, v4);
      }
    }
    return previous;
  }

  /** The owner of the address at `offset`, by its longest prefix. Allocates nothing. */
  lookup(buffer: Uint8Array, offset: number, version: 4 | 6): T | undefined {
    return this.#find(buffer, offset, version)?.value;
  }

  /** The node with a value that has the longest prefix of the address. */
  #find(buffer: Uint8Array, offset: number, version: 4 | 6): Node<T> | undefined {
    const w0 = word(buffer, offset);
    if (version === 4) {
      if (this.#size < CACHED_FROM) return findNode(this.#v4, 32, w0, 0, 0, 0);
      const cache = this.#cache4 ??= new LookupCache<Node<T>>();
      if (cache.has(w0, 0, 0, 0)) return cache.value;
      const found = findNode(this.#v4, 32, w0, 0, 0, 0);
      cache.keep(w0, 0, 0, 0, found);
      return found;
    }
    const w1 = word(buffer, offset + 4);
    const w2 = word(buffer, offset + 8);
    const w3 = word(buffer, offset + 12);
    if (this.#size < CACHED_FROM) return findNode(this.#v6, 128, w0, w1, w2, w3);
    const cache = this.#cache6 ??= new LookupCache<Node<T>>();
    if (cache.has(w0, w1, w2, w3)) return cache.value;
    const found = findNode(this.#v6, 128, w0, w1, w2, w3);
    cache.keep(w0, w1, w2, w3, found);
    return found;
  }

  /**
   * Makes a prefix one that several may hold; undefined ends that. It stays so, whoever the prefix is
   * given to, until the prefix is removed.
   *
   * @returns false if nobody holds it.
   */
  share(address: Uint8Array, length: number, shared: SharedPrefix<T> | undefined): boolean {
    const node = this.#exactly(address, length);
    if (node === undefined) return false;
    node.shared = shared;
    this.#generation++;
    return true;
  }

  /** The owner of exactly this prefix, whoever has longer ones inside it. */
  ownerOf(address: Uint8Array, length: number): T | undefined {
    return this.#exactly(address, length)?.value;
  }

  #exactly(address: Uint8Array, length: number): Node<T> | undefined {
    const key = prefixNode<T>(address, length);
    let node = address.length === 4 ? this.#v4 : this.#v6;
    while (node !== undefined && node.length < length) {
      node = bitAt(key.w0, key.w1, key.w2, key.w3, node.length) === 0 ? node.zero : node.one;
    }
    if (node === undefined || node.length !== length || node.value === undefined) return undefined;
    return commonBits(node, key.w0, key.w1, key.w2, key.w3) < length ? undefined : node;
  }

  /** How the prefix that {@link lookup} finds is shared; undefined if it is not. */
  sharedAt(buffer: Uint8Array, offset: number, version: 4 | 6): SharedPrefix<T> | undefined {
    return this.#find(buffer, offset, version)?.shared;
  }

  #changed(): void {
    this.#generation++;
    this.#cache4?.clear();
    this.#cache6?.clear();
  }

  #replaceChild(
    parent: Node<T> | undefined,
    key: Node<T>,
    child: Node<T> | undefined,
    v4: boolean,
  ): void {
    if (parent === undefined) {
      if (v4) this.#v4 = child;
      else this.#v6 = child;
    } else if (bitAt(key.w0, key.w1, key.w2, key.w3, parent.length) === 0) {
      parent.zero = child;
    } else {
      parent.one = child;
    }
  }
}

/** @throws {RangeError} if this is no IPv4 or IPv6 prefix. */
export function checkPrefix(address: Uint8Array, length: number): void {
  if (address.length !== 4 && address.length !== 16) {
    throw new RangeError(`an IP address has 4 or 16 bytes, got ${address.length}`);
  }
  if (!Number.isInteger(length) || length < 0 || length > address.length * 8) {
    throw new RangeError(`a prefix length is 0 to ${address.length * 8}, got ${length}`);
  }
}

/** A prefix of up to 128 bits in four words; IPv4 uses the first. */
class Node<T> {
  value: T | undefined = undefined;
  shared: SharedPrefix<T> | undefined = undefined;
  zero: Node<T> | undefined = undefined;
  one: Node<T> | undefined = undefined;

  constructor(
    readonly w0: number,
    readonly w1: number,
    readonly w2: number,
    readonly w3: number,
    readonly length: number,
  ) {}
}

/** The node with a value that has the longest prefix of an address of `bits` bits. */
function findNode<T>(
  node: Node<T> | undefined,
  bits: number,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
): Node<T> | undefined {
  let found: Node<T> | undefined;
  while (node !== undefined && commonBits(node, w0, w1, w2, w3) >= node.length) {
    if (node.value !== undefined) found = node;
    if (node.length === bits) break;
    node = bitAt(w0, w1, w2, w3, node.length) === 0 ? node.zero : node.one;
  }
  return found;
}

/** The node above both `leaf` and `node`: `leaf` itself if it contains `node`, else a new one. */
function join<T>(leaf: Node<T>, node: Node<T>): Node<T> {
  const common = Math.min(
    commonBits(node, leaf.w0, leaf.w1, leaf.w2, leaf.w3),
    leaf.length,
    node.length,
  );
  const top = common === leaf.length ? leaf : masked<T>(leaf.w0, leaf.w1, leaf.w2, leaf.w3, common);
  setChild(top, node);
  if (top !== leaf) setChild(top, leaf);
  return top;
}

function setChild<T>(parent: Node<T>, child: Node<T>): void {
  if (bitAt(child.w0, child.w1, child.w2, child.w3, parent.length) === 0) parent.zero = child;
  else parent.one = child;
}

function prefixNode<T>(address: Uint8Array, length: number): Node<T> {
  checkPrefix(address, length);
  if (address.length === 4) return masked(word(address, 0), 0, 0, 0, length);
  return masked(word(address, 0), word(address, 4), word(address, 8), word(address, 12), length);
}

function masked<T>(w0: number, w1: number, w2: number, w3: number, length: number): Node<T> {
  return new Node<T>(
    w0 & mask(length),
    w1 & mask(length - 32),
    w2 & mask(length - 64),
    w3 & mask(length - 96),
    length,
  );
}

/** A word with the first `bits` bits set. */
function mask(bits: number): number {
  if (bits <= 0) return 0;
  return bits >= 32 ? -1 : ~(-1 >>> bits);
}

/** How many leading bits the node and an address share. Behind its length the node's are zero. */
function commonBits<T>(node: Node<T>, w0: number, w1: number, w2: number, w3: number): number {
  if (w0 !== node.w0) return Math.clz32(w0 ^ node.w0);
  if (w1 !== node.w1) return 32 + Math.clz32(w1 ^ node.w1);
  if (w2 !== node.w2) return 64 + Math.clz32(w2 ^ node.w2);
  if (w3 !== node.w3) return 96 + Math.clz32(w3 ^ node.w3);
  return 128;
}

/** The bit at `position`, 0 being the most significant. */
function bitAt(w0: number, w1: number, w2: number, w3: number, position: number): number {
  if (position < 32) return w0 >>> (31 - position) & 1;
  if (position < 64) return w1 >>> (63 - position) & 1;
  if (position < 96) return w2 >>> (95 - position) & 1;
  return w3 >>> (127 - position) & 1;
}

/** Big-endian and signed. */
function word(buffer: Uint8Array, offset: number): number {
  return buffer[offset]! << 24 | buffer[offset + 1]! << 16 | buffer[offset + 2]! << 8 |
    buffer[offset + 3]!;
}
