/** What a stolen token reaches: the service of enrolment, and nothing else. */

import assert from "node:assert/strict";
import { IpAddress } from "../../../../netstack/mod.ts";
import { parseIpAddress } from "../../../../proxy/address.ts";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../../proxy/base64.ts";
import { loadConfig } from "../../../../proxy/config/config.ts";
import { decodeToken, type Token } from "../../../../proxy/enrol/token.ts";
import type { Gateway } from "../../../../proxy/gateway/gateway.ts";
import { until } from "../../pair.ts";
import { startGateway, startWirestack } from "../../start.ts";
import { icmp, tcpSyn, udp } from "../../../netstack/packets.ts";
import { HubLab } from "./hub_lab.ts";

const [ICMP, TCP] = [1, 6];
/** Packets that are under way at once: fewer than a socket buffers. */
const BATCH = 128;

const peerKey = generatePrivateKey();
const PEER = "10.9.0.77";
const HUB = "10.9.0.1";

/** A hub with another peer and a proxied network, this host behind it. */
function startHub(): Promise<HubLab> {
  return HubLab.start({
    sections: `[Peer]\nName = victim\nPublicKey = ${encodeKey(publicKeyOf(peerKey))}\n` +
      "AllowedIPs = 10.9.0.77/32\n" +
      "[Proxy]\nSubnets = 10.50.0.0/16\nMap = 10.50.0.1/32 -> 127.0.0.1/32\n" +
      // An administrator who opens everything.
      "[Rule]\nFrom = 169.254.0.0/16\nAction = allow\n[Rule]\nAction = allow\n",
  });
}

/** Whoever has the token, with a stack of its own and routes to everywhere. */
function startThief(token: Token, hub: HubLab): Promise<Gateway> {
  return startGateway(
    loadConfig({
      interface: { privateKey: encodeKey(token.privateKey), address: `${token.link}/32` },
      peers: [{
        publicKey: encodeKey(token.hubKey),
        endpoint: hub.endpoint,
        allowedIps: ["0.0.0.0/0", "::/0"],
        persistentKeepalive: 1,
      }],
    }).config,
  );
}

/** What came back to the thief: `protocol` or `protocol flags`, and where from. */
class Answers {
  readonly seen = new Map<string, number>();

  constructor(thief: Gateway) {
    thief.engine.observe((direction, buffer, offset) => {
      if (direction !== "in") return;
      const protocol = buffer[offset + 9]!;
      const from = IpAddress.from(buffer, offset + 12, 4);
      const port = buffer[offset + 20]! << 8 | buffer[offset + 21]!;
      const what = protocol === TCP
        ? `tcp ${port} flags ${buffer[offset + 33]}`
        : protocol === ICMP
        ? `icmp ${buffer[offset + 20]}/${buffer[offset + 21]}`
        : `protocol ${protocol}`;
      const key = `${what} from ${from}`;
      this.seen.set(key, (this.seen.get(key) ?? 0) + 1);
    });
  }
}

/** Sends them all, and sees to it that the hub has had each. */
async function scan(thief: Gateway, hub: Gateway, packets: Uint8Array[]): Promise<void> {
  const { counters } = hub.engine.stack;
  const { link } = thief.engine;
  for (let at = 0; at < packets.length; at += BATCH) {
    const before = counters.ip.received;
    const batch = packets.slice(at, at + BATCH);
    for (const bytes of batch) {
      const slot = link.allocate();
      assert.ok(slot >= 0);
      link.buffer.set(bytes, slot);
      link.transmit(link.buffer, slot, bytes.length, thief.engine.now());
    }
    thief.engine.wake();
    await until(() => counters.ip.received - before >= batch.length, "the hub has had all of them");
  }
}

