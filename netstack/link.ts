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
 * Where a flow's packets go behind a link, so that the link looks it up once and not per packet: as
 * the cached route of a socket in Linux. The flow owns it, the link fills it.
 */
export interface NextHop {
  /** Whatever the link found; undefined = nothing yet. */
  to: unknown;
  /** Of the link's table when it did: with another one, {@link to} is out of date. 0 = never. */
  generation: number;
}

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
   * Sends the IP packet in an allocated slot, which is the link's from then on. What becomes of the
   * packet is none of the sender's business.
   *
   * @param buffer {@link buffer}.
   * @param offset As {@link allocate} returned it.
   * @param now Milliseconds, monotonic.
   * @param hop Of the flow, for the link to read and fill; without one the link looks it up.
   */
  transmit(buffer: Uint8Array, offset: number, length: number, now: number, hop?: NextHop): void;

  /**
   * Sends an IP packet that lies in somebody else's buffer: it is borrowed until the call returns,
   * has no room promised around it, and may be modified in place.
   *
   * @param now Milliseconds, monotonic.
   * @returns false when there is nobody behind this link to take it; a packet that the link loses or
   * keeps for later is none of the sender's business.
   */
  forward(buffer: Uint8Array, offset: number, length: number, now: number): boolean;
}
