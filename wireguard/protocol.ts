/**
 * The protocol without the reference cryptography, for programs that bring their own: `@noble/curves`
 * alone takes 2 MB of memory.
 *
 * @module
 */

export { type AllowedIp, AllowedIps, type SharedPrefix } from "./allowed_ips.ts";
export type { DeviceCounters } from "./counters.ts";
export type { Aead, AeadKey, Crypto, X25519 } from "./crypto.ts";
export {
  Device,
  type DeviceEvent,
  type DeviceOptions,
  type DeviceSink,
  type PeerHop,
  type Rejection,
  type SecretKeys,
} from "./device.ts";
export { type Endpoint, PlainEndpoint, type Sender } from "./endpoint.ts";
export { clampPrivateKey, generatePrivateKey } from "./keys.ts";
export { Peer, type PeerOptions, SendResult } from "./peer.ts";
export type { PeerPaths } from "./paths.ts";
export { PROBE_DATAGRAM_SIZE } from "./probe.ts";
export type { RejectionReason } from "./rejections.ts";
export { DEFAULT_TIMERS, type TimerSettings } from "./settings.ts";
