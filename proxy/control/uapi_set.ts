/**
 * Applies a `set=1` request to a running gateway.
 *
 * `wireguard-go` applies line by line and stops in the middle of a request that it cannot take to its
 * end. Here a request takes effect as a whole or not at all: it was checked before, and the one thing
 * that the system may still refuse, the socket's port or mark, is tried first.
 *
 * @module
 */

import { Errno } from "../../ffi/mod.ts";
import type { Peer } from "../../wireguard/mod.ts";
import { socketAddress } from "../address.ts";
import { SettingError } from "../config/error.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { isSameKey, KEY_LENGTH } from "../base64.ts";
import type { TunnelPeers } from "../gateway/peers.ts";
import { Refusal } from "./refusal.ts";
import type { PeerRequest, SetRequest } from "./uapi_request.ts";

/** @returns why nothing was changed, if so. */
export function uapiSet(gateway: Gateway, request: SetRequest): Refusal | undefined {
  const { peers, engine } = gateway;
  const doubled = doubledName(gateway, request);
  if (doubled !== undefined) {
    return new Refusal(
      Errno.EINVAL,
      `wirestack_name ${doubled} is another peer's too, expected each name once`,
    );
  }
  const refusal = listen(gateway, request);
  if (refusal !== undefined) return refusal;
  if (request.privateKey !== undefined) peers.setPrivateKey(request.privateKey ?? undefined);
  if (request.replacePeers) replacePeers(gateway, request.peers);
  for (const peer of request.peers) setPeer(gateway, peer);
  engine.wake();
  return undefined;
}

/** A name that two peers would have: rules, `set` and figures go by names. */
function doubledName(
  { engine: { device } }: Gateway,
  { peers, replacePeers }: SetRequest,
): string | undefined {
  if (peers.every(({ name }) => name === undefined)) return undefined;
  const names = new Map<string, string | undefined>();
  const kept = new Set(peers.map(({ publicKey }) => publicKey.toHex()));
  for (const { publicKey, name } of device.peers()) {
    const key = publicKey.toHex();
    if (!replacePeers || kept.has(key)) names.set(key, name);
  }
  for (const { publicKey, name, remove, updateOnly } of peers) {
    const key = publicKey.toHex();
    if (remove) names.delete(key);
    else if (name !== undefined && (!updateOnly || names.has(key))) names.set(key, name);
  }
  const taken = new Set<string>();
  for (const name of names.values()) {
    if (name === undefined) continue;
    if (taken.has(name.toLowerCase())) return name;
    taken.add(name.toLowerCase());
  }
  return undefined;
}

function listen(gateway: Gateway, request: SetRequest): Refusal | undefined {
  const { listenAddress } = gateway;
  const { listenPort = gateway.port, fwMark = gateway.fwMark } = request;
  try {
    gateway.listen({ listenPort, fwMark, ...(listenAddress !== undefined && { listenAddress }) });
    return undefined;
  } catch (error) {
    const { message } = error as Error;
    const isDenied = error instanceof SettingError &&
      error.cause instanceof Deno.errors.PermissionDenied;
    if (error instanceof SettingError && error.path[1] === "fwMark") {
      return new Refusal(isDenied ? Errno.EPERM : Errno.EOPNOTSUPP, `fwmark: ${message}`);
    }
    return new Refusal(isDenied ? Errno.EACCES : Errno.EADDRINUSE, `listen_port: ${message}`);
  }
}

/**
 * A peer in both lists starts afresh, but keeps its session and the endpoint it was last heard at: a
 * client behind a NAT could not be reached otherwise.
 */
function replacePeers({ engine, peers }: Gateway, requests: readonly PeerRequest[]): void {
  const first = new Map<string, PeerRequest>();
  for (const request of requests) {
    const name = request.publicKey.toHex();
    if (!first.has(name)) first.set(name, request);
  }
  for (const peer of [...engine.device.peers()]) {
    const request = first.get(peer.publicKey.toHex());
    if (request === undefined || request.updateOnly) {
      peers.remove(peer);
      continue;
    }
    request.replaceAllowedIps = true;
    request.persistentKeepalive ??= 0;
    request.presharedKey ??= new Uint8Array(KEY_LENGTH);
    if (request.endpoint !== undefined) continue;
    peers.forgetLocation(peer);
    if (!peer.hasSession) peer.setEndpoint(undefined);
  }
}

function setPeer({ engine, peers }: Gateway, request: PeerRequest): void {
  const { publicKey } = request;
  // As in the kernel, the interface's own key among the peers is passed over.
  if (isSameKey(publicKey, engine.device.publicKey)) return;
  const known = engine.device.peer(publicKey);
  if (request.remove) {
    if (known !== undefined) peers.remove(known);
    return;
  }
  if (known === undefined && request.updateOnly) return;
  const peer = known ?? peers.add({ publicKey, allowedIps: [], persistentKeepalive: 0 });
  if (request.name !== undefined) peer.name = request.name;
  if (request.presharedKey !== undefined) peer.setPresharedKey(request.presharedKey);
  if (request.endpoint !== undefined) {
    const { address, port } = request.endpoint;
    // Where it is already, it may have been found by a name, which then goes on being looked up.
    const isThere = peer.endpoint?.toString() === socketAddress(address, port);
    if (!isThere) peers.setLocation(peer, { hostname: `${address}`, port });
  }
  setAllowedIps(peers, peer, request);
  if (request.persistentKeepalive !== undefined) {
    peers.setPersistentKeepalive(peer, request.persistentKeepalive);
  }
}

function setAllowedIps(peers: TunnelPeers, peer: Peer, request: PeerRequest): void {
  if (!request.replaceAllowedIps) {
    for (const { prefix, remove } of request.allowedIps) {
      if (remove) peers.removeAllowedIp(peer, prefix);
      else peers.addAllowedIp(peer, prefix);
    }
    return;
  }
  const list = new Map<string, PeerRequest["allowedIps"][number]["prefix"]>();
  for (const { prefix, remove } of request.allowedIps) {
    if (remove) list.delete(`${prefix}`);
    else list.set(`${prefix}`, prefix);
  }
  peers.setAllowedIps(peer, [...list.values()]);
}
