import assert from "node:assert/strict";
import { Host, icmp, ip, packet, parse, tcpSyn, UDP, udp, uint16 } from "./packets.ts";

const [THIEF, OTHER] = [{}, {}];
const DATA = Uint8Array.of(1, 2, 3);

function receiveFrom(host: Host, from: unknown, bytes: Uint8Array) {
  host.stack.handlePacket(host.nic, bytes.slice(), 0, bytes.length, host.sim.now, from);
  host.sim.runFor(0);
  return host.take();
}

for (
  const [family, own, peer, foreign] of [
    ["IPv4", "10.9.0.1", "10.9.0.2", "10.50.0.1"],
    ["IPv6", "fd09::1", "fd09::2", "fd50::1"],
  ] as const
) {
  Deno.test(`what the filter of ingress is against goes nowhere, and hears so: ${family}`, () => {
    const host = new Host();
    const asked: string[] = [];
    const nic = host.addProxyNic("10.50.0.0/16", "fd50::/64");
    host.stack.setUdpForwarder(nic, {
      datagram: (_flow, destination) => {
        asked.push(String(destination));
        return "accept";
      },
    });
    const shown: string[] = [];
    host.stack.setIngressFilter({
      admits(from, buffer, offset, length, version) {
        const bytes = buffer.slice(offset, offset + length);
        const { source, destination } = parse(bytes);
        shown.push(`${version} ${source} ${destination}`);
        return from !== THIEF;
      },
    });
    const { filtered } = host.stack.counters.ip;
    for (const to of [own, foreign]) {
      const [refusal, ...more] = receiveFrom(host, THIEF, udp(peer, 5000, to, 9, DATA));
      assert.equal(more.length, 0);
      assert.deepEqual(
        [refusal!.destination, refusal!.payload[0], refusal!.payload[1]],
        family === "IPv4" ? [peer, 3, 13] : [peer, 1, 1],
      );
    }
    const [reset] = receiveFrom(host, THIEF, tcpSyn(peer, 5000, own, 80));
    assert.notEqual(reset!.protocol, 6, "not even a reset of TCP's");
    assert.deepEqual(asked, []);
    assert.equal(host.stack.counters.ip.filtered, filtered + 3);
    assert.equal(host.stack.counters.ip.delivered, 0);

    receiveFrom(host, OTHER, udp(peer, 5000, foreign, 9, DATA));
    assert.deepEqual(asked, [String(ip(foreign))], "of others nothing is kept away");
    assert.equal(shown.at(-1), `${family.at(-1)} ${peer} ${foreign}`);

    host.stack.setIngressFilter(undefined);
    receiveFrom(host, THIEF, udp(peer, 5001, foreign, 9, DATA));
    assert.equal(asked.length, 2);
  });
}

Deno.test("the filter of ingress sees fragments, and nothing that is malformed or from nobody", () => {
  const host = new Host();
  let count = 0;
  host.stack.setIngressFilter({ admits: () => ++count < 0 });
  const ping = icmp("10.9.0.2", "10.9.0.1", 8, 0, uint16(1));
  receiveFrom(host, OTHER, ping.subarray(0, 10));
  receiveFrom(host, OTHER, udp("127.0.0.1", 1, "10.9.0.1", 9, DATA));
  assert.equal(count, 0);
  const fragment = packet({
    source: "10.9.0.2",
    destination: "10.9.0.1",
    protocol: UDP,
    payload: new Uint8Array(16),
    fragment: 0x2001,
  });
  assert.deepEqual(
    receiveFrom(host, OTHER, fragment),
    [],
    "no report of one that is not the first",
  );
  assert.equal(count, 1);
  assert.equal(host.stack.resources().reassemblies, 0);
});
