/**
 * A request for a certificate (PKCS #10, RFC 2986) with the key that there is, and no name in it: who signs
 * knows who asks. Without the library for X.509, which a process that has become another user may not be
 * able to load any more.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey, sign } from "node:crypto";

/** Of version 0, without a name, before the key; without attributes behind it. */
const HEAD = Uint8Array.fromHex("0201003000");
const TAIL = Uint8Array.fromHex("a000");
/** ecdsa-with-SHA256 (RFC 5758 §3.2). */
const ALGORITHM = Uint8Array.fromHex("300a06082a8648ce3d040302");
const SEQUENCE = 0x30;
const BIT_STRING = 0x03;

/**
 * @param key Of P-256, PEM.
 * @returns PEM.
 * @throws {Error} if it is no private key.
 */
export function plainRequest(key: string): string {
  const privateKey = createPrivateKey(key);
  const publicKey = createPublicKey(privateKey as unknown as string);
  const spki = publicKey.export({ type: "spki", format: "der" });
  const body = der(SEQUENCE, HEAD, spki, TAIL);
  const signature = sign("sha256", body, privateKey);
  const request = der(SEQUENCE, body, ALGORITHM, der(BIT_STRING, Uint8Array.of(0), signature));
  const lines = request.toBase64().match(/.{1,64}/g)!.join("\n");
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines}\n-----END CERTIFICATE REQUEST-----\n`;
}

/** Of less than 64 KiB. */
function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const head = length < 128
    ? [tag, length]
    : length < 256
    ? [tag, 0x81, length]
    : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.from(head), ...parts]);
}
