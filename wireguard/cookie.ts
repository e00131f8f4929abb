/**
 * mac1, mac2 and cookies (whitepaper §5.3, §5.4.4, §5.4.7): silence towards senders that do not know
 * our public key, and proof of address from everybody while the host is under load.
 *
 * @module
 */

import { openXAEAD, XAEAD } from "./aead.ts";
import { wipe, writeU32 } from "./bytes.ts";
import { HASH, isMAC, MAC, MAC_SIZE, writeMAC } from "./hash.ts";
import {
  COOKIE_NONCE,
  COOKIE_NONCE_SIZE,
  COOKIE_RECEIVER,
  COOKIE_SEALED,
  COOKIE_SEALED_SIZE,
  KEY_SIZE,
  MAC1_FROM_END,
  MAC2_FROM_END,
  OFFSET_SENDER,
  OFFSET_TYPE,
  TYPE_COOKIE_REPLY,
} from "./messages.ts";
import { addressStart, type SourceAddress } from "./source.ts";

const ascii = new TextEncoder();
const LABEL_MAC1 = ascii.encode("mac1----");
const LABEL_COOKIE = ascii.encode("cookie--");

/** The responder stops accepting a cookie when its secret changes: the sender stops this much earlier. */
const COOKIE_LATENCY_MS = 5000;

/** Checks the MACs of arriving handshake messages, and hands out cookies. One per device. */
export class CookieChecker {
  readonly #random: (out: Uint8Array) => void;
  readonly #secretMs: number;
  readonly #secret = new Uint8Array(KEY_SIZE);
  #secretBorn = -Infinity;
  #mac1Key: Uint8Array;
  #cookieKey: Uint8Array;

  /** @param secretMs Life of the secret behind the cookies. */
  constructor(publicKey: Uint8Array, random: (out: Uint8Array) => void, secretMs: number) {
    this.#random = random;
    this.#secretMs = secretMs;
    this.#mac1Key = HASH(LABEL_MAC1, publicKey);
    this.#cookieKey = HASH(LABEL_COOKIE, publicKey);
  }

  /** Call this when the device's own key has changed. */
  setPublicKey(publicKey: Uint8Array): void {
    this.#mac1Key = HASH(LABEL_MAC1, publicKey);
    this.#cookieKey = HASH(LABEL_COOKIE, publicKey);
  }

