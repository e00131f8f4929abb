/**
 * Addresses in the outer network: of peers, and of the senders of datagrams.
 *
 * @module
 */

/** Where a peer is: a UDP address and port, or whatever else the owner of the socket sends to. */
export interface Endpoint {
  /** 4 or 16 bytes, network order. */
  readonly address: Uint8Array;
  readonly port: number;
  toString(): string;
}

/**
 * Where a datagram came from, not parsed yet: anybody can send from any address, and only a sender that
 * authenticates is worth an {@link Endpoint}. The owner of the socket has one such object, and refills
 * it for each datagram.
 */
export interface Sender {
  readonly port: number;
  /** The public key of the one peer who may speak from there, 32 bytes. Missing: whoever it is. */
  readonly only?: Uint8Array | undefined;

  /**
   * Writes the IP address in network order. Allocates nothing.
   *
   * @param out 16 bytes.
   * @returns the number of bytes, 4 or 16.
   */
  readAddress(out: Uint8Array): number;

  /**
   * Whether it is at this endpoint. Only called for authentic datagrams, so the endpoint may take it as
   * a sign that it can be reached.
   */
  isAt(endpoint: Endpoint): boolean;

  /** An endpoint to answer to, which does not change with the next datagram. */
  toEndpoint(): Endpoint;

  /** A copy that lasts, for a handshake message that waits for its turn. */
  copy(): Sender;
}

/** Whether what claims to be this peer's may come from there at all. */
export function maySpeak({ only }: Sender, publicKey: Uint8Array): boolean {
  return only === undefined || only.every((byte, i) => byte === publicKey[i]);
}

/** An endpoint that is a sender too, for callers that have an object per address anyway. */
export class PlainEndpoint implements Endpoint, Sender {
  readonly address: Uint8Array;
  readonly port: number;

  /** @param address 4 or 16 bytes, network order; kept, not copied. */
  constructor(address: Uint8Array, port: number) {
    this.address = address;
    this.port = port;
  }

  readAddress(out: Uint8Array): number {
    out.set(this.address);
    return this.address.length;
  }

  isAt(endpoint: Endpoint): boolean {
    if (endpoint === this) return true;
    const { address, port } = endpoint;
    return port === this.port && address.length === this.address.length &&
      address.every((byte, i) => byte === this.address[i]);
  }

  toEndpoint(): Endpoint {
    return this;
  }

  copy(): Sender {
    return this;
  }

  /** IPv6 without abbreviations. */
  toString(): string {
    const { address, port } = this;
    if (address.length === 4) return `${address.join(".")}:${port}`;
    if (isIpv4Mapped(address)) return `${address.subarray(12).join(".")}:${port}`;
    const groups = Array.from(
      { length: 8 },
      (_, i) => (address[2 * i]! << 8 | address[2 * i + 1]!).toString(16),
    );
    return `[${groups.join(":")}]:${port}`;
  }
}

/** RFC 4291 §2.5.5.2: ::ffff:a.b.c.d. */
export function isIpv4Mapped(address: Uint8Array): boolean {
  if (address.length !== 16) return false;
  for (let i = 0; i < 10; i++) {
    if (address[i] !== 0) return false;
  }
  return address[10] === 0xff && address[11] === 0xff;
}
