/**
 * Packets of this host's kernel in a program of one's own: a TUN device, and netlink(7) for its
 * addresses and routes. Needs Linux, `--allow-ffi`, and CAP_NET_ADMIN or a device that is this user's.
 *
 * @example Everything the kernel sends into an interface
 * ```ts ignore
 * import { Netlink, TunDevice } from "@wirestack/wirestack/tun";
 *
 * await using tun = TunDevice.open({ name: "mine%d" });
 * using netlink = new Netlink();
 * netlink.addAddress(tun.index, "192.0.2.1/24");
 * netlink.setLink(tun.index, { up: true });
 * while (await tun.readable()) {
 *   tun.drain((memory, offset, length) => console.log(memory.slice(offset, offset + length)));
 * }
 * ```
 *
 * @module
 */

export { type TunCounters, TunDevice, type TunMemory, type TunOptions } from "./device.ts";
export { TunError, type TunErrorReason, type TunOpenOptions } from "./open.ts";
export * from "../netlink/mod.ts";
