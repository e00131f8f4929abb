/**
 * The UDP header (RFC 768).
 *
 * @module
 */

import { IPV4_HEADER_LENGTH } from "./ipv4.ts";

export const UDP_SOURCE_PORT = 0;
export const UDP_DESTINATION_PORT = 2;
export const UDP_LENGTH = 4;
export const UDP_CHECKSUM = 6;
export const UDP_HEADER_LENGTH = 8;

/** What the 16-bit total length of IPv4 and the payload length of IPv6 leave for data. */
export const MAX_UDP_DATA_IPV4 = 65_535 - IPV4_HEADER_LENGTH - UDP_HEADER_LENGTH;
export const MAX_UDP_DATA_IPV6 = 65_535 - UDP_HEADER_LENGTH;
