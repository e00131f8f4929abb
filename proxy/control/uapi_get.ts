/**
 * The answer to `get=1`: keys in the order in which `wireguard-go` writes them.
 *
 * @module
 */

import { IpAddress } from "../../netstack/mod.ts";
import { socketAddress } from "../address.ts";
import type { Endpoint } from "../../wireguard/mod.ts";
import type { Gateway } from "../gateway/gateway.ts";

/** Lines, without the `errno` that ends the answer. Has the private and the preshared keys. */
export function uapiGet(gateway: Gateway): string {
  const { engine, peers } = gateway;
  const { privateKey } = peers;
  const lines = [
    ...(privateKey ? [`private_key=${privateKey.toHex()}`] : []),
    `listen_port=${gateway.port}`,
    ...(gateway.fwMark ? [`fwmark=${gateway.fwMark}`] : []),
  ];
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
  }
  return lines.join("\n") + "\n";
}

/** An address and port, as `wg` wants it, by whatever the peer is reached; nothing if that is not known. */
function placeOf(endpoint: Endpoint | undefined): string[] {
  if (endpoint === undefined) return [];
  const address = new IpAddress(endpoint.address);
  return address.isUnspecified ? [] : [socketAddress(address, endpoint.port)];
}
