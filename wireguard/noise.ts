/**
 * The handshake Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, line by line as in whitepaper §5.4.2 and
 * §5.4.3. Both sides are objects that live for one handshake. They read and write what Noise calls
 * a message (ephemeral, static, payload); indices and MACs around it belong to other files.
 *
 * Every method that can meet an all-zero shared secret or a wrong tag returns false for it; the
 * handshake is then over (an initiator may still read another, genuine response).
 *
 * @module
 */

import { AEAD, NONCE_ZERO, openAEAD } from "./aead.ts";
import { EMPTY, isZero, wipe } from "./bytes.ts";
import type { X25519 } from "./crypto.ts";
import { HASH, KDF1, KDF2, KDF3 } from "./hash.ts";
import { KEY_SIZE, TAG_SIZE } from "./messages.ts";

const ascii = new TextEncoder();
const CONSTRUCTION = ascii.encode("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s");
const IDENTIFIER = ascii.encode("WireGuard v1 zx2c4 Jason@zx2c4.com");

/** A static key pair: S^priv and S^pub. */
export interface StaticIdentity {
  readonly privateKey: Uint8Array;
  readonly publicKey: Uint8Array;
}

/** Keys of one session, from this side's view. 32 bytes each; wipe after importing. */
export interface TransportKeys {
  readonly send: Uint8Array;
  readonly receive: Uint8Array;
}

/** Sᵢ. Keeps its state between the first message and the response. */
export class NoiseInitiator {
  readonly #x25519: X25519;
  readonly #local: StaticIdentity;
  readonly #remotePublic: Uint8Array;
  readonly #ephemeralPrivate: Uint8Array;
  #c: Uint8Array;
  #h: Uint8Array;

  /**
   * @param ephemeralPrivate Eᵢ^priv: 32 fresh random bytes. Copied.
   * @param identifier The Noise prologue; anything but WireGuard's own is for test vectors.
   */
  constructor(
    x25519: X25519,
    local: StaticIdentity,
    remotePublic: Uint8Array,
    ephemeralPrivate: Uint8Array,
    identifier: Uint8Array = IDENTIFIER,
  ) {
    this.#x25519 = x25519;
    this.#local = local;
    this.#remotePublic = remotePublic;
    this.#ephemeralPrivate = ephemeralPrivate.slice();
    this.#c = HASH(CONSTRUCTION, EMPTY); // Cᵢ := HASH(CONSTRUCTION)
    this.#h = HASH(this.#c, identifier); // Hᵢ := HASH(Cᵢ ‖ IDENTIFIER)
    this.#h = HASH(this.#h, remotePublic); // Hᵢ := HASH(Hᵢ ‖ Sᵣ^pub)
  }

  /** H, the channel binding, for tests against published vectors. */
  get handshakeHash(): Uint8Array {
    return this.#h;
  }

