/**
 * The peers of a running gateway, and what hangs on each: routes to its allowed IPs, a name that is
 * looked up for its endpoint. The configuration at start, a reload and the control socket all
 * change peers here.
 *
 * @module
 */

import { IpAddress, Prefix } from "../../netstack/mod.ts";
import { type AllowedIp, clampPrivateKey, type Peer } from "../../wireguard/mod.ts";
import { parseIpAddress } from "../address.ts";
import { UdpAddress } from "../bind/udp_address.ts";
import type { UdpBind } from "../bind/udp.ts";
import type { PeerConfig } from "../config/config.ts";
import type { Engine } from "../engine/engine.ts";
import type { GatewayRoutes } from "./routes.ts";
import { encodeKey, generatePrivateKey, isSameKey, publicKeyOf } from "../base64.ts";
import { PeerEndpoint, type Resolve } from "./resolver.ts";

/** What logs and statistics call a peer: its name, or, if it has none, its public key in base64. */
export function peerName(peer: Peer): string {
  return peer.name ?? encodeKey(peer.publicKey);
}

/** Where a peer is: an address or a name, IPv6 without brackets. */
export type PeerLocation = NonNullable<PeerConfig["endpoint"]>;

export interface TunnelPeersOptions {
  /** Default: as the system resolves names. */
  readonly resolve?: Resolve;
  /** How old the address of a name must be before a failing handshake has it looked up again. */
  readonly resolveAgainMs?: number;
}

export class TunnelPeers {
  readonly #engine: Engine;
  readonly #udp: UdpBind;
  readonly #routes: GatewayRoutes;
  readonly #options: TunnelPeersOptions;
  /** As last configured, not as learnt from packets. */
  readonly #locations = new Map<Peer, PeerLocation>();
  readonly #names = new Map<Peer, PeerEndpoint>();
  #privateKey: Uint8Array | undefined;

  /**
   * @param udp Where configured addresses are sent to.
   * @param privateKey The one the engine was started with.
   */
  constructor(
    engine: Engine,
    udp: UdpBind,
    routes: GatewayRoutes,
    privateKey: Uint8Array,
    options: TunnelPeersOptions,
  ) {
    this.#engine = engine;
    this.#udp = udp;
    this.#routes = routes;
    this.#options = options;
    this.#privateKey = clampPrivateKey(privateKey.slice());
  }

  /** 32 bytes, clamped; not to be written to. Undefined when it was taken away. */
  get privateKey(): Uint8Array | undefined {
    return this.#privateKey;
  }

  /**
   * Changes the gateway's own key; the peers shake hands anew, a peer that has this key is removed.
   * The same key again changes nothing. Without a key there are no handshakes.
   */
  setPrivateKey(key: Uint8Array | undefined): void {
    const { device } = this.#engine;
    const next = key && clampPrivateKey(key.slice());
    const known = this.#privateKey;
    if (next === undefined ? known === undefined : known && isSameKey(next, known)) return;
    const self = next && device.peer(publicKeyOf(next));
    if (self !== undefined) this.remove(self);
    // The device cannot be without one: it gets one that nobody knows, nor its public half.
    const unknown = next === undefined ? generatePrivateKey() : undefined;
    device.setPrivateKey(next ?? unknown!, this.#engine.now());
    unknown?.fill(0);
    known?.fill(0);
    this.#privateKey = next;
    this.#engine.wake();
  }

  /** @throws {TypeError} if the key is the gateway's own, or a peer's already. */
  add(config: PeerConfig): Peer {
    const { publicKey, name, presharedKey, allowedIps, endpoint, persistentKeepalive } = config;
    const peer = this.#engine.device.addPeer({
      publicKey,
      ...(presharedKey && { presharedKey }),
    }, this.#engine.now());
    peer.name = name;
    if (endpoint !== undefined) this.setLocation(peer, endpoint);
    this.setAllowedIps(peer, allowedIps);
    this.setPersistentKeepalive(peer, persistentKeepalive); // last: it may start a handshake
    return peer;
  }

