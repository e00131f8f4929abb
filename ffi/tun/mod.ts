/**
 * The TUN device, for programs of their own: `@wirestack/wirestack/tun`.
 *
 * @module
 */

export { type TunCounters, TunDevice, type TunMemory, type TunOptions } from "./device.ts";
export { TunError, type TunErrorReason, type TunOpenOptions } from "./open.ts";
