/**
 * IP addresses and prefixes as bytes. For configuration, events and the first packet of a flow; the
 * hot path compares the bytes in the packet itself.
 *
 * @module
 */

export type IpVersion = 4 | 6;

/** An immutable IPv4 or IPv6 address. */
export class IpAddress {
  /** 4 or 16 bytes, network order. Not to be written to. */
  readonly bytes: Uint8Array;
  /** 4 or 6. */
  readonly version: IpVersion;

  /**
   * Keeps the array: hand over a copy.
   *
   * @throws {RangeError} if `bytes` is neither 4 nor 16 long.
   */
  constructor(bytes: Uint8Array) {
    if (bytes.length !== 4 && bytes.length !== 16) {
      throw new RangeError(`an IP address has 4 or 16 bytes, got ${bytes.length}`);
    }
    this.bytes = bytes;
    this.version = bytes.length === 4 ? 4 : 6;
  }

  /** Copies an address out of a packet. */
  static from(buffer: Uint8Array, offset: number, version: IpVersion): IpAddress {
    return new IpAddress(buffer.slice(offset, offset + (version === 4 ? 4 : 16)));
  }

  /** The IPv4 address a.b.c.d. */
  static v4(a: number, b: number, c: number, d: number): IpAddress {
    return new IpAddress(Uint8Array.of(a, b, c, d));
  }

  /** Whether it is the same address. */
  equals(other: IpAddress): boolean {
    return this.matches(other.bytes, 0, other.version);
  }

  /** Whether the address at `offset` of a packet is this one. */
  matches(buffer: Uint8Array, offset: number, version: IpVersion): boolean {
    if (version !== this.version) return false;
    const bytes = this.bytes;
    for (let i = 0; i < bytes.length; i++) {
      if (bytes[i] !== buffer[offset + i]) return false;
    }
    return true;
  }

  /** The IPv4 address inside ::ffff:0:0/96, or this address (RFC 4291 §2.5.5.2). */
  unmapped(): IpAddress {
    return this.isIpv4Mapped ? new IpAddress(this.bytes.slice(12)) : this;
  }

  /** Inside ::ffff:0:0/96 (RFC 4291 §2.5.5.2). */
  get isIpv4Mapped(): boolean {
    const b = this.bytes;
    if (this.version !== 6 || b[10] !== 0xff || b[11] !== 0xff) return false;
    return b.subarray(0, 10).every((byte) => byte === 0);
  }

  /** 0.0.0.0 or ::. */
  get isUnspecified(): boolean {
    return this.bytes.every((byte) => byte === 0);
  }

  /** 127.0.0.0/8 or ::1. */
  get isLoopback(): boolean {
    const b = this.bytes;
    if (this.version === 4) return b[0] === 127;
    return b[15] === 1 && b.subarray(0, 15).every((byte) => byte === 0);
  }

  /** 169.254.0.0/16 or fe80::/10. */
  get isLinkLocal(): boolean {
    const b = this.bytes;
    if (this.version === 4) return b[0] === 169 && b[1] === 254;
    return b[0] === 0xfe && (b[1]! & 0xc0) === 0x80;
  }

  /** 224.0.0.0/4 or ff00::/8. */
  get isMulticast(): boolean {
    return this.version === 4 ? (this.bytes[0]! & 0xf0) === 0xe0 : this.bytes[0] === 0xff;
  }

  /** Text as in RFC 5952. */
  toString(): string {
    if (this.version === 4) {
      const b = this.bytes;
      return `${b[0]}.${b[1]}.${b[2]}.${b[3]}`;
    }
    if (this.isIpv4Mapped) return `::ffff:${this.bytes.subarray(12).join(".")}`;
    const groups = Array.from(
      { length: 8 },
      (_, i) => this.bytes[2 * i]! << 8 | this.bytes[2 * i + 1]!,
    );
    const [start, length] = longestZeroRun(groups);
    const hex = groups.map((group) => group.toString(16));
    if (length < 2) return hex.join(":");
    return `${hex.slice(0, start).join(":")}::${hex.slice(start + length).join(":")}`;
  }
}

/** An address block. Bits behind the prefix length are zero. */
export class Prefix {
  readonly address: IpAddress;
  /** Number of leading bits that count. */
  readonly length: number;

  /** @throws {RangeError} if `length` does not fit the address. */
  constructor(address: IpAddress, length: number) {
    const bits = address.bytes.length * 8;
    if (!Number.isInteger(length) || length < 0 || length > bits) {
      throw new RangeError(`a prefix of ${address} has 0 to ${bits} bits, got ${length}`);
    }
    const masked = address.bytes.slice();
    for (let i = 0; i < masked.length; i++) {
      const kept = Math.min(8, Math.max(0, length - 8 * i));
      masked[i]! &= 0xff << (8 - kept);
    }
    this.address = new IpAddress(masked);
    this.length = length;
  }

  /** Of this address alone. */
  static of(address: IpAddress): Prefix {
    return new Prefix(address, address.bytes.length * 8);
  }

  get version(): IpVersion {
    return this.address.version;
  }

  /** Whether all of `inner` is in it. */
  covers(inner: Prefix): boolean {
    return this.length <= inner.length && this.contains(inner.address);
  }

  contains(address: IpAddress): boolean {
    if (address.version !== this.version) return false;
    const whole = this.length >> 3;
    for (let i = 0; i < whole; i++) {
      if (address.bytes[i] !== this.address.bytes[i]) return false;
    }
    const rest = this.length & 7;
    if (rest === 0) return true;
    return (address.bytes[whole]! ^ this.address.bytes[whole]!) >> (8 - rest) === 0;
  }

  equals(other: Prefix): boolean {
    return this.length === other.length && this.address.equals(other.address);
  }

  toString(): string {
    return `${this.address}/${this.length}`;
  }
}

function longestZeroRun(groups: number[]): [start: number, length: number] {
  let best: [number, number] = [0, 0];
  for (let i = 0; i < groups.length; i++) {
    let j = i;
    while (j < groups.length && groups[j] === 0) j++;
    if (j - i > best[1]) best = [i, j - i];
    i = Math.max(i, j - 1);
  }
  return best;
}
