/** A gateway with its forwarders and whole clients, towards targets in simulated time. */

import assert from "node:assert/strict";
import type { IpAddress } from "../../netstack/mod.ts";
import { AllowedIps } from "../../wireguard/allowed_ips.ts";
import type { FlowLimits } from "../../proxy/flow/admit.ts";
import { icmp, ip, parse } from "../netstack/packets.ts";
import { EchoClient, Pinger } from "./applications.ts";
import { errors, hasEnded, isRight, ROUGH, site } from "./engine_site.ts";
import type { SimEngine, SimEngineOptions } from "./engine.ts";
import { forSeeds } from "./seeds.ts";
import {
  BREAKING,
  ECHO,
  PATIENCE_MS,
  PATIENT,
  REFUSING,
  SILENT,
  SimTargets,
  type SimTargetsOptions,
  STALLED,
} from "./targets.ts";

const TARGET = ip("10.70.0.1");

interface ForwardingOptions {
  readonly client?: Partial<SimEngineOptions>;
  readonly gateway?: Partial<SimEngineOptions>;
  readonly targets?: SimTargetsOptions;
  readonly limits?: Partial<FlowLimits>;
}

function forwarding(seed: number, count: number, options: ForwardingOptions = {}) {
  const { client = { impairments: { delay: 10 } } } = options;
  const all = site(seed, Array(count).fill(client), options.gateway);
  const targets = new SimTargets(all.sim, options.targets);
  const proxy = all.gateway.forward(targets, ["10.70.0.0/16"], options.limits);
  for (const client of all.clients) {
    const [hub] = client.engine.device.peers();
    hub!.addAllowedIp({ address: TARGET.bytes, length: 16 });
    client.route("10.70.0.0/16", client.engine.nic1);
  }
  const assertClean = () => {
    all.world.assertClean({ udpEndpoints: true });
    assert.deepEqual([proxy.tcp.size, proxy.tcp.dials, proxy.udp.size, targets.open], [0, 0, 0, 0]);
    assert.deepEqual([...proxy.admission.table.flows()], []);
  };
  return { ...all, proxy, targets, assertClean };
}

function ask(
  from: SimEngine,
  port: number,
  bytes: number,
  seed: number,
  target: IpAddress = TARGET,
) {
  return new EchoClient(from.connectTcp(target, port), bytes, seed);
}

Deno.test("forwarded TCP and UDP over a rough network: every byte right, no stream, session or flow left", () => {
  forSeeds(4, (seed) => {
    const { sim, clients, proxy, assertClean } = forwarding(seed, 3, {
      client: { impairments: ROUGH },
      targets: { buffer: 8_000, bytesPerMs: 400 },
    });
    const transfers = clients.flatMap((client, i) =>
      [1, 2, 3].map((n) => ask(client, ECHO, 40_000 * n, 10 * i + n))
    );
    const pingers = clients.map(({ engine }) => new Pinger(engine, TARGET, 5000));
    for (let i = 0; i < 40; i++) {
      sim.after(50 * i, () => pingers.forEach((it) => it.ask(4 + 30 * i)));
    }
    assert.ok(sim.runUntil(() => hasEnded(transfers), 120_000), `${errors(transfers)}`);
    assert.ok(isRight(transfers), `${errors(transfers)}`);
    assert.equal(proxy.udp.size, 3);
    const total = transfers.reduce((sum, { length }) => sum + length, 0);
    sim.runFor(300_000);
    assert.ok(pingers.every(({ answered, wrong }) => wrong === 0 && answered > 30));
    assert.deepEqual([proxy.tcp.counters.bytesUp, proxy.tcp.counters.bytesDown], [total, total]);
    assert.equal(proxy.udp.counters.idle, 3);
    assertClean();
  });
});

