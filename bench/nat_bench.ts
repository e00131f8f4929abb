/**
 * A packet from link to link, as it is and through a NAT: `deno bench --allow-read --allow-env
 * bench/nat_bench.ts`.
 *
 * @module
 */

import { IpAddress, type Link, Nat, Prefix, Stack } from "../netstack/mod.ts";
import { ip, tcpSegment, tcpSyn, udp } from "../tests/netstack/packets.ts";

const INSIDE = "192.168.0.2";
const EXTERNAL = "203.0.113.8";
const REMOTE = "198.51.100.7";
const DATA = new Uint8Array(1_300);

function link(): Link {
  const none = { buffer: new Uint8Array(0), allocate: () => -1, release() {}, transmit() {} };
  return { ...none, forward: () => true };
}

function gateway(hasNat: boolean, flows: number) {
  const random = (out: Uint8Array) => void crypto.getRandomValues(out);
  const stack = new Stack({ random });
  const inside = stack.addNic({ name: "inside", mtu: 1500, link: link(), forwarding: true });
  const outside = stack.addNic({ name: "outside", mtu: 1500, link: link(), forwarding: true });
  stack.routes.insert(new Prefix(IpAddress.v4(192, 168, 0, 0), 16), inside);
  stack.routes.insert(new Prefix(IpAddress.v4(0, 0, 0, 0), 0), outside);
  if (hasNat) stack.setNat(inside, new Nat({ addresses: [ip(EXTERNAL)], random }));
  const to = hasNat ? EXTERNAL : INSIDE;
  const packets = Array.from({ length: flows }, (_, i) => {
    const port = 5_000 + i;
    const syn = tcpSyn(INSIDE, port, REMOTE, 80);
    stack.handlePacket(inside, syn, 0, syn.length, 0);
    return {
      udp: [udp(INSIDE, port, REMOTE, 53, DATA), udp(REMOTE, 53, to, port, DATA)],
      tcp: [
        tcpSegment(INSIDE, port, REMOTE, 80, 1, 1, 0x10),
        tcpSegment(REMOTE, 80, to, port, 1, 1, 0x10),
      ],
    };
  });
  return { stack, nics: [inside, outside], packets };
}

const work = new Uint8Array(1_500);

for (const protocol of ["udp", "tcp"] as const) {
  for (const flows of [1, 1_000]) {
    for (const hasNat of [false, true]) {
      const { stack, nics, packets } = gateway(hasNat, flows);
      let i = 0;
      let now = 1;
      Deno.bench(
        `${protocol}, ${flows} flows, ${hasNat ? "NAT" : "as it is"}, 1,000 out and in`,
        () => {
          for (let n = 0; n < 1_000; n++) {
            const both = packets[i++ % flows]![protocol];
            now += 0.001;
            for (let way = 0; way < 2; way++) {
              work.set(both[way]!);
              stack.handlePacket(nics[way]!, work, 0, both[way]!.length, now);
            }
          }
        },
      );
    }
  }
}