Deno.test("all ports of the hub, UDP, pings, another peer, proxied networks: a stolen token gets to one", async () => {
  await using hub = await startHub();
  const token = decodeToken(await hub.invite("paris", "--subnet", "192.168.1.0/24"));
  await using victim = await startWirestack({
    interface: { privateKey: encodeKey(peerKey), address: "10.9.0.77/24" },
    peers: [{
      publicKey: encodeKey(hub.gateway.publicKey),
      endpoint: hub.endpoint,
      allowedIps: ["0.0.0.0/0"],
      persistentKeepalive: 1,
    }],
  });
  using _listener = victim.listen({ port: 80 });
  const peer = hub.gateway.engine.device.peer(publicKeyOf(peerKey))!;
  await until(() => peer.hasSession, "the victim is there");
  const before = hub.snapshot();
  await using thief = await startThief(token, hub);
  await until(() => [...thief.engine.device.peers()][0]!.hasSession, "the thief is there");
  const answers = new Answers(thief);
  const { ip, tcp } = hub.gateway.engine.stack.counters;
  const start = { filtered: ip.filtered, delivered: ip.delivered, forwarded: ip.forwarded };

  const own = `${token.link}`;
  const syn = (to: string, port: number) => tcpSyn(own, 40_000, to, port);
  const datagram = (to: string, port: number) => udp(own, 40_000, to, port, Uint8Array.of(1));
  const ping = (to: string) => icmp(own, to, 8, 0, Uint8Array.of(0, 1, 0, 1));
  const ports = Array.from({ length: 65_535 }, (_, i) => i + 1);
  await scan(thief, hub.gateway, ports.map((port) => syn(HUB, port)));
  assert.equal(ip.filtered - start.filtered, 65_534, "every port but one is refused");
  const tcpAnswers = [...answers.seen.keys()].filter((key) => key.startsWith("tcp"));
  assert.deepEqual(tcpAnswers, ["tcp 51820 flags 18 from 10.9.0.1"], "SYN and ACK of the service");

  const delivered = ip.delivered;
  const others = [
    ...ports.filter((port) => port % 16 === 0).map((port) => datagram(HUB, port)),
    datagram(HUB, 51_820),
    ping(HUB),
    ...[PEER, "10.50.0.1", "192.168.1.1", "8.8.8.8"].flatMap((to) => [
      ping(to),
      datagram(to, 53),
      ...[22, 80, 443, 51_820].map((port) => syn(to, port)),
    ]),
  ];
  const filtered = ip.filtered;
  await scan(thief, hub.gateway, others);
  // The thief resets what it has not asked for, at the service: that is let through.
  assert.equal(ip.filtered - filtered, others.length);
  assert.ok(ip.delivered - delivered <= 2, "nothing but the service was delivered to");
  assert.equal(ip.forwarded, start.forwarded, "nothing was passed on");
  assert.equal([...hub.gateway.flows()].length, 0, "nothing was proxied");
  assert.equal(tcp.resetsOut ?? 0, 0);
  for (const key of answers.seen.keys()) {
    assert.match(key, /^(?:tcp 51820 flags \d+|icmp 3\/13) from 10\.9\.0\.1$/, key);
  }

  // Another's address as the source is believed even less.
  const { droppedInnerSource } = hub.gateway.engine.device.counters;
  for (const from of [PEER, HUB]) {
    const slot = thief.engine.link.allocate();
    const bytes = tcpSyn(from, 40_000, PEER, 80);
    thief.engine.link.buffer.set(bytes, slot);
    thief.engine.link.transmit(thief.engine.link.buffer, slot, bytes.length, thief.engine.now());
  }
  thief.engine.wake();
  await until(
    () => hub.gateway.engine.device.counters.droppedInnerSource >= droppedInnerSource + 2,
    "they are dropped by WireGuard",
  );

  // And nobody reaches the thief: the victim, who was talked into it, say.
  const received = [...answers.seen.values()].reduce((all, count) => all + count, 0);
  const refusals = ip.filtered;
  await assert.rejects(
    victim.connect({ hostname: `${token.link}`, port: 80, timeoutMs: 5_000 }),
    (error) =>
      error instanceof Deno.errors.NetworkUnreachable || error instanceof Deno.errors.TimedOut,
  );
  assert.ok(ip.filtered > refusals);
  assert.equal([...answers.seen.values()].reduce((all, count) => all + count, 0), received);
  assert.deepEqual(hub.snapshot(), before);
  assert.equal(hub.gateway.engine.counters.faults, 0);
});

