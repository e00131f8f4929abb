/**
 * Numbers of the protocols above IP.
 *
 * @module
 */

/** IANA protocol numbers, the same in IPv6's Next Header. */
export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_ICMPV6 = 58;
