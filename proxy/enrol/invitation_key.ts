/**
 * The key for TLS that a token holds beside WireGuard's, made of the same secret, so that nothing more need
 * travel: with it a machine shows a relay that it was invited.
 *
 * @module
 */

import { createECDH, createHash, hkdfSync } from "node:crypto";

export interface InvitationKey {
  /** PKCS #8 in DER. Secret. */
  readonly pkcs8: Uint8Array<ArrayBuffer>;
  /** SubjectPublicKeyInfo in DER. */
  readonly spki: Uint8Array<ArrayBuffer>;
  /** SHA-256 of {@link spki}. */
  readonly pin: Uint8Array;
}

const PURPOSE = "wirestack: the key for TLS of a token of enrolment";
/** Of P-256 (SEC 2 §2.4.2). */
const ORDER = BigInt("0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
/** More bits than the order has, or some keys were likelier than others (FIPS 186-5 §A.2.1). */
const MATERIAL = 48;
// What stands before the private key, between it and the public one, and before that alone (RFC 5915, RFC 5480).
const PKCS8_HEADER = Uint8Array.fromHex(
  "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420",
);
const PKCS8_MIDDLE = Uint8Array.fromHex("a144034200");
const SPKI_HEADER = Uint8Array.fromHex(
  "3059301306072a8648ce3d020106082a8648ce3d030107034200",
);

/** @param secret The token's private key of WireGuard's, 32 bytes. */
export function invitationKey(secret: Uint8Array): InvitationKey {
  const material = new Uint8Array(
    hkdfSync("sha256", secret, new Uint8Array(0), PURPOSE, MATERIAL),
  );
  const number = BigInt(`0x${material.toHex()}`) % (ORDER - 1n) + 1n;
  const scalar = Uint8Array.fromHex(number.toString(16).padStart(64, "0"));
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(scalar);
  const point = new Uint8Array(ecdh.getPublicKey());
  const pkcs8 = Uint8Array.of(...PKCS8_HEADER, ...scalar, ...PKCS8_MIDDLE, ...point);
  const spki = Uint8Array.of(...SPKI_HEADER, ...point);
  material.fill(0);
  scalar.fill(0);
  return { pkcs8, spki, pin: new Uint8Array(createHash("sha256").update(spki).digest()) };
}
