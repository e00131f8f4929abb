/**
 * A phone whose packets come to `wirestack router` from a TUN device behind socat, which is not our code:
 *
 *     phone (TUN, socat) ── gateway (wirestack router) ── target
 *
 * @module
 */

import { eventually, type Host, Lab } from "./lab.ts";

export const SCRIPT = new URL("./packet_link.py", import.meta.url).pathname;
/** Of the target, both families. */
export const TARGET = "198.51.100.2";
export const TARGET6 = "2001:db8::2";
const SIZE = 20 << 20;

/** The phone, whose default route is the TUN; the gateway; a target behind it. */
export async function site() {
  const lab = await Lab.create();
  const [phone, gateway, target] = [
    await lab.host("phone"),
    await lab.host("gateway"),
    await lab.host("target"),
  ];
  await lab.connect(
    { host: phone, device: "eth0", addresses: ["192.0.2.1/24"] },
    { host: gateway, device: "eth0", addresses: ["192.0.2.2/24"] },
  );
  await lab.connect(
    { host: gateway, device: "eth1", addresses: ["198.51.100.1/24", "2001:db8::1/64"] },
    { host: target, device: "eth0", addresses: [`${TARGET}/24`, `${TARGET6}/64`] },
  );
  await gateway.sysctl("net.ipv4.ping_group_range=0 2147483647");
  const file = `${lab.directory}/file`;
  await Deno.writeFile(file, pseudoRandom(SIZE));
  target.spawn("tcp", ["socat", "TCP6-LISTEN:7000,ipv6-v6only=0,fork,reuseaddr", `OPEN:${file}`]);
  target.spawn("udp", ["socat", "UDP6-RECVFROM:7001,ipv6-v6only=0,fork", "EXEC:cat"]);
  await eventually(
    "the target listens",
    async () =>
      (await target.output(["ss", "-Hltn"])).includes(":7000") &&
      (await target.output(["ss", "-Hlun"])).includes(":7001"),
  );
  const [hash] = (await phone.output(["sha256sum", file])).split(" ");
  return { lab, phone, gateway, target, hash };
}

/** Incompressible, and the same each time. */
function pseudoRandom(length: number): Uint8Array {
  const words = new Uint32Array(length / 4);
  let state = 1;
  for (let i = 0; i < words.length; i++) {
    words[i] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  }
  return new Uint8Array(words.buffer);
}

/** A TUN device on `host` behind socat, with all but its neighbours behind it. */
export async function tun(host: Host, other: string): Promise<void> {
  host.spawn("socat", ["socat", "TUN:10.0.0.8/24,tun-name=tun0,iff-no-pi,iff-up", other]);
  await eventually(
    "the TUN is up",
    async () => {
      const { stdout } = await host.run(["ip", "address", "show", "tun0"]);
      return /[<,]UP[,>]/.test(stdout) && stdout.includes("10.0.0.8");
    },
  );
  await host.ip(
    "route add default dev tun0",
    "address add fd00::8/64 dev tun0",
    "route add ::/0 dev tun0",
  );
}

/** A folder that the router's user can write to. */
export async function linkFolder(lab: Lab): Promise<string> {
  const folder = `${lab.directory}/link`;
  await Deno.mkdir(folder);
  await Deno.chown(folder, 65534, 65534);
  return folder;
}
