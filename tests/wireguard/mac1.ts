import { HASH } from "../../wireguard/hash.ts";

/** Key of the mac1 in messages to whoever has `publicKey`; anybody can compute it (§5.4.4). */
export function mac1KeyOf(publicKey: Uint8Array): Uint8Array {
  return HASH(new TextEncoder().encode("mac1----"), publicKey);
}
