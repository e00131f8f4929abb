/**
 * The file that a machine is configured with when it has joined.
 *
 * @module
 */

import { basename } from "node:path";
import { Prefix } from "../../../netstack/mod.ts";
import { socketAddress } from "../../address.ts";
import { encodeKey } from "../../base64.ts";
import { formatConfigFile } from "../../config/format.ts";
import { DEFAULT_MTU } from "../../config/schema.ts";
import { isInterfaceName } from "../../control/socket_path.ts";
import { servedPrefixes } from "../../enrol/member.ts";
import type { Grant } from "../../enrol/message.ts";
import { certificateFiles } from "./files.ts";

/** Seconds: how long an agent cannot be reached after a NAT has forgotten it. */
const AGENT_KEEPALIVE = 10;
const CLIENT_KEEPALIVE = 25;
/** Of a name for an interface, which the file's is. */
const MAX_NAME = 15;

/**
 * Its text.
 *
 * @param out Where it goes, with what it names beside it.
 */
export function configurationOf(
  grant: Grant,
  privateKey: Uint8Array,
  hubKey: Uint8Array,
  out: string,
): string {
  const { isClient, addresses, allowedIps, endpoints, mtu, maps, fallbacks, renewAt } = grant;
  const { key, cert } = certificateFiles(basename(out));
  const served = servedPrefixes(grant).map(String);
  return formatConfigFile({
    interface: {
      privateKey: encodeKey(privateKey),
      address: addresses.map((address) => `${Prefix.of(address)}`),
      ...(mtu !== DEFAULT_MTU && { mtu }),
    },
    peers: [{
      publicKey: encodeKey(hubKey),
      name: "hub",
      allowedIps: allowedIps.map(String),
      endpoint: [...endpoints],
      ...(fallbacks.length > 0 && {
        fallback: fallbacks.map(({ url }) => url),
        cert,
        key,
        pin: [...new Set(fallbacks.flatMap(({ pins }) => pins))],
        ...(renewAt && { renewAt: socketAddress(renewAt.address, renewAt.port) }),
      }),
      persistentKeepalive: isClient ? CLIENT_KEEPALIVE : AGENT_KEEPALIVE,
    }],
    ...(!isClient && {
      proxy: { subnets: served, map: maps.map(({ from, to }) => `${from} -> ${to}`) },
    }),
  });
}

/** What the file is called if nobody says: by the machine's name, as that of an interface. */
export function defaultFile(name: string): string {
  const fit = name.replace(/[^A-Za-z0-9_=+.-]+/g, "-").slice(0, MAX_NAME).replace(/[.-]+$/, "");
  return `${isInterfaceName(fit) ? fit : "hub"}.conf`;
}
