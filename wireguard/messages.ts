/**
 * The four messages of the protocol: types, sizes, offsets (whitepaper §5.4). All integers are
 * little-endian; the type is read as 32 bits, so the three reserved bytes must be zero.
 *
 * @module
 */

export const TYPE_INITIATION = 1;
export const TYPE_RESPONSE = 2;
export const TYPE_COOKIE_REPLY = 3;
export const TYPE_DATA = 4;

/** Of every message. */
export const OFFSET_TYPE = 0;

/** Of an initiation and of a response. */
export const OFFSET_SENDER = 4;

// §5.4.2 First Message: Initiator to Responder
export const INITIATION_SIZE = 148;
export const INITIATION_EPHEMERAL = 8;
export const INITIATION_TIMESTAMP = 88;

// §5.4.3 Second Message: Responder to Initiator
export const RESPONSE_SIZE = 92;
export const RESPONSE_RECEIVER = 8;
export const RESPONSE_EPHEMERAL = 12;

// §5.4.4 Cookie MACs: the last 32 bytes of both handshake messages.
/** mac1 starts this many bytes before the end of a handshake message. */
export const MAC1_FROM_END = 32;
/** mac2 starts this many bytes before the end of a handshake message. */
export const MAC2_FROM_END = 16;

// §5.4.7 Under Load: Cookie Reply Message
export const COOKIE_REPLY_SIZE = 64;
export const COOKIE_RECEIVER = 4;
export const COOKIE_NONCE = 8;
export const COOKIE_NONCE_SIZE = 24;
export const COOKIE_SEALED = 32;
export const COOKIE_SEALED_SIZE = 32;

// §5.4.6 Subsequent Messages: Transport Data Messages
export const DATA_RECEIVER = 4;
export const DATA_COUNTER = 8;
export const DATA_PAYLOAD = 16;
export const DATA_HEADER_SIZE = 16;

/** Of a Poly1305 tag. */
export const TAG_SIZE = 16;

/** A keepalive: header and the tag of an empty packet. No transport data message is shorter. */
export const KEEPALIVE_SIZE = DATA_HEADER_SIZE + TAG_SIZE;

/** Of keys, hashes and shared secrets. */
export const KEY_SIZE = 32;
