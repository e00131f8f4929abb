/** A transfer that goes both ways, of which one way loses everything for some seconds. */

import assert from "node:assert/strict";
import { IpAddress } from "../../netstack/address.ts";
import type { TcpEndpoint } from "../../netstack/tcp/endpoint.ts";
import { Segment, SYN } from "../../netstack/tcp/header.ts";
import { after, latest } from "../../netstack/tcp/sequence.ts";
import { TcpHost } from "../netstack/tcp/host.ts";
import { echo, EchoClient } from "./applications.ts";
import { Random, Sim, type SimLink, type SimPort } from "./network.ts";
import { forSeeds, longSeeds } from "./seeds.ts";

const MTU = 1_420;
/** RTT 20 ms, and a queue of twice the path's capacity. */
const PATH = { delay: 10, rate: 20e6, queue: 100 };
const HOSTS = [IpAddress.v4(10, 0, 0, 1), IpAddress.v4(10, 0, 0, 2)] as const;
/** More than a run can carry. */
const ENDLESS = 1e9;

/**
 * An {@link EchoClient} and its echo, with nothing but TCP between them. The way back is often the
 * slower one: then the echo's window closes, and opens only as fast as its own data gets through.
 */
class Echoed {
  readonly sim: Sim;
  readonly link: SimLink;
  readonly client: EchoClient;
  readonly ends: TcpEndpoint[] = [];

  constructor(seed: number) {
    const random = new Random(~seed);
    const rate = random.chance(0.7) ? PATH.rate / 2 : PATH.rate;
    const buffer = 1 << random.between(17, 22);
    const settings = { sendBuffer: buffer, receiveBuffer: buffer };
    this.sim = new Sim(seed);
    this.link = this.sim.link({ mtu: MTU, aToB: PATH, bToA: { ...PATH, rate } });
    const [a, b] = [this.link.a, this.link.b].map((port, i) => {
      const host = new TcpHost({
        link: port,
        address: HOSTS[i]!,
        mtu: MTU,
        seed: 2 * seed + i,
        settings,
      });
      port.receive = host.receive;
      this.sim.addHost(host);
      return host;
    });
    const accepted = (endpoint: TcpEndpoint) => {
      this.ends.push(endpoint);
      echo(endpoint);
    };
    b!.tcp.listen({ port: 80 }, { accepted });
    const endpoint = a!.tcp.connect({ remote: HOSTS[1], remotePort: 80 }, this.sim.now);
    this.ends.push(endpoint);
    this.client = new EchoClient(endpoint, ENDLESS, seed);
  }

  /** @returns bytes that came back per ms. */
  rate(ms: number): number {
    const { received } = this.client;
    this.sim.runFor(ms);
    return (this.client.received - received) / ms;
  }

  lose(port: SimPort, ms: number): void {
    const { impairments } = port;
    port.impairments = { ...impairments, loss: 1 };
    this.sim.runFor(ms);
    port.impairments = impairments;
  }

  /** How long until both ends have sent again what they wait for, ms. */
  get backoff(): number {
    return Math.max(...this.ends.map((end) => end.info().retransmitAt)) - this.sim.now;
  }
}

/** What one end may send, by what the other has announced. */
class Window {
  #scale = 0;
  #edge: number | undefined;

  /** Of the other end. */
  announced(segment: Segment): void {
    const isSyn = (segment.flags & SYN) !== 0;
    if (isSyn) this.#scale = segment.windowScale;
    const size = segment.window << (isSyn ? 0 : this.#scale);
    const edge = (segment.acknowledgment + size) | 0;
    this.#edge = this.#edge === undefined ? edge : latest(this.#edge, edge);
  }

  /** Probes of a closed window aside. */
  isBehind(segment: Segment): boolean {
    const end = (segment.sequence + segment.length) | 0;
    return segment.length > 1 && this.#edge !== undefined && after(end, this.#edge);
  }
}

for (const way of ["there", "back"] as const) {
  Deno.test(`a transfer that loses one way for a while (${way}) is as fast as before in two seconds`, () => {
    forSeeds(longSeeds(25), (seed) => {
      const random = new Random(seed);
      const run = new Echoed(seed);
      run.sim.runFor(3_000 + random.below(1_000));
      const before = run.rate(2_000);
      const outage = random.between(500, 10_000);
      run.lose(way === "there" ? run.link.a : run.link.b, outage);
      // RFC 6298 §5.5: the waits are as long as the outage was, whoever is asked.
      const { backoff } = run;
      assert.ok(backoff < outage + 500, `${backoff} ms to wait after ${outage} ms`);
      run.sim.runFor(backoff + 2_000);
      const then = run.rate(2_000);
      assert.ok(then > 0.8 * before, `${then} B/ms after ${outage} ms, before that ${before}`);
      assert.equal(run.client.error, undefined);
    });
  });
}

Deno.test("however one way fails, nobody sends behind the window that the other has announced", () => {
  forSeeds(longSeeds(25), (seed) => {
    const random = new Random(seed);
    const run = new Echoed(seed);
    const windows = [new Window(), new Window()] as const;
    const segment = new Segment();
    run.link.tap = (now, from, buffer, offset, length) => {
      assert.ok(segment.parse(buffer, offset + 20, length - 20));
      const end = from === run.link.a ? 0 : 1;
      assert.ok(!windows[end].isBehind(segment), `end ${end} at ${now} ms`);
      windows[1 - end as 0 | 1].announced(segment);
    };
    for (let i = 0; i < 4; i++) {
      run.sim.runFor(random.below(3_000));
      run.lose(random.chance(0.5) ? run.link.a : run.link.b, random.below(4_000));
    }
    run.sim.runFor(5_000);
    assert.equal(run.client.error, undefined);
  });
});
