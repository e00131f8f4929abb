import assert from "node:assert/strict";
import { IpAddress } from "../../netstack/address.ts";
import { writeUint16 } from "../../netstack/bytes.ts";
import { finish, sum } from "../../netstack/checksum.ts";
import type { TcpEndpoint } from "../../netstack/tcp/endpoint.ts";
import * as header from "../../netstack/tcp/header.ts";
import type { TcpSettings } from "../../netstack/tcp/settings.ts";
import { TcpHost } from "../netstack/tcp/host.ts";
import { Random, Sim } from "./network.ts";

const CLIENT = IpAddress.v4(10, 0, 0, 1);
const SERVER = IpAddress.v4(10, 0, 0, 2);
/** Somebody else's, behind the server's forwarder. */
const TARGET = IpAddress.v4(192, 0, 2, 1);
const PORT = 80;
const PER_SECOND = 100_000;

/** SYNs from addresses and ports that do not exist, right at the victim's door. */
class Flood {
  sent = 0;
  readonly #random: Random;
  readonly #buffer = new Uint8Array(40);

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  /** @param source Undefined = another for each. */
  send(victim: TcpHost, to: IpAddress, source: number | undefined, now: number): void {
    const b = this.#buffer;
    const from = source ?? this.#random.below(2 ** 24);
    b.set([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 172, from >> 16, from >> 8, from]);
    b.set(to.bytes, 16);
    writeUint16(b, 10, finish(sum(b, 0, 20, 0)));
    const sequence = this.#random.below(2 ** 31);
    const port = 1024 + this.#random.below(60_000);
    header.writeHeader(b, 20, port, PORT, sequence, 0, 20, header.SYN, 65_535);
    writeUint16(b, 20 + header.CHECKSUM, finish(sum(b, 20, 20, sum(b, 12, 8, 6 + 20))));
    victim.receive(b, 0, 40, now);
    this.sent++;
  }
}

/** One host floods nobody: it has a connection and wants another. */
function underAttack(seed: number, settings: Partial<TcpSettings> = {}) {
  const sim = new Sim(seed);
  const link = sim.link({ impairments: { delay: 10 }, slots: 2048 });
  const [client, server] = [CLIENT, SERVER].map((address, i) => {
    const port = i === 0 ? link.a : link.b;
    const host = new TcpHost({
      link: port,
      address,
      seed: seed + i,
      promiscuous: i === 1,
      settings,
    });
    port.receive = host.receive;
    sim.addHost(host);
    return host;
  }) as [TcpHost, TcpHost];

  let echoed = 0;
  server.tcp.listen({ port: PORT }, {
    accepted: (endpoint) => {
      const bytes = new Uint8Array(65_536);
      endpoint.handler = {
        readable: () => {
          for (let n = endpoint.read(bytes); n > 0; n = endpoint.read(bytes)) echoed += n;
        },
      };
    },
  });
  const open = () => {
    const endpoint = client.tcp.connect({ remote: SERVER, remotePort: PORT }, sim.now);
    endpoint.handler = {};
    return endpoint;
  };
  const keepSending = (endpoint: TcpEndpoint) => {
    const bytes = new Uint8Array(65_536);
    endpoint.handler!.writable = () => {
      while (endpoint.write(bytes) === bytes.length);
    };
    endpoint.handler!.writable();
  };
  return { sim, client, server, open, keepSending, echoed: () => echoed };
}

/** Runs `seconds` of flood. @returns What it left at the end of each second. */
function flood(
  sim: Sim,
  server: TcpHost,
  seconds: number,
  to: IpAddress,
  source: number | undefined,
): number[][] {
  const attack = new Flood(7);
  const left: number[][] = [];
  for (let ms = 0; ms < 1000 * seconds; ms++) {
    for (let i = 0; i < PER_SECOND / 1000; i++) attack.send(server, to, source, sim.now);
    sim.runFor(1);
    const { tcp } = server;
    if (ms % 1000 === 999) left.push([tcp.connectionCount, tcp.halfOpenCount, tcp.timers]);
  }
  assert.equal(attack.sent, PER_SECOND * seconds);
  return left;
}