Deno.test("a target that refuses, is silent or breaks off: so it looks to the client", () => {
  const { sim, clients: [client], proxy, assertClean } = forwarding(1, 1);
  ask(client!, ECHO, 1, 1); // the handshake is over
  sim.runFor(1_000);
  const started = sim.now;
  const outcomes = new Map(
    [REFUSING, SILENT, BREAKING].map((port) => [port, ask(client!, port, 100_000, port)] as const),
  );
  const endsAt = (port: number) => {
    const outcome = outcomes.get(port)!;
    assert.ok(sim.runUntil(() => outcome.hasEnded, 60_000));
    return [outcome.error, Math.round(sim.now - started)];
  };
  assert.deepEqual(endsAt(REFUSING), ["refused", 22]); // 20 ms of tunnel, 2 ms to the target
  const [error, at] = endsAt(BREAKING);
  assert.equal(error, "reset");
  assert.ok(Number(at) < 1_000);
  assert.deepEqual(endsAt(SILENT), ["unreachable", 5_020]); // the dial's limit
  const { refused, timedOut, resetByTarget } = proxy.tcp.counters;
  assert.deepEqual([refused, timedOut, resetByTarget], [1, 1, 1]);
  sim.runFor(200_000);
  assertClean();
});

Deno.test("10 MB up, the side shut, and an answer 20 s later: it arrives, and nothing else", () => {
  const { sim, clients: [client], assertClean } = forwarding(1, 1);
  const upload = new Uint8Array(10_000_000);
  const endpoint = client!.connectTcp(TARGET, PATIENT);
  let [sent, shutAt, answer] = [0, 0, ""];
  const buffer = new Uint8Array(1_000);
  const send = () => {
    sent += endpoint.write(upload, sent, upload.length - sent);
    if (sent < upload.length || shutAt > 0) return;
    endpoint.shutdownWrite();
    shutAt = sim.now;
  };
  let end: string | undefined;
  endpoint.handler = {
    connected: send,
    writable: send,
    readable: () => {
      const count = endpoint.read(buffer);
      answer += new TextDecoder().decode(buffer.subarray(0, count));
      if (endpoint.endOfFile) endpoint.close();
    },
    closed: (error) => end = error?.kind ?? "well",
  };
  assert.ok(sim.runUntil(() => answer !== "", 120_000));
  assert.ok(sim.now - shutAt >= PATIENCE_MS, `${sim.now - shutAt} ms`);
  assert.ok(sim.runUntil(() => end !== undefined, 1_000));
  assert.deepEqual([answer, end], ["10000000 bytes", "well"]);
  sim.runFor(200_000);
  assertClean();
});

Deno.test("a target that does not read holds its client back, and nobody else", () => {
  const { sim, clients: [one, two], gateway, proxy, assertClean } = forwarding(1, 2, {
    targets: { buffer: 10_000 },
  });
  const stalled = [ask(one!, STALLED, 30e6, 1), ask(one!, STALLED, 30e6, 2)];
  sim.runFor(20_000);
  for (const { flow } of proxy.tcp.connections()) assert.ok(flow.bytesUp < 100_000);
  assert.ok(gateway.engine.stack.resources().tcpBufferBytes < 10 << 20);
  const before = sim.now;
  const going = ask(two!, ECHO, 1_000_000, 3);
  assert.ok(sim.runUntil(() => going.hasEnded, 10_000));
  assert.equal(going.error, undefined);
  assert.ok(sim.now - before < 3_000);
  assert.ok(stalled.every(({ hasEnded }) => !hasEnded));
  proxy.tcp.abort();
  assert.ok(sim.runUntil(() => hasEnded(stalled), 1_000));
  sim.runFor(200_000);
  assertClean();
});

Deno.test("a peer that dials silent targets without end does not keep another from its own", () => {
  const { sim, clients: [flooder, other], proxy, assertClean } = forwarding(1, 2, {
    limits: { maxDials: 64 },
  });
  for (let ms = 0; ms < 20_000; ms += 10) {
    const target = ip(`10.70.${1 + ms / 10 % 200}.${1 + ms % 7}`);
    sim.after(ms, () => {
      const endpoint = flooder!.connectTcp(target, SILENT);
      sim.after(2_000, () => endpoint.abort());
    });
  }
  sim.runFor(5_000);
  const good: EchoClient[] = [];
  for (let i = 0; i < 50; i++) sim.after(200 * i, () => good.push(ask(other!, ECHO, 5_000, i)));
  sim.runFor(14_000);
  assert.equal(good.length, 50);
  assert.ok(isRight(good), `${errors(good)}`);
  assert.ok(proxy.tcp.counters.tooManyDials + proxy.tcp.counters.evicted > 0, "dials were scarce");
  sim.runFor(300_000);
  assertClean();
});

