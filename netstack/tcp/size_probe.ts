/**
 * One segment of a size that the path may have lost (RFC 4821 §7).
 *
 * @module
 */

/** One segment that is larger than the others, to find out whether the path carries it. */
export class SizeProbe {
  /** Payload of the probe to be sent, 0 = none. */
  size = 0;
  /** It is on its way, or was repaired by smaller ones. */
  isSent = false;
  isLost = false;
  /** Behind its last byte. */
  end = 0;
  /** Of the packet. */
  mtu = 0;

  arm(mtu: number, size: number): void {
    this.reset();
    this.mtu = mtu;
    this.size = size;
  }

  sent(end: number): void {
    this.size = 0;
    this.isSent = true;
    this.end = end;
  }

  reset(): void {
    this.size = 0;
    this.isSent = false;
    this.isLost = false;
  }
}