Deno.test("100,000 SYNs a second at a listener: nothing grows, an old connection loses nothing, a new one gets in by cookie", () => {
  const { sim, server, open, keepSending, echoed } = underAttack(1);
  const old = open();
  sim.runFor(100);
  assert.equal(old.state, "established");
  keepSending(old);
  sim.runFor(1000);
  const before = echoed();
  sim.runFor(1000);
  const quiet = echoed() - before;

  const left = flood(sim, server, 2, SERVER, undefined);
  // The backlog of one listener, and the old connection.
  assert.deepEqual(left, [[129, 0, left[0]![2]!], [129, 0, left[0]![2]!]]);
  assert.ok(
    echoed() - before - quiet > 1.9 * quiet,
    `${echoed() - before - quiet} of ${2 * quiet}`,
  );
  assert.equal(old.info().retransmits, 0);

  const late = open();
  sim.runFor(50);
  assert.equal(late.state, "established");
  assert.equal(server.tcp.counters.synCookiesAccepted, 1);
  const received = echoed();
  late.write(new Uint8Array(5_000));
  sim.runFor(100);
  assert.ok(echoed() > received);
  // What the cookie kept: both have all options.
  assert.equal(late.info().mss, 1448);
  assert.ok(server.tcp.counters.synCookiesSent > 190_000);

  // The half-open ones expire; the two connections stay.
  old.handler = {};
  sim.runFor(200_000);
  assert.equal(server.tcp.connectionCount, 2);
});

Deno.test("100,000 SYNs a second through the forwarder are dropped in silence past the limits", () => {
  const { sim, server, open } = underAttack(2);
  let requests = 0;
  server.tcp.setForwarder(server.nic, { request: () => requests++ });
  const old = open();
  sim.runFor(100);
  const left = flood(sim, server, 2, TARGET, undefined);
  assert.deepEqual(left, [[1, 4_096, left[0]![2]!], [1, 4_096, left[0]![2]!]]);
  assert.equal(requests, 4_096);
  assert.equal(server.tcp.counters.halfOpenFull, 2 * PER_SECOND - 4_096);
  assert.equal(server.tcp.counters.resetsOut, 0);
  assert.equal(old.state, "established");
  // Nobody answers the requests: they end by themselves.
  sim.runFor(31_000);
  assert.deepEqual([server.tcp.halfOpenCount, server.tcp.counters.requestsExpired], [0, 4_096]);
});

Deno.test("one source takes its own places and leaves those of the others", () => {
  const { sim, server } = underAttack(3);
  server.tcp.setForwarder(server.nic, { request: () => {} });
  flood(sim, server, 1, TARGET, 1);
  assert.equal(server.tcp.halfOpenCount, 1_024);
  new Flood(9).send(server, TARGET, 2, sim.now);
  assert.equal(server.tcp.halfOpenCount, 1_025);
});

Deno.test("memory is the same after one second of flood and after three", () => {
  const { sim, server } = underAttack(4);
  server.tcp.setForwarder(server.nic, { request: () => {} });
  const heap = () => {
    // Until the collector has been: the least of a few readings.
    let least = Infinity;
    for (let i = 0; i < 5; i++) {
      flood(sim, server, 0.02, SERVER, undefined);
      least = Math.min(least, Deno.memoryUsage().heapUsed);
    }
    return least;
  };
  flood(sim, server, 1, SERVER, undefined);
  const first = heap();
  flood(sim, server, 1, SERVER, undefined);
  flood(sim, server, 1, SERVER, undefined);
  assert.ok(heap() - first < 32 << 20, `${first} bytes have become ${heap()}`);
});