Deno.test("pings of many clients to many targets: each gets its own replies, as sent, and nothing is left", () => {
  forSeeds(3, (seed) => {
    const { sim, clients, proxy, assertClean } = forwarding(seed, 3);
    const expected = new Map<string, string>();
    const wrong: string[] = [];
    clients.forEach(({ engine }, c) => {
      engine.observe((direction, buffer, offset, length) => {
        if (direction !== "in") return;
        const { source, payload } = parse(buffer.slice(offset, offset + length));
        const key = `${c} ${source} ${payload.subarray(4, 8)}`;
        if (payload[0] !== 0 || expected.get(key) !== `${payload.subarray(8)}`) wrong.push(key);
        expected.delete(key);
      });
      for (let n = 0; n < 200; n++) {
        const target = `10.70.1.${n % 20}`;
        const body = Uint8Array.of(0, 7, 0, n, c, n, seed & 0xff); // all with the identifier 7
        const request = icmp(`10.9.0.${c + 2}`, target, 8, 0, body);
        expected.set(`${c} ${target} ${body.subarray(0, 4)}`, `${body.subarray(4)}`);
        sim.after(1_000 + 5 * n, () => {
          engine.link.forward(request, 0, request.length, sim.now);
          engine.wake();
        });
      }
    });
    sim.runFor(5_000);
    const { requests, replies, filtered } = proxy.icmp.counters;
    assert.deepEqual([requests, replies, filtered, expected.size], [600, 600, 0, 0]);
    assert.deepEqual(wrong, []);
    assert.equal(proxy.icmp.size, 3);
    sim.runFor(300_000);
    assert.equal(proxy.icmp.size, 0);
    assertClean();
  });
});

Deno.test("allowed IPs are looked up once for a packet in, and not for one out to a peer that is known", () => {
  const { sim, gateway, clients: [client], proxy } = forwarding(1, 1, {
    targets: { bytesPerMs: 4_000 },
  });
  const pinger = new Pinger(client!.engine, TARGET, 5000);
  ask(client!, ECHO, 1_000, 1);
  pinger.ask(100);
  sim.runFor(2_000);
  using lookups = countLookups(gateway);
  const { counters } = gateway.engine.device;
  const [received, sent] = [counters.packetsReceived, counters.packetsSent];
  const transfer = ask(client!, ECHO, 1_000_000, 2);
  for (let i = 0; i < 200; i++) sim.after(10 * i, () => pinger.ask(1_000));
  assert.ok(sim.runUntil(() => transfer.hasEnded && pinger.answered === 201, 60_000));
  assert.ok(transfer.isRight);
  const more = { in: counters.packetsReceived - received, out: counters.packetsSent - sent };
  assert.ok(more.in > 800 && more.out > 800, `${more.in} packets in, ${more.out} out`);
  // A new connection's hop is found once.
  const beside = lookups.count - more.in;
  assert.ok(beside >= 0 && beside <= 2, `${lookups.count} look-ups for ${more.in} packets in`);
  assert.equal(proxy.tcp.counters.bytesUp, 1_001_000);
});

/** Look-ups of an engine's allowed IPs from now on. */
function countLookups({ engine: { device } }: SimEngine): Disposable & { count: number } {
  const { lookup } = AllowedIps.prototype;
  let own: unknown;
  AllowedIps.prototype.lookup = function (...of) {
    own ??= this; // the first is the one below
    if (this === own) counted.count++;
    return lookup.apply(this, of);
  };
  const counted = { count: 0, [Symbol.dispose]: () => void (AllowedIps.prototype.lookup = lookup) };
  device.peerAt(TARGET.bytes, 0, 4);
  counted.count = 0;
  return counted;
}
