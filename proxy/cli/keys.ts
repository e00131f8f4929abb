/**
 * `genkey`, `genpsk` and `pubkey`, as in wireguard-tools: the same text on standard output, the same
 * messages, the same exit statuses.
 *
 * @module
 */

import {
  decodeKey,
  encodeKey,
  generatePresharedKey,
  generatePrivateKey,
  KEY_TEXT_LENGTH,
  publicKeyOf,
} from "../base64.ts";
import type { Terminal } from "./terminal.ts";

/** @returns the exit status. */
export function genkey(terminal: Terminal): number {
  return writeKey(generatePrivateKey(), terminal);
}

/** @returns the exit status. */
export function genpsk(terminal: Terminal): number {
  return writeKey(generatePresharedKey(), terminal);
}

function writeKey(key: Uint8Array, terminal: Terminal): number {
  if (terminal.outputIsWorldAccessible()) {
    terminal.error(
      "Warning: writing to world accessible file.\n" +
        "Consider setting the umask to 077 and trying again.\n",
    );
  }
  terminal.out(`${encodeKey(key)}\n`);
  return 0;
}

/** White space may follow the key. */
const MAX_INPUT = 65_536;

/**
 * A private key on standard input, its public key on standard output.
 *
 * @returns the exit status.
 */
export async function pubkey(terminal: Terminal): Promise<number> {
  const input = await terminal.readInput(MAX_INPUT);
  if (input.length < KEY_TEXT_LENGTH) {
    return refuse(terminal, "Key is not the correct length or format");
  }
  // White space behind the key, and NUL, as wg skips them.
  if (
    !input.subarray(KEY_TEXT_LENGTH).every((byte) =>
      " \t\n\v\f\r\0".includes(String.fromCharCode(byte))
    )
  ) {
    return refuse(terminal, "Trailing characters found after key");
  }
  const privateKey = decodeKey(String.fromCharCode(...input.subarray(0, KEY_TEXT_LENGTH)));
  if (privateKey === undefined) return refuse(terminal, "Key is not the correct length or format");
  terminal.out(`${encodeKey(publicKeyOf(privateKey))}\n`);
  return 0;
}

function refuse(terminal: Terminal, message: string): number {
  terminal.error(`wirestack: ${message}\n`);
  return 1;
}
