import assert from "node:assert/strict";
import { parseInterfaceAddress, parseIpAddress, parsePrefix } from "../../../proxy/address.ts";
import { openArena } from "../../../proxy/arena/arena.ts";
import { DenoUdpBind } from "../../../proxy/bind/udp_deno.ts";
import { Engine } from "../../../proxy/engine/engine.ts";
import { EventLoop, hostClock } from "../../../proxy/engine/event_loop.ts";
import type { EngineLink } from "../../../proxy/engine/link_port.ts";
import { TunLink } from "../../../proxy/link/tun.ts";
import { eventually, type Host, Lab, labTest, unique } from "../../e2e/lab.ts";
import { output } from "../../e2e/process.ts";
import { tcpSegment } from "../../netstack/packets.ts";

const MTU = 1420;
const ACK = 0x10;
const DONT_FRAGMENT = 0x4000;
const FFI = new URL("../../../ffi/mod.ts", import.meta.url).href;

interface EndOptions {
  /** In the tunnel, on the interface. */
  readonly addresses: string[];
  /** The stack's own. */
  readonly ownAddresses?: string[];
  readonly hasRoom?: () => boolean;
  readonly onClosed?: (error?: Error) => void;
}

/** An end of a whole-system tunnel, with its TUN in a namespace and its UDP on loopback. */
class End implements AsyncDisposable {
  readonly engine: Engine;
  readonly bind: DenoUdpBind;
  readonly tun: TunLink;
  readonly port: EngineLink;
  readonly device: string;

  private constructor(options: EndOptions) {
    const arena = openArena(MTU);
    const { pool, receiveRegion } = arena;
    this.bind = new DenoUdpBind({ pool, receiveRegion, address: "127.0.0.1" });
    const engine = this.engine = new Engine({
      clock: hostClock,
      scheduler: new EventLoop(),
      random: (out) => void crypto.getRandomValues(out),
      arena,
      binds: [this.bind],
      privateKey: crypto.getRandomValues(new Uint8Array(32)),
      mtu: MTU,
      addresses: [],
      forwarding: true,
      onEvent() {},
      onFailed(error) {
        throw error;
      },
    });
    const { hasRoom = () => engine.hasRoom, onClosed, ownAddresses = [] } = options;
    this.tun = TunLink.open(arena, { name: `ws${Deno.pid}l${unique()}`, mtu: MTU, hasRoom });
    this.device = this.tun.name;
    this.port = engine.addLink(this.tun, {
      ...{ name: "tun", mtu: MTU, forwarding: true, keepsHopLimit: true },
      addresses: ownAddresses.map((text) => parseInterfaceAddress(text)!),
      ...(onClosed && { onClosed }),
    });
    for (const all of ["0.0.0.0/0", "::/0"]) {
      engine.stack.routes.insert(parsePrefix(all)!, this.port.nic);
    }
  }

  static async open(host: Host, options: EndOptions): Promise<End> {
    const end = new End(options);
    await output(["ip", "link", "set", end.device, "netns", host.namespace]);
    await host.ip(`link set ${end.device} addrgenmode none mtu ${MTU} up`);
    await host.addAddresses(end.device, options.addresses);
    return end;
  }