  /**
   * Writes ephemeral (32), static (48) and payload (length + 16) to `out` at `offset`.
   *
   * @param staticStatic DH(Sᵢ^priv, Sᵣ^pub), which does not change from handshake to handshake.
   * @param payload The timestamp.
   */
  writeInitiation(
    staticStatic: Uint8Array,
    payload: Uint8Array,
    out: Uint8Array,
    offset: number,
  ): boolean {
    let k: Uint8Array;
    const ephemeral = this.#x25519.publicKey(this.#ephemeralPrivate);
    this.#c = KDF1(this.#c, ephemeral); // Cᵢ := KDF₁(Cᵢ, Eᵢ^pub)
    out.set(ephemeral, offset); // msg.ephemeral := Eᵢ^pub
    this.#h = HASH(this.#h, ephemeral); // Hᵢ := HASH(Hᵢ ‖ msg.ephemeral)

    const es = this.#x25519.sharedSecret(this.#ephemeralPrivate, this.#remotePublic);
    if (isZero(es) || isZero(staticStatic)) return false;
    [this.#c, k] = KDF2(this.#c, es); // (Cᵢ, κ) := KDF₂(Cᵢ, DH(Eᵢ^priv, Sᵣ^pub))
    const sealedStatic = AEAD(k, NONCE_ZERO, this.#local.publicKey, this.#h);
    out.set(sealedStatic, offset + KEY_SIZE); // msg.static := AEAD(κ, 0, Sᵢ^pub, Hᵢ)
    this.#h = HASH(this.#h, sealedStatic); // Hᵢ := HASH(Hᵢ ‖ msg.static)
    wipe(es, k);

    [this.#c, k] = KDF2(this.#c, staticStatic); // (Cᵢ, κ) := KDF₂(Cᵢ, DH(Sᵢ^priv, Sᵣ^pub))
    const sealedPayload = AEAD(k, NONCE_ZERO, payload, this.#h); // msg.timestamp := AEAD(κ, 0, TIMESTAMP(), Hᵢ)
    out.set(sealedPayload, offset + KEY_SIZE + KEY_SIZE + TAG_SIZE);
    this.#h = HASH(this.#h, sealedPayload); // Hᵢ := HASH(Hᵢ ‖ msg.timestamp)
    wipe(k);
    return true;
  }

  /**
   * Reads ephemeral (32) and sealed payload of the response.
   *
   * @param length Of both together.
   * @returns the payload, empty in WireGuard; or undefined, and then nothing has changed: a forged
   * response does not end a handshake.
   */
  readResponse(
    buffer: Uint8Array,
    offset: number,
    length: number,
    presharedKey: Uint8Array,
  ): Uint8Array | undefined {
    const ephemeral = buffer.slice(offset, offset + KEY_SIZE);
    const sealed = buffer.slice(offset + KEY_SIZE, offset + length);
    let c = KDF1(this.#c, ephemeral); // C := KDF₁(C, Eᵣ^pub)
    let h = HASH(this.#h, ephemeral); // H := HASH(H ‖ msg.ephemeral)
    const ee = this.#x25519.sharedSecret(this.#ephemeralPrivate, ephemeral);
    const se = this.#x25519.sharedSecret(this.#local.privateKey, ephemeral);
    if (isZero(ee) || isZero(se)) return undefined;
    c = KDF1(c, ee); // C := KDF₁(C, DH(Eᵢ^priv, Eᵣ^pub))
    c = KDF1(c, se); // C := KDF₁(C, DH(Sᵢ^priv, Eᵣ^pub))
    let t: Uint8Array, k: Uint8Array;
    [c, t, k] = KDF3(c, presharedKey); // (C, τ, κ) := KDF₃(C, Q)
    h = HASH(h, t); // H := HASH(H ‖ τ)
    const payload = openAEAD(k, NONCE_ZERO, sealed, h); // msg.empty := AEAD(κ, 0, ε, H)
    wipe(ee, se, t, k);
    if (payload === undefined) {
      wipe(c);
      return undefined;
    }
    wipe(this.#c);
    this.#c = c;
    this.#h = HASH(h, sealed); // H := HASH(H ‖ msg.empty)
    return payload;
  }

  /** §5.4.5 Transport Data Key Derivation. Ends the handshake. */
  split(): TransportKeys {
    // (Tᵢ^send = Tᵣ^recv, Tᵢ^recv = Tᵣ^send) := KDF₂(C, ε)
    const [send, receive] = KDF2(this.#c, EMPTY);
    this.destroy();
    return { send, receive };
  }

  /** Eᵢ^priv = C := ε */
  destroy(): void {
    wipe(this.#ephemeralPrivate, this.#c);
  }
}

/** Sᵣ. Lives from the initiation to the response it answers with. */
export class NoiseResponder {
  readonly #x25519: X25519;
  readonly #local: StaticIdentity;
  #c: Uint8Array;
  #h: Uint8Array;
  #remoteEphemeral = EMPTY;
  #remotePublic = EMPTY;

  /** @param identifier As for {@link NoiseInitiator}. */
  constructor(x25519: X25519, local: StaticIdentity, identifier: Uint8Array = IDENTIFIER) {
    this.#x25519 = x25519;
    this.#local = local;
    this.#c = HASH(CONSTRUCTION, EMPTY); // Cᵣ := HASH(CONSTRUCTION)
    this.#h = HASH(this.#c, identifier); // Hᵣ := HASH(Cᵣ ‖ IDENTIFIER)
    this.#h = HASH(this.#h, local.publicKey); // Hᵣ := HASH(Hᵣ ‖ Sᵣ^pub)
  }

  /** H, the channel binding, for tests against published vectors. */
  get handshakeHash(): Uint8Array {
    return this.#h;
  }

  /**
   * First half of the initiation: ephemeral (32) and static (48).
   *
   * @returns Sᵢ^pub, claimed and not yet proven; undefined if the message is not for this identity.
   */
  readStatic(buffer: Uint8Array, offset: number): Uint8Array | undefined {
    let k: Uint8Array;
    const ephemeral = buffer.slice(offset, offset + KEY_SIZE);
    const sealed = buffer.slice(offset + KEY_SIZE, offset + KEY_SIZE + KEY_SIZE + TAG_SIZE);
    this.#remoteEphemeral = ephemeral;
    this.#c = KDF1(this.#c, ephemeral); // Cᵣ := KDF₁(Cᵣ, Eᵢ^pub)
    this.#h = HASH(this.#h, ephemeral); // Hᵣ := HASH(Hᵣ ‖ msg.ephemeral)
    const es = this.#x25519.sharedSecret(this.#local.privateKey, ephemeral);
    if (isZero(es)) return undefined;
    [this.#c, k] = KDF2(this.#c, es); // (Cᵣ, κ) := KDF₂(Cᵣ, DH(Sᵣ^priv, Eᵢ^pub))
    const remotePublic = openAEAD(k, NONCE_ZERO, sealed, this.#h); // msg.static := AEAD(κ, 0, Sᵢ^pub, Hᵣ)
    wipe(es, k);
    if (remotePublic === undefined) return undefined;
    this.#h = HASH(this.#h, sealed); // Hᵣ := HASH(Hᵣ ‖ msg.static)
    this.#remotePublic = remotePublic;
    return remotePublic;
  }

  /**
   * Second half of the initiation, which proves that the sender owns Sᵢ.
   *
   * @param length Of the sealed payload, tag included.
   * @returns the payload (the timestamp), or undefined.
   */
  readPayload(
    buffer: Uint8Array,
    offset: number,
    length: number,
    staticStatic: Uint8Array,
  ): Uint8Array | undefined {
    let k: Uint8Array;
    const sealed = buffer.slice(offset, offset + length);
    if (isZero(staticStatic)) return undefined;
    [this.#c, k] = KDF2(this.#c, staticStatic); // (Cᵣ, κ) := KDF₂(Cᵣ, DH(Sᵣ^priv, Sᵢ^pub))
    const payload = openAEAD(k, NONCE_ZERO, sealed, this.#h); // msg.timestamp := AEAD(κ, 0, TIMESTAMP(), Hᵣ)
    wipe(k);
    if (payload === undefined) return undefined;
    this.#h = HASH(this.#h, sealed); // Hᵣ := HASH(Hᵣ ‖ msg.timestamp)
    return payload;
  }

  /**
   * Writes ephemeral (32) and sealed payload (length + 16) to `out` at `offset`.
   *
   * @param ephemeralPrivate Eᵣ^priv: 32 fresh random bytes; the caller wipes them.
   * @param payload Empty in WireGuard.
   */
  writeResponse(
    ephemeralPrivate: Uint8Array,
    presharedKey: Uint8Array,
    payload: Uint8Array,
    out: Uint8Array,
    offset: number,
  ): boolean {
    const ephemeral = this.#x25519.publicKey(ephemeralPrivate);
    this.#c = KDF1(this.#c, ephemeral); // Cᵣ := KDF₁(Cᵣ, Eᵣ^pub)
    out.set(ephemeral, offset); // msg.ephemeral := Eᵣ^pub
    this.#h = HASH(this.#h, ephemeral); // Hᵣ := HASH(Hᵣ ‖ msg.ephemeral)
    const ee = this.#x25519.sharedSecret(ephemeralPrivate, this.#remoteEphemeral);
    const se = this.#x25519.sharedSecret(ephemeralPrivate, this.#remotePublic);
    if (isZero(ee) || isZero(se)) return false;
    this.#c = KDF1(this.#c, ee); // Cᵣ := KDF₁(Cᵣ, DH(Eᵣ^priv, Eᵢ^pub))
    this.#c = KDF1(this.#c, se); // Cᵣ := KDF₁(Cᵣ, DH(Eᵣ^priv, Sᵢ^pub))
    let t: Uint8Array, k: Uint8Array;
    [this.#c, t, k] = KDF3(this.#c, presharedKey); // (Cᵣ, τ, κ) := KDF₃(Cᵣ, Q)
    this.#h = HASH(this.#h, t); // Hᵣ := HASH(Hᵣ ‖ τ)
    const sealed = AEAD(k, NONCE_ZERO, payload, this.#h);
    out.set(sealed, offset + KEY_SIZE); // msg.empty := AEAD(κ, 0, ε, Hᵣ)
    this.#h = HASH(this.#h, sealed); // Hᵣ := HASH(Hᵣ ‖ msg.empty)
    wipe(ee, se, t, k);
    return true;
  }

  /** §5.4.5 Transport Data Key Derivation. Ends the handshake. */
  split(): TransportKeys {
    // (Tᵣ^recv = Tᵢ^send, Tᵣ^send = Tᵢ^recv) := KDF₂(C, ε)
    const [receive, send] = KDF2(this.#c, EMPTY);
    wipe(this.#c); // C := ε
    return { send, receive };
  }
}
