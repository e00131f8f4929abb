import assert from "node:assert/strict";
import {
  LOCAL,
  MESSAGE_BYTES,
  openForeign,
  openUdpLibc,
  ORIGINAL,
  receiveForeign,
  ReceiveRing,
  SystemCallError,
  UdpSocket,
} from "../../ffi/mod.ts";
import { aloneLabTest, eventually, Lab } from "../e2e/lab.ts";
import { within } from "../e2e/network_namespace.ts";
import { ipAt, portAt, TargetAddress } from "../../proxy/target/address.ts";
import { parseIpAddress } from "../../proxy/address.ts";
import { TargetSends } from "../../proxy/target/udp_sends.ts";

aloneLabTest(
  "datagrams on their way elsewhere are received with where, and answered in that name",
  async () => {
    await using lab = await Lab.create();
    const host = await lab.host("host");
    await host.ip(
      ...["address add 198.51.100.1/32 dev lo", "route add 192.0.2.0/24 dev lo"],
      ...["address add 2001:db8::1/128 dev lo", "route add 2001:db8:1::/64 dev lo"],
      ...["rule add fwmark 7 table 7", "route add local default dev lo table 7"],
    );
    await host.output(["ip", "-6", "rule", "add", "fwmark", "7", "table", "7"]);
    await host.output(["ip", "-6", "route", "add", "local", "default", "dev", "lo", "table", "7"]);
    const libc = openUdpLibc();
    const socket = within(host, () => {
      const socket = new UdpSocket(libc, { hostname: "::", port: 0 });
      receiveForeign(libc, socket.fd, true);
      return socket;
    });
    const { port } = socket.address;
    await host.output(["nft", "-f", "-"], {
      input: `table inet t {
      chain output { type route hook output priority -150;
        ip daddr 192.0.2.0/24 udp dport 1-65535 meta mark set 7
        ip6 daddr 2001:db8:1::/64 udp dport 1-65535 meta mark set 7
      }
      chain prerouting { type filter hook prerouting priority -150;
        ip daddr 192.0.2.0/24 meta l4proto udp tproxy ip to :${port} accept
        ip6 daddr 2001:db8:1::/64 meta l4proto udp tproxy ip6 to :${port} accept
      }
    }\n`,
    });
    const ring = new ReceiveRing(libc, new Uint8Array(4 * MESSAGE_BYTES));
    const sends = new TargetSends(libc);
    for (const [address, dport] of [["192.0.2.9", 53], ["2001:db8:1::9", 7777]] as const) {
      const program = host.spawn("program", [
        ...["python3", "-c"],
        `import socket
s = socket.socket(socket.AF_INET6 if ":" in "${address}" else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect(("${address}", ${dport}))
s.send(b"asked")
print(s.recv(100).decode())`,
      ]);
      await eventually(`a datagram for ${address}`, () => ring.fill(socket.fd) > 0);
      assert.equal(ring.next(), true);
      const { senders, sender, memory, offset, length } = ring;
      assert.equal(new TextDecoder().decode(memory.slice(offset, offset + length)), "asked");
      const words = new Int32Array(7);
      words[0] = senders[sender + ORIGINAL]!;
      const isIpv4 = !address.includes(":");
      words.set(
        senders.subarray(sender + LOCAL, sender + LOCAL + (isIpv4 ? 1 : 4)),
        isIpv4 ? 1 : 2,
      );
      assert.deepEqual([`${ipAt(words, 0)}`, portAt(words, 0)], [address, dport]);
      // From a socket of both families an address of IPv4 is mapped.
      const source = ipAt(senders, sender)!;
      const plain = isIpv4 ? parseIpAddress([...source.bytes.slice(12)].join("."))! : source;
      const fd = within(host, () => openForeign(libc, ipAt(words, 0)!.bytes, dport, 0x1234));
      const reply = {
        fd,
        firstSend: -1,
        lastSend: -1,
        refused: () => assert.fail(),
        takeReports: () => false,
      };
      sends.push(reply, new TargetAddress(plain, portAt(senders, sender)), memory, offset, length);
      sends.flush();
      assert.equal((await program.line(/.+/))[0], "asked");
      // Another, for another program, is no problem.
      const second = within(host, () => openForeign(libc, ipAt(words, 0)!.bytes, dport, 0x1234));
      for (const one of [fd, second]) libc.symbols.close(one);
      assert.equal(ring.next(), false);
    }
    socket.close();
    libc.close();
  },
  ["python3"],
);

aloneLabTest(
  "an address cannot be had of another host's where a program of this one has the port",
  async () => {
    await using lab = await Lab.create();
    const host = await lab.host("host");
    const libc = openUdpLibc();
    const taken = within(
      host,
      () => Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 }),
    );
    const { port } = taken.addr as Deno.NetAddr;
    assert.throws(
      () => within(host, () => openForeign(libc, Uint8Array.of(192, 0, 2, 9), port, 1)),
      (error) => error instanceof SystemCallError && error.errno === 98,
    );
    taken.close();
    libc.close();
  },
);
