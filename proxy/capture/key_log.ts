/**
 * WireGuard's secrets as Wireshark takes them (its preference `wg.keylog_file`, and in pcapng), and as
 * `extract-handshakes.sh` of wireguard-tools writes them.
 *
 * @module
 */

import { clampPrivateKey, type SecretKeys } from "../../wireguard/protocol.ts";
import { encodeKey } from "../base64.ts";

/** Lines, each with its end. */
export function keyLogLines({ localStaticPrivate, handshake }: SecretKeys): string {
  const own = line("LOCAL_STATIC_PRIVATE_KEY", localStaticPrivate);
  if (handshake === undefined) return own;
  const ephemeral = handshake.localEphemeralPrivate.slice();
  clampPrivateKey(ephemeral);
  const lines = own + line("REMOTE_STATIC_PUBLIC_KEY", handshake.remoteStaticPublic) +
    line("LOCAL_EPHEMERAL_PRIVATE_KEY", ephemeral) +
    // Of the ephemeral key in front of it.
    line("PRESHARED_KEY", handshake.presharedKey);
  ephemeral.fill(0);
  return lines;
}

function line(name: string, key: Uint8Array): string {
  return `${name} = ${encodeKey(key)}\n`;
}
