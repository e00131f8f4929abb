/**
 * Answers every ping into 192.0.2.0/24, on a TUN device of its own, as root:
 *
 *     deno run --allow-ffi examples/pong.ts
 *
 * @module
 */

import { Netlink, TunDevice } from "../ffi/tun/mod.ts"; // elsewhere "@wirestack/wirestack/tun"

await using tun = TunDevice.open({ name: "pong%d" });
using netlink = new Netlink();
netlink.addAddress(tun.index, "192.0.2.1/24");
netlink.setLink(tun.index, { up: true });
console.log(`${tun.name} is up: ping 192.0.2.2`);
for (; await tun.readable(); tun.flush()) {
  while (tun.next()) {
    const packet = tun.memory.subarray(tun.offset);
    if (packet[0] !== 0x45 || packet[9] !== 1 || packet[20] !== 8 || packet[21] !== 0) continue;
    // Addresses change places; the checksum grows by what the type loses as a reply (RFC 1624).
    const sum = ((packet[22]! << 8 | packet[23]!) + 0x0800) % 0xffff;
    packet.set([...packet.subarray(16, 20), ...packet.subarray(12, 16), 0, 0, sum >> 8, sum], 12);
    tun.write(packet, 0, tun.length);
  }
}