  remove(peer: Peer): void {
    for (const prefix of this.allowedIps(peer)) this.#routes.removeAllowedIp(prefix);
    this.#names.get(peer)?.close();
    this.#names.delete(peer);
    this.#locations.delete(peer);
    this.#engine.device.removePeer(peer, this.#engine.now());
  }

  /** Where the peer was last configured to be. */
  location(peer: Peer): PeerLocation | undefined {
    return this.#locations.get(peer);
  }

  /** A name is looked up from now on; until it is found the peer stays where it is. */
  setLocation(peer: Peer, location: PeerLocation): void {
    this.forgetLocation(peer);
    this.#locations.set(peer, location);
    const { hostname, port } = location;
    const engine = this.#engine;
    const address = parseIpAddress(hostname);
    if (address !== undefined) {
      peer.setEndpoint(this.#udp.endpoint(address, port));
      if (peer.stagedPackets > 0) peer.initiate(engine.now());
      engine.wake();
      return;
    }
    const { resolve, resolveAgainMs } = this.#options;
    const found = (found: IpAddress) => {
      peer.setEndpoint(this.#udp.endpoint(found, port));
      if (peer.persistentKeepalive > 0 && !peer.hasSession) peer.initiate(engine.now());
      engine.wake();
    };
    const name = new PeerEndpoint(hostname, found, resolve, resolveAgainMs);
    this.#names.set(peer, name);
    name.start();
  }

  /** The peer is where its packets come from. */
  forgetLocation(peer: Peer): void {
    this.#names.get(peer)?.close();
    this.#names.delete(peer);
    this.#locations.delete(peer);
  }

  allowedIps(peer: Peer): Prefix[] {
    return peer.allowedIps.map(({ address, length }) => new Prefix(new IpAddress(address), length));
  }

  /** A prefix that another peer has is taken from it. */
  addAllowedIp(peer: Peer, prefix: Prefix): void {
    peer.addAllowedIp(toAllowedIp(prefix));
    this.#routes.addAllowedIp(prefix);
  }

  /** Nothing happens unless the prefix is this peer's. */
  removeAllowedIp(peer: Peer, prefix: Prefix): void {
    if (peer.removeAllowedIp(toAllowedIp(prefix))) this.#routes.removeAllowedIp(prefix);
  }

  /** Makes this the whole list. What stays is never unrouted in between. */
  setAllowedIps(peer: Peer, prefixes: readonly Prefix[]): void {
    const stay = new Set(prefixes.map(String));
    for (const prefix of this.allowedIps(peer)) {
      if (!stay.has(`${prefix}`)) this.removeAllowedIp(peer, prefix);
    }
    for (const prefix of prefixes) this.addAllowedIp(peer, prefix);
  }

  /** @param seconds 0 is off. */
  setPersistentKeepalive(peer: Peer, seconds: number): void {
    if (seconds === peer.persistentKeepalive) return;
    peer.setPersistentKeepalive(seconds, this.#engine.now());
    this.#engine.wake();
  }

  /** A handshake was not answered: the name may have moved. */
  handshakeFailed(peer: Peer): void {
    this.#names.get(peer)?.handshakeFailed();
  }

  /** The socket is another one: every endpoint of it becomes one of its own. */
  rebound(): void {
    for (const peer of this.#engine.device.peers()) {
      const { endpoint } = peer;
      if (!(endpoint instanceof UdpAddress) || endpoint.bind !== this.#udp) continue;
      const { address, port, scope } = endpoint;
      peer.setEndpoint(this.#udp.endpoint(new IpAddress(address), port, scope));
    }
  }

  /** No name is looked up any more. */
  close(): void {
    for (const name of this.#names.values()) name.close();
  }
}

function toAllowedIp({ address, length }: Prefix): AllowedIp {
  return { address: address.bytes, length };
}
