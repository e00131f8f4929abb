/**
 * Padding hides exact lengths a little (whitepaper §5.4.6).
 *
 * @module
 */

/**
 * Zeros that bring a packet to a multiple of 16 bytes, but never past the MTU (§5.4.6). Of a packet
 * longer than the MTU only the part behind whole MTUs counts.
 */
export function paddingOf(length: number, mtu: number): number {
  const last = length > mtu ? length % mtu : length;
  return Math.min(mtu, (last + 15) & ~15) - last;
}
