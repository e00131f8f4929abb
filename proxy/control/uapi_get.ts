/**
 * The answer to `get=1`: keys in the order in which `wireguard-go` writes them.
 *
 * @module
 */

import { IpAddress } from "../../netstack/mod.ts";
import { socketAddress } from "../address.ts";
import type { Endpoint } from "../../wireguard/mod.ts";
import type { Gateway } from "../gateway/gateway.ts";

/** Peers of a piece. */
const PIECE = 16;

/**
 * Lines, in pieces, without the `errno` that ends the answer. Has the private and the preshared keys.
 * Each peer is looked at when its turn comes.
 */
export function* uapiGet(gateway: Gateway): Iterable<string> {
  const { engine, peers } = gateway;
  const { privateKey } = peers;
  let lines = [
    ...(privateKey ? [`private_key=${privateKey.toHex()}`] : []),
    `listen_port=${gateway.port}`,
    ...(gateway.fwMark ? [`fwmark=${gateway.fwMark}`] : []),
  ];
  let count = 0;
  for (const peer of engine.device.peers()) {
    const { endpoint, lastHandshake } = peer;
    lines.push(
      `public_key=${peer.publicKey.toHex()}`,
      `preshared_key=${peer.presharedKey.toHex()}`,
      "protocol_version=1",
      ...placeOf(endpoint).map((place) => `endpoint=${place}`),
      `last_handshake_time_sec=${Math.floor(lastHandshake / 1000)}`,
      `last_handshake_time_nsec=${Math.floor(lastHandshake % 1000 * 1e6)}`,
      `tx_bytes=${peer.sentBytes}`,
      `rx_bytes=${peer.receivedBytes}`,
      `persistent_keepalive_interval=${peer.persistentKeepalive}`,
    );
    for (const { address, length } of peer.allowedIps) {
      lines.push(`allowed_ip=${new IpAddress(address)}/${length}`);
    }
    if (++count % PIECE !== 0) continue;
    yield lines.join("\n") + "\n";
    lines = [];
  }
  if (lines.length > 0) yield lines.join("\n") + "\n";
}

/** An address and port, as `wg` wants it, by whatever the peer is reached; nothing if that is not known. */
function placeOf(endpoint: Endpoint | undefined): string[] {
  if (endpoint === undefined) return [];
  const address = new IpAddress(endpoint.address);
  return address.isUnspecified ? [] : [socketAddress(address, endpoint.port)];
}
