/**
 * Identification fields of packets that may be fragmented (RFC 7739).
 *
 * @module
 */

/** How many identifications one set of tables gives: every 16-bit value once. */
const PERIOD = 0x10000;
const ROUNDS = 4;

/**
 * Identifications of packets that may be fragmented.
 *
 * For IPv4 a counter behind a secret permutation of the 16-bit numbers: none comes twice within
 * 65,536 packets, and one says nothing about the next, nor about how many were sent to somebody else
 * (RFC 6864 §5.3, RFC 7739 §3). The permutation is a Feistel network whose round functions are
 * tables of random bytes. For IPv6, where 32 bits are enough, plain random numbers (RFC 7739 §5.2).
 */
export class Identification {
  readonly #random: (out: Uint8Array) => void;
  readonly #tables = new Uint8Array(ROUNDS * 256);
  readonly #bytes = new Uint8Array(4);
  #counter = 0;

  constructor(random: (out: Uint8Array) => void) {
    this.#random = random;
  }

  /** 16 bits. */
  ipv4(): number {
    if (this.#counter % PERIOD === 0) {
      // Fresh tables: knowing all of the last period gives nothing away about this one.
      this.#random(this.#tables);
      this.#counter = 0;
    }
    let left = this.#counter >> 8;
    let right = this.#counter & 0xff;
    this.#counter++;
    for (let round = 0; round < ROUNDS; round++) {
      const mixed = left ^ this.#tables[round << 8 | right]!;
      left = right;
      right = mixed;
    }
    return left << 8 | right;
  }

  /** 32 bits, unsigned. */
  ipv6(): number {
    const bytes = this.#bytes;
    this.#random(bytes);
    return (bytes[0]! << 24 | bytes[1]! << 16 | bytes[2]! << 8 | bytes[3]!) >>> 0;
  }
}
