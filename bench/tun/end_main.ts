/**
 * One end of a tunnel for the referee, as `wireguard-go` is one: a TUN device and WireGuard, and the
 * stack's forwarding between the two. Ends with its process.
 *
 *     deno run -A bench/tun/end_main.ts DEVICE MTU PORT PRIVATE_KEY PUBLIC_KEY ALLOWED_IP [ADDRESS:PORT]
 *
 * @module
 */

import { openArena } from "../../proxy/arena/arena.ts";
import { openUdpBind } from "../../proxy/bind/udp_open.ts";
import { decodeKey } from "../../proxy/base64.ts";
import { parseIpAddress, parsePrefix } from "../../proxy/address.ts";
import { Engine } from "../../proxy/engine/engine.ts";
import { EventLoop, hostClock } from "../../proxy/engine/event_loop.ts";
import { TunLink } from "../../proxy/link/tun.ts";

const [name, mtuText, port, privateKey, publicKey, allowedIp, endpoint] = Deno.args;
const mtu = Number(mtuText);
const arena = openArena(mtu);
const bind = openUdpBind({
  pool: arena.pool,
  port: Number(port),
  receiveRegion: arena.receiveRegion,
}, true);
const engine = new Engine({
  clock: hostClock,
  scheduler: new EventLoop(),
  random: (out) => void crypto.getRandomValues(out),
  arena,
  binds: [bind],
  privateKey: decodeKey(privateKey!)!,
  mtu,
  addresses: [],
  forwarding: true,
  onEvent: () => {},
  onFailed: (error) => {
    throw error;
  },
});
const prefix = parsePrefix(allowedIp!)!;
const [address, peerPort] = endpoint?.split(":") ?? [];
engine.device.addPeer({
  publicKey: decodeKey(publicKey!)!,
  allowedIps: [{ address: prefix.address.bytes, length: prefix.length }],
  ...(address && { endpoint: bind.endpoint(parseIpAddress(address)!, Number(peerPort)) }),
}, engine.now());
engine.stack.routes.insert(prefix, engine.nic1);
const link = TunLink.open(arena, { name: name!, mtu, hasRoom: () => engine.hasRoom });
const { nic } = engine.addLink(link, { name: "tun", mtu, forwarding: true, keepsHopLimit: true });
for (const all of ["0.0.0.0/0", "::/0"]) engine.stack.routes.insert(parsePrefix(all)!, nic);
console.log(`open ${link.name} tso ${link.device.hasTso} uso ${link.device.hasUso}`);

// For whoever looks why: a line a second, into a file of this directory.
const directory = Deno.env.get("TUN_STATISTICS");
if (directory !== undefined) {
  const file = Deno.openSync(`${directory}/${link.name}`, { append: true, create: true });
  setInterval(() => {
    const line = {
      ...{ tun: link.device.counters, engine: engine.counters, noSlot: engine.link.noSlot },
      ...{ udp: bind.counters, ip: engine.stack.counters.ip },
    };
    file.writeSync(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
  }, 1000);
}
