import type { IpAddress, IpVersion, Prefix } from "./address.ts";
import type { Nic } from "./nic.ts";

/** Which NIC leads to an address: the one with the longest matching prefix. */
export class RouteTable {
  readonly #ipv4 = new PrefixTrie<Nic>();
  readonly #ipv6 = new PrefixTrie<Nic>();
  /** Changes with every change, so that what was looked up can be kept until then. */
  generation = 0;

  /** Adds a route, or turns the one for the same prefix to another NIC. */
  insert(prefix: Prefix, nic: Nic): void {
    this.#trie(prefix.version).insert(prefix.address.bytes, prefix.length, nic);
    this.generation++;
  }

  /** @returns Whether there was such a route to `nic`. */
  remove(prefix: Prefix, nic: Nic): boolean {
    const trie = this.#trie(prefix.version);
    if (trie.get(prefix.address.bytes, prefix.length) !== nic) return false;
    this.generation++;
    return trie.remove(prefix.address.bytes, prefix.length);
  }

  /** Removes every route to `nic`. */
  removeNic(nic: Nic): void {
    this.#ipv4.removeValue(nic);
    this.#ipv6.removeValue(nic);
    this.generation++;
  }

  /** The NIC for the address at `offset` of a packet. */
  lookup(buffer: Uint8Array, offset: number, version: IpVersion): Nic | undefined {
    return version === 4 ? this.#ipv4.lookup(buffer, offset, 32) : this.#ipv6.lookup(
      buffer,
      offset,
      128,
    );
  }

  lookupAddress(address: IpAddress): Nic | undefined {
    return this.lookup(address.bytes, 0, address.version);
  }

  #trie(version: IpVersion): PrefixTrie<Nic> {
    return version === 4 ? this.#ipv4 : this.#ipv6;
  }
}

/** A prefix with a value, or a place where two prefixes part. */
interface Node<T> {
  readonly bits: Uint8Array;
  readonly length: number;
  value: T | undefined;
  parent: Node<T> | undefined;
  zero: Node<T> | undefined;
  one: Node<T> | undefined;
}

/** A path-compressed binary trie: a lookup visits at most one node for each prefix on the way. */
class PrefixTrie<T> {
  #root: Node<T> | undefined;

  lookup(buffer: Uint8Array, offset: number, bits: number): T | undefined {
    let found: T | undefined;
    let node = this.#root;
    while (node !== undefined) {
      if (commonBits(node.bits, buffer, offset, node.length) < node.length) break;
      if (node.value !== undefined) found = node.value;
      if (node.length >= bits) break;
      node = bitAt(buffer, offset, node.length) === 0 ? node.zero : node.one;
    }
    return found;
  }

  get(bits: Uint8Array, length: number): T | undefined {
    return this.#find(bits, length)?.value;
  }

  insert(bits: Uint8Array, length: number, value: T): void {
    let parent: Node<T> | undefined;
    let node = this.#root;
    while (node !== undefined) {
      const common = commonBits(node.bits, bits, 0, Math.min(node.length, length));
      if (common < node.length) {
        const leaf = newNode(bits, length, value);
        if (common === length) { // The new prefix holds the old one.
          this.#attach(parent, leaf, node);
          this.#attach(leaf, node, node);
        } else {
          const fork = newNode<T>(bits, common, undefined);
          this.#attach(parent, fork, node);
          this.#attach(fork, node, node);
          this.#attach(fork, leaf, leaf);
        }
        return;
      }
      if (node.length === length) {
        node.value = value;
        return;
      }
      parent = node;
      node = bitAt(bits, 0, node.length) === 0 ? node.zero : node.one;
    }
    const leaf = newNode(bits, length, value);
    this.#attach(parent, leaf, leaf);
  }

  remove(bits: Uint8Array, length: number): boolean {
    const node = this.#find(bits, length);
    if (node?.value === undefined) return false;
    node.value = undefined;
    this.#prune(node);
    return true;
  }

  removeValue(value: T): void {
    const matching: Node<T>[] = [];
    const visit = (node: Node<T> | undefined) => {
      if (node === undefined) return;
      if (node.value === value) matching.push(node);
      visit(node.zero);
      visit(node.one);
    };
    visit(this.#root);
    for (const node of matching) this.remove(node.bits, node.length);
  }

  #find(bits: Uint8Array, length: number): Node<T> | undefined {
    let node = this.#root;
    while (node !== undefined && node.length <= length) {
      if (commonBits(node.bits, bits, 0, node.length) < node.length) return undefined;
      if (node.length === length) return node;
      node = bitAt(bits, 0, node.length) === 0 ? node.zero : node.one;
    }
    return undefined;
  }

  /** Puts `child` below `parent`, on the side where `like` belongs. */
  #attach(parent: Node<T> | undefined, child: Node<T>, like: Node<T>): void {
    child.parent = parent;
    if (parent === undefined) this.#root = child;
    else if (bitAt(like.bits, 0, parent.length) === 0) parent.zero = child;
    else parent.one = child;
  }

  /** Takes out nodes that neither hold a value nor part two others. */
  #prune(node: Node<T>): void {
    if (node.value !== undefined || (node.zero !== undefined && node.one !== undefined)) return;
    const { parent } = node;
    const child = node.zero ?? node.one;
    if (child !== undefined) {
      this.#attach(parent, child, node);
      return;
    }
    if (parent === undefined) this.#root = undefined;
    else {
      if (parent.zero === node) parent.zero = undefined;
      else parent.one = undefined;
      this.#prune(parent);
    }
  }
}

function newNode<T>(bits: Uint8Array, length: number, value: T | undefined): Node<T> {
  return { bits, length, value, parent: undefined, zero: undefined, one: undefined };
}

function bitAt(buffer: Uint8Array, offset: number, index: number): number {
  return buffer[offset + (index >> 3)]! >> (7 - (index & 7)) & 1;
}

/** How many of the first `limit` bits agree. */
function commonBits(a: Uint8Array, b: Uint8Array, bOffset: number, limit: number): number {
  for (let i = 0; i << 3 < limit; i++) {
    const difference = a[i]! ^ b[bOffset + i]!;
    if (difference !== 0) return Math.min(limit, (i << 3) + Math.clz32(difference) - 24);
  }
  return limit;
}
