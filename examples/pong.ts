/**
 * Answers every ping into 192.0.2.0/24 and 2001:db8::/64, on a TUN device of its own, as root:
 *
 *     deno run --allow-ffi examples/pong.ts
 *
 * @module
 */

import { Netlink, TunDevice } from "../ffi/tun/mod.ts"; // elsewhere "@wirestack/wirestack/tun"

await using tun = TunDevice.open({ name: "pong%d" }), netlink = new Netlink();
for (const own of ["192.0.2.1/24", "2001:db8::1/64"]) netlink.addAddress(tun.index, own);
netlink.setLink(tun.index, { up: true });
console.log(`${tun.name} is up: ping 192.0.2.2 or 2001:db8::2`);
// Both addresses and where they end; the protocol's place, and ICMP's number; an echo, and its reply.
const [V4, V6] = [[12, 16, 20, 9, 1, 8, 0], [8, 24, 40, 6, 58, 128, 129]] as const;
for (; await tun.readable(); tun.flush()) {
  while (tun.next()) {
    const ip = tun.memory.subarray(tun.offset);
    const [from, to, end, next, icmp, ask, reply] = ip[0] === 0x45 ? V4 : V6;
    if (ip[next] !== icmp || ip[end] !== ask || ip[end + 1] !== 0) continue;
    // Addresses change places; the checksum grows by what the type loses as a reply (RFC 1624).
    const sum = ((ip[end + 2]! << 8 | ip[end + 3]!) + 0xffff + (ask - reply) * 0x100) % 0xffff;
    ip.set([...ip.subarray(to, end), ...ip.subarray(from, to), reply, 0, sum >> 8, sum], from);
    tun.write(ip, 0, tun.length);
  }
}