Deno.test("in a tunnel of IPv6 alone it is the same", async () => {
  await using hub = await HubLab.start({ lines: "Address = fd09::1/64" });
  const text = await hub.invite("six");
  const token = decodeToken(text);
  assert.match(`${token.link}`, /^fe80::/);
  await using thief = await startWirestack({
    interface: { privateKey: encodeKey(token.privateKey), address: `${token.link}/128` },
    peers: [{
      publicKey: encodeKey(token.hubKey),
      endpoint: hub.endpoint,
      allowedIps: ["::/0"],
    }],
  });
  for (
    const [hostname, port] of [["fd09::1", 80], ["fd09::2", 51820], ["2001:db8::1", 443]] as const
  ) {
    await assert.rejects(thief.connect({ hostname, port, timeoutMs: 3_000 }), Error);
  }
  using conn = await thief.connect({ hostname: "fd09::1", port: token.service.port });
  conn.close();
  await thief.close({ graceMs: 0 });
  const grant = await hub.handIn(text, generatePrivateKey());
  assert.deepEqual(grant.addresses.map(String), ["fd09::2"]);
});

Deno.test("who writes nonsense at the service, or nothing, or too much, is cut off; it goes on", async () => {
  await using hub = await HubLab.start();
  const text = await hub.invite("a");
  const token = decodeToken(text);
  const before = hub.snapshot();
  await using thief = await startWirestack({
    interface: { privateKey: encodeKey(token.privateKey), address: `${token.link}/32` },
    peers: [{
      publicKey: encodeKey(token.hubKey),
      endpoint: hub.endpoint,
      allowedIps: ["10.9.0.1/32"],
    }],
  });
  const { port } = token.service;
  const open = () => thief.connect({ hostname: "10.9.0.1", port });
  const say = async (bytes: Uint8Array) => {
    const conn = await open();
    let heard = "";
    try {
      for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
      const buffer = new Uint8Array(1000);
      for (let length; (length = await conn.read(buffer)) !== null;) {
        heard += new TextDecoder().decode(buffer.subarray(0, length));
      }
      conn.close();
    } catch { /* reset */ }
    return heard;
  };
  const malformed = '{"version":1,"refused":"malformed"}\n';
  assert.equal(await say(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n")), malformed);
  assert.equal(await say(Uint8Array.of(0xff, 0xfe, 0x0a)), malformed);
  const tooMuch = await say(new Uint8Array(100_000).fill(0x41));
  assert.ok(tooMuch === malformed || tooMuch === "", "or reset, for what was not read");
  // One connection at a time: the second is reset while the first is open.
  const first = await open();
  const second = await open();
  await assert.rejects(second.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
  // Which is not for ever.
  await assert.rejects(first.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
  // And not too often.
  let refused = 0;
  for (let i = 0; i < 12 || refused === 0 && i < 100; i++) {
    if (await say(new TextEncoder().encode("x\n")) === "") refused++;
  }
  assert.ok(refused > 0, "a token that asks and asks is refused");
  assert.deepEqual(hub.snapshot(), before);
  await thief.close({ graceMs: 0 });
  const address = parseIpAddress("10.9.0.2")!;
  for (let left = 20;; left--) {
    try {
      const grant = await hub.handIn(text, generatePrivateKey());
      assert.deepEqual(grant.addresses, [address]);
      break;
    } catch (error) {
      if (left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  }
  assert.equal(hub.gateway.engine.counters.faults, 0);
});
