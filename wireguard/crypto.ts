/**
 * The primitives the protocol is given at construction (whitepaper §5.4). BLAKE2s and XChaCha20-
 * Poly1305 come from `@noble`; X25519 and the transport AEAD are behind an interface each, because
 * a native or WebAssembly one is many times faster.
 *
 * @module
 */

/** X25519 of RFC 7748. Keys are 32 bytes, little-endian u-coordinates and unclamped scalars. */
export interface X25519 {
  /** Of 32 bytes. */
  publicKey(privateKey: Uint8Array): Uint8Array;
  /**
   * What both sides have.
   *
   * @returns 32 bytes; all zero when the peer's point has low order. The caller must refuse that.
   */
  sharedSecret(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array;
}

/**
 * One direction of a session: ChaCha20-Poly1305 (RFC 8439) with an empty associated data and the
 * nonce of whitepaper §5.4.6: 32 zero bits, then the 64-bit little-endian counter.
 */
export interface AeadKey {
  /**
   * Encrypts `length` bytes at `offset` in place and writes the 16-byte tag behind them.
   *
   * @param counterHigh Upper 32 bits of the counter.
   * @param counterLow Lower 32 bits, unsigned.
   */
  seal(
    counterHigh: number,
    counterLow: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): void;

  /**
   * Checks the tag and decrypts in place.
   *
   * @param length Bytes of ciphertext and tag.
   * @returns false if the tag is wrong; the bytes are then unspecified.
   */
  open(
    counterHigh: number,
    counterLow: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): boolean;

  /** Wipes what can be wiped. The key must not be used again. */
  destroy(): void;
}

/** What makes the keys of sessions. */
export interface Aead {
  /** Copies the 32-byte key. */
  importKey(key: Uint8Array): AeadKey;
}

/** What a {@link Device} needs of cryptography. */
export interface Crypto {
  /** For handshakes. */
  readonly x25519: X25519;
  /** For packets. */
  readonly aead: Aead;
}
