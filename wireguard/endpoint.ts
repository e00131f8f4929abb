/**
 * A peer's address in the outer network.
 *
 * @module
 */

/**
 * A UDP address and port. Interned by whoever owns the socket: the same address and port is the same
 * object, so that `===` tells whether a peer has moved.
 */
export interface Endpoint {
  /** 4 or 16 bytes, network order. */
  readonly address: Uint8Array;
  readonly port: number;
  toString(): string;
}

/**
 * Where the significant bytes of an endpoint's address start: 12 for an IPv4-mapped IPv6 address
 * (RFC 4291 §2.5.5.2), so that a client is the same source whichever kind of socket heard it.
 */
export function addressStart(address: Uint8Array): number {
  if (address.length !== 16) return 0;
  for (let i = 0; i < 10; i++) {
    if (address[i] !== 0) return 0;
  }
  return address[10] === 0xff && address[11] === 0xff ? 12 : 0;
}

/**
 * What a map knows a source by: an IPv4 address, mapped or not, as a number; the upper 64 bits of an
 * IPv6 address, which one host can choose the rest of, as a string.
 */
export function sourceKey(address: Uint8Array): number | string {
  const start = addressStart(address);
  if (address.length - start === 4) {
    return address[start]! << 24 | address[start + 1]! << 16 | address[start + 2]! << 8 |
      address[start + 3]!;
  }
  return String.fromCharCode(...address.subarray(0, 8));
}
