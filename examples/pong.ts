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

while (await tun.readable()) {
  tun.drain((packet, at, length) => {
    const isEchoRequest = packet[at] === 0x45 && packet[at + 9] === 1 && packet[at + 20] === 8;
    if (!isEchoRequest) return;
    const sender = packet.slice(at + 12, at + 16);
    packet.copyWithin(at + 12, at + 16, at + 20);
    packet.set(sender, at + 16);
    packet[at + 20] = 0; // a reply; the checksum grows by what the type has lost (RFC 1624)
    const sum = (packet[at + 22]! << 8 | packet[at + 23]!) + 0x0800;
    packet.set([sum >> 8, sum + (sum >> 16) & 0xff], at + 22);
    tun.write(packet, at, length);
  });
  tun.flush();
}
