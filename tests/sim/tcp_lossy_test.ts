import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { IpAddress } from "../../netstack/address.ts";
import type { TcpEndpoint, TcpError } from "../../netstack/tcp/endpoint.ts";
import { TcpHost } from "../netstack/tcp/host.ts";
import { type Impairments, Sim } from "./network.ts";
import { forSeeds, longSeeds } from "./seeds.ts";

const SIZE = 10_000_000;
const CHUNK = 65_536;
const MTU = 1420;
/** What every byte is, by its position. The period is prime, so no shift by a segment looks right. */
const PERIOD = 65_521;
const PATTERN = new Uint8Array(PERIOD + CHUNK);
for (let i = 0, x = 1; i < PERIOD; i++, x = Math.imul(x, 1103515245) + 12345 | 0) {
  PATTERN[i] = x >>> 16;
}
for (let i = PERIOD; i < PATTERN.length; i++) PATTERN[i] = PATTERN[i - PERIOD]!;

const SCRATCH = new Uint8Array(CHUNK);
/** The same bytes, for comparisons by the C library: four gigabytes are compared. */
const [PATTERN_BYTES, SCRATCH_BYTES] = [PATTERN, SCRATCH].map(({ buffer }) =>
  Buffer.from(buffer)
) as [
  Buffer,
  Buffer,
];

/** An application that sends {@link SIZE} bytes of the pattern and checks what it gets. */
class Transfer {
  sent = 0;
  received = 0;
  closed = 0;
  error: TcpError | undefined;

  constructor(readonly endpoint: TcpEndpoint) {
    endpoint.handler = {
      connected: () => this.#send(),
      writable: () => this.#send(),
      readable: () => this.#receive(),
      closed: (error) => {
        this.closed++;
        this.error = error;
      },
    };
  }

  #send(): void {
    while (this.sent < SIZE) {
      const length = Math.min(CHUNK, SIZE - this.sent);
      const taken = this.endpoint.write(PATTERN, this.sent % PERIOD, length);
      this.sent += taken;
      if (taken < length) return;
    }
    this.endpoint.shutdownWrite();
  }

  #receive(): void {
    for (;;) {
      const length = this.endpoint.read(SCRATCH, 0, CHUNK);
      if (length === 0) return;
      const from = this.received % PERIOD;
      if (PATTERN_BYTES.compare(SCRATCH_BYTES, 0, length, from, from + length) !== 0) {
        const at = SCRATCH.subarray(0, length).findIndex((byte, i) => byte !== PATTERN[from + i]);
        assert.fail(`wrong byte at ${this.received + at}`);
      }
      this.received += length;
    }
  }
}

/** A host that checks after each turn that no connection waits without a timer. */
class WatchedHost extends TcpHost {
  override flush(now: number, budget?: number): boolean {
    const more = super.flush(now, budget);
    for (const endpoint of this.tcp.connections()) {
      if (endpoint.unacknowledged === 0) continue;
      const { rtoMs, retransmitAt, state } = endpoint.info();
      if (state === "closed" || state === "time-wait") continue;
      const limit = now + rtoMs + 1e-6;
      if (!(retransmitAt <= limit && this.pollTimeout() <= limit)) {
        assert.fail(
          `at ${now} ms in ${state}: ${endpoint.unacknowledged} bytes unacknowledged, RTO ${rtoMs}, ` +
            `timer at ${retransmitAt}, next deadline ${this.pollTimeout()}`,
        );
      }
    }
    return more;
  }
}

function transfer(seed: number, impairments: Impairments): void {
  const sim = new Sim(seed);
  const link = sim.link({ mtu: MTU, impairments });
  const addresses = seed % 2 === 0
    ? [IpAddress.v4(10, 0, 0, 1), IpAddress.v4(10, 0, 0, 2)] as const
    : [v6(1), v6(2)] as const;
  const now = sim.now;
  const hosts = [link.a, link.b].map((port, i) => {
    const host = new WatchedHost({
      link: port,
      address: addresses[i]!,
      mtu: MTU,
      seed: 2 * seed + i,
    });
    port.receive = host.receive;
    sim.addHost(host);
    return host;
  });
  const [a, b] = hosts as [WatchedHost, WatchedHost];
  let server: Transfer | undefined;
  b.tcp.listen({ port: 80 }, { accepted: (endpoint) => server = new Transfer(endpoint) });
  const client = new Transfer(a.tcp.connect({ remote: addresses[1], remotePort: 80 }, now));

  const done = sim.runUntil(() => client.closed > 0 && (server?.closed ?? 0) > 0, 3_600_000);
  assert.ok(done, `not done within an hour: ${client.received} and ${server?.received} bytes`);
  for (const side of [client, server!]) {
    assert.deepEqual(
      { received: side.received, error: side.error, closed: side.closed },
      { received: SIZE, error: undefined, closed: 1 },
    );
  }

  // Only TIME-WAIT is left, and that expires.
  const left = () =>
    hosts.map(({ tcp }) => [tcp.connectionCount, tcp.halfOpenCount, tcp.timeWaitCount, tcp.timers]);
  for (const { tcp } of hosts) {
    assert.equal(tcp.connectionCount, 0);
    assert.equal(tcp.timers, tcp.timeWaitCount);
  }
  sim.runFor(130_000);
  assert.deepEqual(left(), [[0, 0, 0, 0], [0, 0, 0, 0]]);
  assert.deepEqual([link.a.slotsOut, link.b.slotsOut], [0, 0]);
}

function v6(host: number): IpAddress {
  const bytes = new Uint8Array(16);
  bytes.set([0xfd, 0x09]);
  bytes[15] = host;
  return new IpAddress(bytes);
}

const LOSSES: [loss: number, seeds: number][] = [[0.01, 80], [0.05, 60], [0.1, 60]];

for (const [loss, seeds] of LOSSES) {
  Deno.test(`10 MB both ways at once arrive whole over ${100 * loss} % loss`, () => {
    forSeeds(longSeeds(seeds), (seed) =>
      transfer(seed, {
        delay: 10,
        jitter: seed % 3 === 0 ? 2 : 0,
        loss,
        reorder: 0.02,
        reorderBy: 5,
        duplicate: 0.01,
      }));
  });
}
