/**
 * Where a gateway's peers come from: its file, a list that it watches, enrolment, the control socket.
 * Each source says what its peers are to be, and touches no other's: a reload leaves those of a list
 * and those that were enrolled alone. What the control socket or an embedder adds has no source; it
 * stays until the next reload, as everything does that is set.
 *
 * A key that two sources have is the file's, then the list's. A name has one peer, since rules go by
 * names: a peer that comes with another's name is left out, as is the gateway's own key.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import type { Device, Peer } from "../../wireguard/mod.ts";
import { encodeKey, isSameKey } from "../base64.ts";
import type { PeerConfig } from "../config/checked.ts";
import { getLogger } from "../log/logger.ts";
import { applyPeer } from "./peer_apply.ts";
import { peerName } from "./peer_name.ts";
import type { TunnelPeers } from "./peers.ts";
import {
  type ChooseHolder,
  type Claimant,
  lastOfLowestRank,
  PrefixClaims,
} from "./prefix_claims.ts";

const log = getLogger(["wirestack", "config"]);

/** Sources that say what their peers are to be; the first that has a key counts. */
export type PeerSource = "file" | "list" | "enrolled";
/** Where a peer comes from. `control`: no source has it, the control socket or an embedder added it. */
export type PeerOrigin = "file" | "list" | "enrolled" | "control";

const SOURCES: readonly PeerSource[] = ["file", "list", "enrolled"];

/** What a source's change has done. */
export interface PeersReport {
  /** Peers. */
  readonly added: number;
  /** As {@link added}. */
  readonly removed: number;
  /** As {@link added}. */
  readonly changed: number;
  /** The same by name, a line each. */
  readonly peers: readonly string[];
}

