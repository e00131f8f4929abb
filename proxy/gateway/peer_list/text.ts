/**
 * A signed list of peers as text: a line with the signature, and below it the list, in JSON.
 *
 *     wirestack-peers-1 SIGNATURE
 *     {"serial": 7, "peers": [ … ]}
 *
 * The signature is Ed25519's (RFC 8032) in base64, of the first word of the line, a line feed, and all
 * bytes below the line. So what is signed for this can be nothing else.
 *
 * @module
 */

import { decodeKey } from "../../base64.ts";

const MAGIC = "wirestack-peers-1";
const SIGNATURE_LENGTH = 64;
/** Of the line, which is looked for no further. */
const MAX_LINE = 256;

/** What a gateway with ten thousand peers needs three times. */
export const MAX_LIST_BYTES = 16 << 20;

/** Why a list is not taken. */
export type ListRefusal =
  /** It cannot be had. */
  | "unreachable"
  /** It is no such list. */
  | "format"
  | "signature"
  /** It is signed, and wrong. */
  | "content"
  /** It is older than the one there is, or another of the same number. */
  | "serial"
  | "expired";

export class PeerListError extends Error {
  override readonly name = "PeerListError";
  readonly refusal: ListRefusal;

  /** @param message `what is wrong, what was expected`, without a secret. */
  constructor(refusal: ListRefusal, message: string) {
    super(message);
    this.refusal = refusal;
  }
}

export function tooLong(): PeerListError {
  return new PeerListError("format", `is too long, expected ${MAX_LIST_BYTES >> 20} MB at most`);
}

/** @param privateKey Ed25519's seed, 32 bytes. */
export async function signPeerList(body: string, privateKey: Uint8Array): Promise<string> {
  const key = await importPrivate(privateKey);
  const signature = await crypto.subtle.sign("Ed25519", key, signedBytes(encoder.encode(body)));
  return `${MAGIC} ${new Uint8Array(signature).toBase64()}\n${body}`;
}

/**
 * @param publicKey Ed25519's, 32 bytes.
 * @returns the list in JSON.
 * @throws {PeerListError} unless this key has signed it.
 */
export async function verifyPeerList(bytes: Uint8Array, publicKey: Uint8Array): Promise<string> {
  const end = bytes.subarray(0, MAX_LINE).indexOf(0x0a);
  const line = new TextDecoder().decode(bytes.subarray(0, Math.max(end, 0))).replace(/\r$/, "");
  const [word, text] = line.split(" ");
  const signature = word === MAGIC && text !== undefined ? fromBase64(text) : undefined;
  if (signature?.length !== SIGNATURE_LENGTH) {
    throw new PeerListError("format", "is no signed list of peers, expected one by sign-peers");
  }
  const body = bytes.subarray(end + 1);
  const key = await crypto.subtle.importKey("raw", bufferOf(publicKey), "Ed25519", false, [
    "verify",
  ]);
  if (!await crypto.subtle.verify("Ed25519", key, signature, signedBytes(body))) {
    throw new PeerListError("signature", "is not signed with PeersKey, or was changed since");
  }
  return new TextDecoder().decode(body);
}

/** A key to sign with: Ed25519's seed, 32 bytes. */
export function generateSigningKey(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(32));
}

/** @param privateKey Ed25519's seed, 32 bytes. @returns 32 bytes. */
export async function publicSigningKey(privateKey: Uint8Array): Promise<Uint8Array> {
  const { x } = await crypto.subtle.exportKey("jwk", await importPrivate(privateKey));
  return Uint8Array.fromBase64(x!, { alphabet: "base64url" });
}

/** @returns 32 bytes; undefined if it is no key. */
export const decodeSigningKey = decodeKey;

const encoder = new TextEncoder();

function signedBytes(body: Uint8Array): Uint8Array<ArrayBuffer> {
  const magic = encoder.encode(`${MAGIC}\n`);
  const bytes = new Uint8Array(magic.length + body.length);
  bytes.set(magic);
  bytes.set(body, magic.length);
  return bytes;
}

/** RFC 8410 §7: what stands in front of a seed in PKCS #8. */
const PKCS8_PREFIX = Uint8Array.fromHex("302e020100300506032b657004220420");

async function importPrivate(seed: Uint8Array): Promise<CryptoKey> {
  const wrapped = new Uint8Array(PKCS8_PREFIX.length + seed.length);
  wrapped.set(PKCS8_PREFIX);
  wrapped.set(seed, PKCS8_PREFIX.length);
  try {
    return await crypto.subtle.importKey("pkcs8", wrapped, "Ed25519", true, ["sign"]);
  } finally {
    wrapped.fill(0);
  }
}

function bufferOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch {
    return undefined;
  }
}