  connect(other: End, prefixes: string[]): void {
    const { engine, bind } = this;
    const allowed = prefixes.map((text) => parsePrefix(text)!);
    engine.device.addPeer({
      publicKey: other.engine.device.publicKey,
      endpoint: bind.endpoint(parseIpAddress("127.0.0.1")!, other.bind.port),
      allowedIps: allowed.map(({ address, length }) => ({ address: address.bytes, length })),
    }, engine.now());
    for (const prefix of allowed) engine.stack.routes.insert(prefix, engine.nic1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine.close();
  }
}

/** With an address: sends there by TCP and by UDP, and compares what comes back. Without: echoes. */
const ECHO = `
const [hostname] = Deno.args;
if (hostname === undefined) {
  for (const any of ["0.0.0.0", "::"]) {
    const transport = "udp";
    const socket = Deno.listenDatagram({ transport, hostname: any, port: any === "::" ? 8 : 7 });
    (async () => {
      for await (const [data, from] of socket) await socket.send(data, from);
    })();
  }
  const listener = Deno.listen({ hostname: "::", port: 7 });
  console.log("ready");
  for await (const conn of listener) {
    await conn.readable.pipeTo(conn.writable, { preventClose: true });
    await conn.closeWrite().catch(() => {}); // the client may have gone
  }
}
const data = new Uint8Array(8 << 20).map((_, i) => (i * 2654435761) >>> 13);
const conn = await Deno.connect({ hostname, port: 7 });
const sent = new Blob([data]).stream().pipeTo(conn.writable, { preventClose: true });
sent.then(() => conn.closeWrite());
const back = new Uint8Array(await new Response(conn.readable).arrayBuffer());
if (back.length !== data.length || !back.every((byte, i) => byte === data[i])) throw "TCP";
const isIpv6 = hostname.includes(":");
const any = isIpv6 ? "::" : "0.0.0.0";
const { MESSAGE_BYTES, openUdpLibc, ReceiveRing, SendBatch, UdpSocket, writeSockaddr } = await import(Deno.args[1]);
const libc = openUdpLibc();
const socket = new UdpSocket(libc, { hostname: any, port: 0 });
const sockaddr = new Uint8Array(isIpv6 ? 28 : 16);
const address = isIpv6 ? [0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 2] : [192, 0, 2, 2];
writeSockaddr(sockaddr, Uint8Array.from(address), isIpv6 ? 8 : 7);
// In one piece, which the kernel does not cut before the TUN.
const batch = new SendBatch(libc, data, 64, true);
const to = { sockaddr, source: undefined, segmentLimit: 65535 };
for (let i = 0; i < 40; i++) batch.push(to, i * 1000, 1000);
batch.flush(socket.fd, () => {});
const ring = new ReceiveRing(libc, new Uint8Array(MESSAGE_BYTES));
for (let i = 0; i < 40;) {
  if (ring.fill(socket.fd) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  for (; ring.next(); i++) {
    const packet = ring.memory.subarray(ring.offset, ring.offset + ring.length);
    if (!packet.every((byte, j) => byte === data[i * 1000 + j])) throw "UDP";
  }
}
console.log("the same");
Deno.exit();
`;

labTest(
  "TCP, UDP and pings of two hosts' kernels pass from TUN to TUN, both families",
  async () => {
    await using lab = await Lab.create();
    const [a, b] = [await lab.host("a"), await lab.host("b")];
    await using left = await End.open(a, { addresses: ["192.0.2.1/24", "2001:db8::1/64"] });
    await using right = await End.open(b, { addresses: ["192.0.2.2/24", "2001:db8::2/64"] });
    left.connect(right, ["192.0.2.2/32", "2001:db8::2/128"]);
    right.connect(left, ["192.0.2.1/32", "2001:db8::1/128"]);
    const script = `${lab.directory}/echo.ts`;
    await Deno.writeTextFile(script, ECHO);
    const deno = [
      Deno.execPath(),
      "run",
      "-A",
      "--no-config",
      "--no-lock",
      "--unstable-net",
      script,
    ];
    const echo = b.spawn("echo", deno);
    await echo.line(/^ready/);
    for (const target of ["192.0.2.2", "2001:db8::2"]) {
      await a.output(["ping", "-c", "2", "-i", "0.1", "-s", "1300", "-w", "10", target]);
      // The hop limit stays: the tunnel is transparent.
      await a.output(["ping", "-c", "1", "-t", "1", "-w", "10", target]);
      assert.equal(await a.output([...deno, target, FFI], { timeoutMs: 60_000 }), "the same\n");
    }
    const { counters } = left.tun.device;
    // In pieces: many packets for each call.
    assert.ok(counters.packetsIn > 4 * counters.reads, JSON.stringify(counters));
    assert.ok(counters.packetsOut > 2 * counters.writes, JSON.stringify(counters));
    assert.deepEqual({ ...left.tun.counters.drops }, { malformed: 0, rejected: 0 });
  },
  ["ping"],
);

labTest(
  "what is being put together waits for the next turn while more is at hand, not for long",
  async () => {
    const link = TunLink.open(openArena(MTU), { name: `ws${Deno.pid}l${unique()}`, mtu: MTU });
    const { counters } = link.device;
    const forward = (sequence: number) => {
      const segment = tcpSegment(
        ...["192.0.2.1", 7, "192.0.2.2", 9, sequence, 0, ACK] as const,
        { fragment: DONT_FRAGMENT },
        new Uint8Array(100),
      );
      assert.ok(link.forward(segment, 0, segment.length));
    };
    try {
      for (let turn = 1; turn <= 8; turn++) {
        forward(turn * 100);
        link.flush(true);
        assert.deepEqual(
          [turn, counters.writes],
          [turn, turn >> 2],
          "every fourth turn one piece leaves",
        );
      }
      forward(900);
      link.flush(true);
      forward(1_000);
      link.flush(false);
      assert.deepEqual([counters.writes, counters.packetsOut], [3, 10]);
    } finally {
      await link.close();
    }
  },
);

labTest("the stack's own address on the TUN's NIC answers", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("host");
  await using end = await End.open(host, {
    addresses: ["192.0.2.1/24", "2001:db8::1/64"],
    ownAddresses: ["192.0.2.9/24", "2001:db8::9/64"],
  });
  for (const target of ["192.0.2.9", "2001:db8::9"]) {
    await host.output(["ping", "-c", "2", "-i", "0.1", "-w", "10", target]);
  }
  assert.ok(end.port.nic.addresses.length === 2);
}, ["ping"]);

labTest(
  "while the tunnel has no room nothing is read from the kernel, and then all goes on",
  async () => {
    await using lab = await Lab.create();
    const host = await lab.host("host");
    let hasRoom = false;
    let asked = 0;
    await using end = await End.open(host, {
      addresses: ["192.0.2.1/24"],
      ownAddresses: ["192.0.2.9/24"],
      hasRoom: () => hasRoom || asked++ < 0,
    });
    const ping = host.run(["ping", "-c", "3", "-i", "0.1", "-w", "10", "192.0.2.9"]);
    // The link looks whether there is room, again and again.
    await eventually("the link is asked for packets", () => asked > 1000);
    assert.equal(end.tun.counters.packetsIn, 0);
    hasRoom = true;
    end.engine.wake();
    assert.equal((await ping).code, 0);
    assert.ok(end.tun.counters.packetsIn >= 3);
  },
  ["ping"],
);

labTest("when the interface is deleted the link ends, says why, and its NIC is gone", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("host");
  const { promise, resolve } = Promise.withResolvers<Error | undefined>();
  await using end = await End.open(host, { addresses: ["192.0.2.1/24"], onClosed: resolve });
  assert.equal(end.engine.links.length, 1);
  await host.ip(`link delete ${end.device}`);
  assert.match(`${await promise}`, /TunError: the TUN interface ws\d+l\w+ is gone/);
  assert.equal(end.engine.links.length, 0);
  assert.deepEqual([...end.engine.stack.nics], [end.engine.nic1]);
});
