/**
 * The seam between a network interface and whatever carries its packets.
 *
 * @module
 */

/** Free bytes in front of every packet in a transmit slot: a WireGuard data header fits. */
export const LINK_HEADROOM = 16;

/** Free bytes behind every packet in a transmit slot: padding to 16 and a Poly1305 tag fit. */
export const LINK_TAILROOM = 32;

/**
 * Carries the packets a NIC emits.
 *
 * Transmit buffers are slots of one backing store, so that a packet is built, sealed and sent in
 * the place where it was first written. A slot is taken with {@link allocate} and leaves with
 * {@link transmit} or {@link release}; from then on it belongs to the link again.
 */
export interface Link {
  /** Backing store of all slots. Never changes during the life of the link. */
  readonly buffer: Uint8Array;

  /**
   * Takes a slot.
   *
   * @returns Offset in {@link buffer} at which the IP packet starts, with {@link LINK_HEADROOM}
   * bytes free in front and, for a packet up to the NIC's MTU, {@link LINK_TAILROOM} behind it;
   * or -1 when every slot is in use. That is back-pressure: keep the data and try at the next flush.
   */
  allocate(): number;

  /** Gives back, unsent, the slot whose packet starts at `offset`. */
  release(offset: number): void;

  /**
   * Sends one IP packet. Bytes of an allocated slot become the link's; any other buffer is borrowed
   * until the call returns (and, having no room promised around it, is copied by the link).
   * The packet may be modified in place.
   *
   * @param now Milliseconds, monotonic.
   * @returns false when there is nobody behind this link to take it; a packet that the link loses or
   * keeps for later is none of the sender's business.
   */
  transmit(buffer: Uint8Array, offset: number, length: number, now: number): boolean | void;
}