  /** Whether the sender knows this device's public key. Nothing else may ever be answered. */
  checkMac1(buffer: Uint8Array, offset: number, length: number): boolean {
    // msg.mac1 := MAC(HASH(LABEL_MAC1 ‖ Sₘ′^pub), msgα)
    return isMAC(this.#mac1Key, buffer, offset, length - MAC1_FROM_END);
  }

  /** Whether the sender has received a cookie at the address it sends from, and it is still valid. */
  checkMac2(
    buffer: Uint8Array,
    offset: number,
    length: number,
    from: SourceAddress,
    now: number,
  ): boolean {
    if (now >= this.#secretBorn + this.#secretMs) return false;
    if (isZeroAt(buffer, offset + length - MAC2_FROM_END)) return false; // no cookie: nothing to check
    // msg.mac2 := MAC(Lₘ, msgβ)
    return isMAC(this.#cookieFor(from), buffer, offset, length - MAC2_FROM_END);
  }

  /** Writes the 64 bytes of a cookie reply to the handshake message given into `out`. */
  writeReply(
    buffer: Uint8Array,
    offset: number,
    length: number,
    from: SourceAddress,
    out: Uint8Array,
    now: number,
  ): void {
    if (now >= this.#secretBorn + this.#secretMs) {
      this.#random(this.#secret); // Rₘ changes every two minutes
      this.#secretBorn = now;
    }
    const mac1 = offset + length - MAC1_FROM_END;
    const nonce = out.subarray(COOKIE_NONCE, COOKIE_NONCE + COOKIE_NONCE_SIZE);
    this.#random(nonce);
    writeU32(out, OFFSET_TYPE, TYPE_COOKIE_REPLY);
    for (let i = 0; i < 4; i++) out[COOKIE_RECEIVER + i] = buffer[offset + OFFSET_SENDER + i]!;
    // msg.cookie := XAEAD(HASH(LABEL_COOKIE ‖ Sₘ^pub), msg.nonce, τ, M)
    out.set(
      XAEAD(
        this.#cookieKey,
        nonce,
        this.#cookieFor(from),
        buffer.subarray(mac1, mac1 + MAC_SIZE),
      ),
      COOKIE_SEALED,
    );
  }

  destroy(): void {
    wipe(this.#secret);
    this.#secretBorn = -Infinity;
  }

  /** τ := MAC(Rₘ, Aₘ′), with A the source's address and port. */
  #cookieFor(from: SourceAddress): Uint8Array {
    const address = from.address.subarray(addressStart(from.address));
    const source = new Uint8Array(address.length + 2);
    source.set(address);
    source[address.length] = from.port >>> 8;
    source[address.length + 1] = from.port;
    return MAC(this.#secret, source);
  }
}

/** Puts MACs on handshake messages to one peer, and remembers the cookie it gave. */
export class CookieGenerator {
  readonly #mac1Key: Uint8Array;
  readonly #cookieKey: Uint8Array;
  readonly #cookieMs: number;
  readonly #lastMac1 = new Uint8Array(MAC_SIZE);
  #awaitsCookie = false;
  #cookie: Uint8Array | undefined;
  #cookieBorn = -Infinity;

  /** @param secretMs As for {@link CookieChecker}: the peer's is taken to be the same. */
  constructor(remotePublic: Uint8Array, secretMs: number) {
    this.#mac1Key = HASH(LABEL_MAC1, remotePublic);
    this.#cookieKey = HASH(LABEL_COOKIE, remotePublic);
    this.#cookieMs = secretMs - COOKIE_LATENCY_MS;
  }

  /** Writes mac1 and, with a fresh cookie, mac2 at the end of a message of `length` bytes. */
  addMacs(message: Uint8Array, length: number, now: number): void {
    const mac1 = length - MAC1_FROM_END;
    const mac2 = length - MAC2_FROM_END;
    // msg.mac1 := MAC(HASH(LABEL_MAC1 ‖ Sₘ′^pub), msgα)
    writeMAC(this.#mac1Key, message, 0, mac1, message, mac1);
    this.#lastMac1.set(message.subarray(mac1, mac2));
    this.#awaitsCookie = true;
    if (this.#cookie !== undefined && now < this.#cookieBorn + this.#cookieMs) {
      writeMAC(this.#cookie, message, 0, mac2, message, mac2); // msg.mac2 := MAC(Lₘ, msgβ)
    } else {
      message.fill(0, mac2, length);
    }
  }

  /** Whether a message was sent that no cookie reply has come for yet. */
  get awaitsCookie(): boolean {
    return this.#awaitsCookie;
  }

  /** Takes a cookie reply. Only one per message sent, and only if it is sealed with its mac1. */
  handleReply(buffer: Uint8Array, offset: number, now: number): boolean {
    if (!this.#awaitsCookie) return false;
    const cookie = openXAEAD(
      this.#cookieKey,
      buffer.slice(offset + COOKIE_NONCE, offset + COOKIE_NONCE + COOKIE_NONCE_SIZE),
      buffer.subarray(offset + COOKIE_SEALED, offset + COOKIE_SEALED + COOKIE_SEALED_SIZE),
      this.#lastMac1,
    );
    if (cookie === undefined) return false;
    this.#awaitsCookie = false;
    this.#cookie = cookie;
    this.#cookieBorn = now;
    return true;
  }
}

/** Whether mac2 is all zero, as from a sender without a cookie. Not secret: need not be constant-time. */
function isZeroAt(buffer: Uint8Array, at: number): boolean {
  for (let i = 0; i < MAC_SIZE; i++) {
    if (buffer[at + i] !== 0) return false;
  }
  return true;
}