export class PeerSources {
  readonly #device: Device;
  readonly #peers: TunnelPeers;
  /** By source, then by key in hexadecimal digits. */
  readonly #wanted: Readonly<Record<PeerSource, Map<string, Claimant>>> = {
    file: new Map(),
    list: new Map(),
    enrolled: new Map(),
  };
  /** What counts, by key: the peer runs, unless the control socket has removed it. */
  readonly #taken = new Map<string, Claimant>();
  /** Why a peer that a source has is not there. */
  readonly #leftOut = new Map<string, string>();
  /** Keys that two sources have: said once. */
  readonly #doubled = new Set<string>();
  /** Who lists which prefix, of the peers that count. */
  readonly claims = new PrefixClaims();
  /** Decides who holds a prefix that several list. Who replaces it calls {@link reassign} then. */
  chooseHolder: ChooseHolder = lastOfLowestRank;
  /** Called after every change of a source. */
  onChanged: () => void = () => {};
  #nextIndex = 0;

  constructor(device: Device, peers: TunnelPeers) {
    this.#device = device;
    this.#peers = peers;
  }

  origin({ publicKey }: Peer): PeerOrigin {
    const claimant = this.#taken.get(publicKey.toHex());
    return claimant === undefined ? "control" : SOURCES[claimant.rank]!;
  }

  /** What a peer is to be; undefined if no source has it. */
  config({ publicKey }: Peer): PeerConfig | undefined {
    return this.#taken.get(publicKey.toHex())?.config;
  }

  /** Those of a source, in its order, whether or not they count. */
  of(source: PeerSource): PeerConfig[] {
    return Array.from(this.#wanted[source].values(), ({ config }) => config);
  }

  /**
   * Whether a peer of this source would be left out for its name.
   *
   * @param publicKey Of the peer that asks: its own name is free.
   */
  isNameTaken(name: string, publicKey?: Uint8Array): boolean {
    const key = publicKey?.toHex();
    for (const peer of this.#device.peers()) {
      if (peer.name?.toLowerCase() === name.toLowerCase() && peer.publicKey.toHex() !== key) {
        return true;
      }
    }
    return false;
  }

  /**
   * Makes this the whole of a source. The file's takes away what has no source, too, and puts right
   * what the control socket has changed.
   */
  replace(source: PeerSource, configs: readonly PeerConfig[]): PeersReport {
    const before = this.#wanted[source];
    const keys = new Set(before.keys());
    before.clear();
    for (const config of configs) {
      const key = config.publicKey.toHex();
      keys.add(key);
      before.set(key, this.#claimant(source, config));
    }
    if (source === "file") {
      for (const { publicKey } of this.#device.peers()) keys.add(publicKey.toHex());
      for (const key of this.#taken.keys()) keys.add(key);
    }
    return this.#settle(keys);
  }

  /** Adds a peer to a source, or changes the one with this key. */
  add(source: PeerSource, config: PeerConfig): PeersReport {
    return this.addAll(source, [config]);
  }

  /** The same of many, which costs little more: who shares what is looked at when all are there. */
  addAll(source: PeerSource, configs: readonly PeerConfig[]): PeersReport {
    const wanted = this.#wanted[source];
    const keys = configs.map((config) => {
      const key = config.publicKey.toHex();
      wanted.set(key, this.#claimant(source, config, wanted.get(key)?.index));
      return key;
    });
    return this.#settle(new Set(keys));
  }

  /** Takes a peer from a source: its sessions end, unless another source has it. */
  remove(source: PeerSource, publicKey: Uint8Array): PeersReport {
    return this.removeAll(source, [publicKey]);
  }

  /** The same of many: see {@link addAll}. */
  removeAll(source: PeerSource, publicKeys: readonly Uint8Array[]): PeersReport {
    const keys = publicKeys.map((publicKey) => publicKey.toHex());
    for (const key of keys) this.#wanted[source].delete(key);
    return this.#settle(new Set(keys));
  }

  /** Why a peer that a source has is not there; undefined if it is. */
  reasonLeftOut(publicKey: Uint8Array): string | undefined {
    return this.#leftOut.get(publicKey.toHex());
  }

  /** Gives a prefix that several list to whom {@link chooseHolder} says. */
  reassign(prefix: Prefix): void {
    const holder = this.#holder(prefix);
    const peer = holder && this.#device.peer(holder.config.publicKey);
    if (peer === undefined) return;
    const text = `${prefix}`;
    if (this.#peers.allowedIps(peer).some((own) => `${own}` === text)) return;
    this.#peers.addAllowedIp(peer, prefix);
  }

  /** @param index The place it keeps; missing for the last. */
  #claimant(source: PeerSource, config: PeerConfig, index = this.#nextIndex++): Claimant {
    return { config, rank: SOURCES.indexOf(source), index };
  }

  /** Of those that run. */
  #holder(prefix: Prefix): Claimant | undefined {
    const claimants = this.claims.of(prefix);
    const running = claimants.length < 2
      ? claimants
      : claimants.filter(({ config }) => this.#device.peer(config.publicKey) !== undefined);
    return running.length < 2 ? running[0] : this.chooseHolder(prefix, running);
  }

  /** Makes the peers of these keys what the sources say. */
  #settle(keys: Set<string>): PeersReport {
    for (const key of this.#leftOut.keys()) keys.add(key);
    const accepted = this.#accepted(keys);
    const freed = new Map<string, Prefix>();
    const lines: string[] = [];
    let [removed, changed] = [0, 0];
    for (const key of keys) {
      const before = this.#taken.get(key);
      if (before !== undefined) {
        this.#taken.delete(key);
        this.claims.remove(before);
        for (const prefix of before.config.allowedIps) freed.set(`${prefix}`, prefix);
      }
      if (accepted.has(key)) continue;
      const peer = this.#device.peer(Uint8Array.fromHex(key));
      if (peer === undefined) continue;
      lines.push(`peer ${peerName(peer)}: removed`);
      this.#peers.remove(peer);
      removed++;
    }
    const added = new Set<Claimant>();
    for (const [key, claimant] of accepted) {
      const { config } = claimant;
      this.#taken.set(key, claimant);
      this.claims.add(claimant);
      if (this.#device.peer(config.publicKey) !== undefined) continue;
      this.#peers.add({ ...config, allowedIps: [], persistentKeepalive: 0 });
      added.add(claimant);
    }
    // When all are there: whose a shared prefix is depends on who else has it.
    for (const claimant of accepted.values()) {
      const { config } = claimant;
      const peer = this.#device.peer(config.publicKey)!;
      const holds = (prefix: Prefix) => this.#holder(prefix)?.config === config;
      const isChanged = applyPeer(this.#peers, peer, config, holds);
      if (added.has(claimant)) lines.push(`peer ${peerName(peer)}: added`);
      else if (isChanged) lines.push(`peer ${peerName(peer)}: changed`);
      if (isChanged && !added.has(claimant)) changed++;
    }
    for (const prefix of freed.values()) this.reassign(prefix);
    this.onChanged();
    return { added: added.size, removed, changed, peers: lines };
  }

  /**
   * What counts of these keys, by key: those of sources that count first come first. Keys of peers that
   * have to give up their names are added to `keys`.
   */
  #accepted(keys: Set<string>): Map<string, Claimant> {
    const winners: [string, Claimant][] = [];
    for (const key of keys) {
      const winner = this.#winner(key);
      if (winner === undefined) this.#leftOut.delete(key);
      else winners.push([key, winner]);
    }
    const names = this.#namesOfOthers(keys, winners);
    winners.sort(([, a], [, b]) => inOrder(a, b));
    const accepted = new Map<string, Claimant>();
    for (const [key, claimant] of winners) {
      const { publicKey, name } = claimant.config;
      const holder = name === undefined ? undefined : names.get(name.toLowerCase());
      if (isSameKey(publicKey, this.#device.publicKey)) {
        this.#leaveOut(key, claimant, "its key is this gateway's own");
      } else if (holder !== undefined && holder !== key) {
        this.#leaveOut(key, claimant, `${name} is another peer's name`);
      } else {
        this.#leftOut.delete(key);
        accepted.set(key, claimant);
        if (name !== undefined) names.set(name.toLowerCase(), key);
      }
    }
    return accepted;
  }

  /** The names of running peers that are not looked at, with their keys. */
  #namesOfOthers(keys: Set<string>, winners: [string, Claimant][]): Map<string, string> {
    const wanted = new Map<string, Claimant>();
    for (const [, claimant] of winners) {
      const name = claimant.config.name?.toLowerCase();
      if (name === undefined) continue;
      const known = wanted.get(name);
      if (known === undefined || inOrder(claimant, known) < 0) wanted.set(name, claimant);
    }
    const names = new Map<string, string>();
    if (wanted.size === 0) return names;
    for (const { name, publicKey } of this.#device.peers()) {
      const wanting = name === undefined ? undefined : wanted.get(name.toLowerCase());
      if (wanting === undefined) continue;
      const key = publicKey.toHex();
      if (keys.has(key)) continue;
      const claimant = this.#taken.get(key);
      if (claimant !== undefined && inOrder(wanting, claimant) < 0) {
        keys.add(key);
        winners.push([key, claimant]);
      } else names.set(name!.toLowerCase(), key);
    }
    return names;
  }

  /** Of the sources that have a key the first. */
  #winner(key: string): Claimant | undefined {
    const having = SOURCES.filter((source) => this.#wanted[source].has(key));
    const [first, second] = having;
    if (second === undefined) this.#doubled.delete(key);
    if (first === undefined) return undefined;
    const claimant = this.#wanted[first].get(key)!;
    if (second !== undefined && !this.#doubled.has(key)) {
      this.#doubled.add(key);
      log.warn(
        "peer {peer}: is in two sources of peers, {source} and {other}: that of {source} counts",
        {
          peer: nameOf(claimant),
          source: first,
          other: second,
        },
      );
    }
    return claimant;
  }

  #leaveOut(key: string, claimant: Claimant, reason: string): void {
    if (this.#leftOut.get(key) === reason) return;
    this.#leftOut.set(key, reason);
    log.warn("peer {peer} of {source}: left out, {reason}", {
      peer: encodeKey(claimant.config.publicKey),
      source: SOURCES[claimant.rank],
      reason,
    });
  }
}

/** By source, then by the place in it: so a restart comes to the same. */
function inOrder(a: Claimant, b: Claimant): number {
  return a.rank - b.rank || a.index - b.index;
}

function nameOf({ config: { name, publicKey } }: Claimant): string {
  return name ?? encodeKey(publicKey);
}
