import assert from "node:assert/strict";
import {
  MemoryBudget,
  type Nic,
  type TcpForwarderRequest,
  type TcpListener,
  type UdpEndpoint,
} from "../../../netstack/mod.ts";
import { ip, prefix } from "../../netstack/packets.ts";
import { type Impairments, Sim, type SimLink, type SimPort } from "../../sim/network.ts";
import { Conversations, type Speaker } from "../conversation.ts";
import { FuzzHost } from "../host.ts";
import { pick } from "../mutate.ts";
import type { Target } from "../target.ts";

/** Operations of one case. */
const INPUTS = 120;
/** The longest timers (RFC 1122 §4.2.3.5: 15 backed-off retransmissions) have run out by then, ms. */
const LONG = 3 * 3_600_000;
/** Datagrams up to here fit every MTU, bytes of data. */
const UNFRAGMENTED = 1_200;
const PORTS = [80, 81, 82];
/** Whatever a caller is told when something cannot be had. */
const REFUSALS =
  /^(?:no route to |(?:TCP|UDP) port \d+ is in use|no TCP port is free|\d+ TCP connections)/;

export const operations: Target = {
  name: "operations",
  about:
    "applications of two stacks do things in random order over a network that loses and damages",
  run(seed) {
    return new Lab(seed).run();
  },
};

class Lab {
  readonly #sim: Sim;
  readonly #link: SimLink;
  readonly #hosts: FuzzHost[];
  readonly #conversations: Conversations;
  readonly #proxy: Nic;
  readonly #listeners: [FuzzHost, TcpListener][] = [];
  readonly #requests: TcpForwarderRequest[] = [];
  readonly #udp: { host: FuzzHost; endpoint: UdpEndpoint }[] = [];
  readonly #buffer: number;
  readonly #operations: [weight: number, run: () => void][];

  constructor(seed: number) {
    const sim = new Sim(seed);
    const random = sim.random;
    this.#sim = sim;
    this.#conversations = new Conversations(sim);
    this.#buffer = 1 << random.between(9, 17);
    const slots = random.chance(0.2) ? random.between(1, 4) : 256;
    this.#link = sim.link({ mtu: random.between(1280, 1500), slots });
    this.#hosts = [
      this.#host(this.#link.a, "10.0.0.1/24", "fd00::1/64"),
      this.#host(this.#link.b, "10.0.0.2/24", "fd00::2/64"),
    ];
    const [a, b] = this.#hosts as [FuzzHost, FuzzHost];
    this.#link.tap = (_now, from, buffer, offset, length) => {
      (from === this.#link.a ? a : b).checkSent(buffer, offset, length);
    };
    this.#proxy = b.addNic(sim.link({ mtu: 65_535, slots: 1 }).a, [], {
      name: "proxy",
      promiscuous: true,
      spoofing: true,
    });
    for (const text of ["10.1.0.0/16", "fd01::/16"]) {
      b.stack.routes.insert(prefix(text), this.#proxy);
      a.stack.routes.insert(prefix(text), [...a.stack.nics][0]!);
    }
    this.#setForwarder(true);
    for (const host of this.#hosts) for (const port of PORTS.slice(1)) this.#listen(host, port);
    this.#operations = [
      [12, () => this.#connect()],
      [2, () => this.#connectBoth()],
      [20, () => this.#speaker()?.write(random.below(random.chance(0.2) ? 60_000 : 3_000))],
      [10, () => this.#speaker()?.read(random.chance(0.5))],
      [4, () => this.#pause()],
      [6, () => this.#speaker()?.shutdown()],
      [4, () => this.#speaker()?.close()],
      [3, () => this.#speaker()?.abort()],
      [2, () => this.#speaker()?.endpoint.setNoDelay(random.chance(0.5))],
      [2, () => this.#keepAlive()],
      [3, () => this.#listen(this.#anyHost(), PORTS[random.below(3)]!)],
      [2, () => pick(random, this.#listeners)?.[1].close()],
      [8, () => this.#answer()],
      [1, () => this.#setForwarder(random.chance(0.7))],
      [3, () => this.#bind()],
      [8, () => this.#send()],
      [2, () => pick(random, this.#udp)?.endpoint.close()],
      [5, () => this.#changeWeather()],
    ];
  }

  run(): number {
    const sim = this.#sim;
    const random = sim.random;
    const weights = this.#operations.reduce((sum, [weight]) => sum + weight, 0);
    for (let i = 0; i < INPUTS; i++) {
      let choice = random.below(weights);
      this.#operations.find(([weight]) => (choice -= weight) < 0)![1]();
      if (random.chance(0.3)) continue;
      const pause = random.below(100);
      sim.runFor(random.below(pause < 70 ? 50 : pause < 97 ? 3_000 : 200_000));
      for (const [host, listener] of this.#listeners) host.checkBacklog(listener);
      for (const host of this.#hosts) host.checkConnections(16 * Math.max(4_096, this.#buffer));
    }
    this.#end();
    return INPUTS;
  }

  /** The network is well again, everybody finishes: nothing may remain. */
  #end(): void {
    const sim = this.#sim;
    this.#setWeather({ delay: 5 });
    for (const [, listener] of this.#listeners) listener.close();
    for (const { endpoint } of this.#udp) endpoint.close();
    for (const request of this.#requests) request.reject("reset");
    this.#setForwarder(false);
    for (const speaker of this.#conversations.speakers) speaker.finish();
    sim.runFor(LONG);
    this.#conversations.check();
    for (const host of this.#hosts) host.checkEmpty();
    assert.deepEqual([this.#link.a.slotsOut, this.#link.b.slotsOut], [0, 0]);
  }

  #host(port: SimPort, ...networks: string[]): FuzzHost {
    const random = this.#sim.random;
    const hasFewPorts = random.chance(0.3);
    // From what holds one connection to what holds most of them.
    const total = random.chance(0.4) ? random.between(1, 8 * this.#buffer) : Infinity;
    const host = new FuzzHost(this.#sim, {
      memory: new MemoryBudget({ total }),
      tcp: {
        sack: random.chance(0.8),
        timestamps: random.chance(0.8),
        windowScale: random.chance(0.8),
        synCookies: random.chance(0.7),
        congestion: (["cubic", "newreno", "none"] as const)[random.below(3)]!,
        sendBuffer: random.between(1, this.#buffer),
        receiveBuffer: random.between(1, this.#buffer),
        initialBuffer: random.between(1, this.#buffer),
        timeWaitMs: random.chance(0.5) ? 60_000 : random.below(5_000),
        finWait2Ms: random.chance(0.5) ? 60_000 : random.below(5_000),
        keepAlive: { idle: 60_000, interval: 30_000, count: 3 },
        maxConnections: random.chance(0.2) ? random.below(6) : 1_000,
        maxHalfOpen: random.chance(0.2) ? random.below(3) : 100,
        firstEphemeralPort: 50_000,
        lastEphemeralPort: hasFewPorts ? 50_003 : 60_000,
      },
    });
    host.addNic(
      port,
      networks.map((text) => ({ address: ip(text.split("/")[0]!), prefix: prefix(text) })),
    );
    return host;
  }

  #anyHost(): FuzzHost {
    return this.#hosts[this.#sim.random.below(2)]!;
  }

  #speaker(): Speaker | undefined {
    // Mostly a recent one; sometimes one that is long closed.
    const { speakers } = this.#conversations;
    const back = Math.min(speakers.length, this.#sim.random.chance(0.8) ? 6 : 100);
    return speakers[speakers.length - 1 - this.#sim.random.below(back)];
  }

  #connect(): void {
    const random = this.#sim.random;
    const isFirst = random.chance(0.7);
    const host = this.#hosts[isFirst ? 0 : 1]!;
    const choice = random.below(20);
    const address = choice === 0
      ? random.chance(0.5) ? "192.0.2.1" : "10.0.0.99"
      : choice === 1
      ? isFirst ? "10.0.0.1" : "fd00::2"
      : choice < 8
      ? random.chance(0.5) ? "10.1.0.5" : "fd01::5"
      : `${random.chance(0.5) ? "10.0.0." : "fd00::"}${isFirst ? 2 : 1}`;
    const remotePort = random.chance(0.9) ? PORTS[random.below(3)]! : 9;
    const localPort = random.chance(0.1) ? 60_001 : undefined;
    attempt(() => {
      const options = { remote: ip(address), remotePort, localPort };
      const endpoint = host.stack.tcp.connect(options, this.#sim.now);
      this.#conversations.add(host, endpoint, true);
    });
  }

  /** Simultaneous open (RFC 9293 §3.5, figure 8). */
  #connectBoth(): void {
    const [a, b] = this.#hosts as [FuzzHost, FuzzHost];
    attempt(() => {
      const options = { remote: ip("10.0.0.2"), remotePort: 60_003, localPort: 60_002 };
      this.#conversations.add(a, a.stack.tcp.connect(options, this.#sim.now), true);
    });
    if (this.#sim.random.chance(0.5)) this.#sim.runFor(this.#sim.random.below(20));
    attempt(() => {
      const options = { remote: ip("10.0.0.1"), remotePort: 60_002, localPort: 60_003 };
      this.#conversations.add(b, b.stack.tcp.connect(options, this.#sim.now), false);
    });
  }

  #listen(host: FuzzHost, port: number): void {
    const backlog = this.#sim.random.between(1, 8);
    attempt(() => {
      const listener = host.stack.tcp.listen({ port, backlog }, {
        accepted: (endpoint) => this.#conversations.add(host, endpoint, false),
      });
      this.#listeners.push([host, listener]);
    });
  }

  #setForwarder(on: boolean): void {
    const { stack } = this.#hosts[1]!;
    stack.tcp.setForwarder(
      this.#proxy,
      on ? { request: (request) => this.#request(request) } : undefined,
    );
    stack.setUdpForwarder(
      this.#proxy,
      on
        ? {
          datagram: (flow, destination, port, buffer, offset, length, now) => {
            checkDatagram(buffer, offset, length);
            this.#hosts[1]!.udpTaken++;
            flow.send(destination, port, buffer, offset, length, now);
            flow.close();
            return "accept";
          },
        }
        : undefined,
    );
  }

  #request(request: TcpForwarderRequest): void {
    const random = this.#sim.random;
    this.#requests.push(request);
    request.onAborted = () => {
      assert.equal(request.accept(), undefined, "an aborted request cannot be accepted");
    };
    if (random.chance(0.5)) this.#answer(request);
    // As every forwarder does: a dial takes so long at most.
    else this.#sim.after(random.below(5_000), () => request.reject("reset"));
  }

  #answer(request = pick(this.#sim.random, this.#requests)): void {
    if (request === undefined) return;
    const random = this.#sim.random;
    if (random.chance(0.7)) {
      const endpoint = request.accept();
      if (endpoint !== undefined) this.#conversations.add(this.#hosts[1]!, endpoint, false);
    } else {
      request.reject((["reset", "host", "net", "prohibited", "drop"] as const)[random.below(5)]!);
    }
    // The second answer does nothing.
    assert.equal(request.accept(), undefined);
    request.reject("reset");
  }

  #pause(): void {
    const speaker = this.#speaker();
    if (this.#sim.random.chance(0.5)) speaker?.pause();
    else speaker?.resume();
  }

  #keepAlive(): void {
    const random = this.#sim.random;
    const keepAlive = { idle: random.below(20_000), interval: random.between(1, 10_000), count: 2 };
    this.#speaker()?.endpoint.setKeepAlive(keepAlive);
  }

  #bind(): void {
    const host = this.#anyHost();
    attempt(() => {
      const port = this.#sim.random.chance(0.5) ? 7 : undefined;
      const endpoint = host.stack.bindUdp(port === undefined ? {} : { port });
      endpoint.handler = {
        datagram: (_endpoint, source, sourcePort, buffer, offset, length, now) => {
          host.udpTaken++;
          checkDatagram(buffer, offset, length);
          if (sourcePort !== 7) endpoint.send(source, sourcePort, buffer, offset, length, now);
        },
        error: () => {},
      };
      this.#udp.push({ host, endpoint });
    });
  }

  #send(): void {
    const random = this.#sim.random;
    const from = pick(random, this.#udp);
    if (from === undefined) return;
    const to = [
      "10.1.0.7",
      "fd01::7",
      "10.0.0.1",
      "10.0.0.2",
      "fd00::1",
      "192.0.2.1",
    ][random.below(6)]!;
    const length = random.chance(0.3) ? random.below(20_000) : random.below(1_500);
    const data = new Uint8Array(length);
    for (let i = 0; i < length; i++) data[i] = datagramByte(i, length);
    try {
      from.endpoint.send(ip(to), 7, data, 0, length, this.#sim.now);
    } catch (error) {
      assert.ok(error instanceof TypeError && /is closed$/.test(error.message), String(error));
    }
  }

  #changeWeather(): void {
    const random = this.#sim.random;
    if (random.chance(0.1)) {
      this.#setWeather({ loss: 1 });
      return;
    }
    this.#setWeather({
      delay: random.below(random.chance(0.2) ? 1_000 : 50),
      jitter: random.chance(0.3) ? random.below(30) : 0,
      loss: random.chance(0.5) ? random.next() * 0.3 : 0,
      reorder: random.chance(0.3) ? random.next() * 0.3 : 0,
      reorderBy: random.between(1, 10),
      duplicate: random.chance(0.3) ? random.next() * 0.3 : 0,
      corrupt: random.chance(0.3) ? random.next() * 0.2 : 0,
      rate: random.chance(0.2) ? 1e5 + random.next() * 1e7 : Infinity,
      queue: random.between(1, 100),
    });
  }

  #setWeather(impairments: Impairments): void {
    this.#link.a.impairments = impairments;
    this.#link.b.impairments = impairments;
  }
}

/** What cannot be had is refused in words that are meant for the caller; nothing else is thrown. */
function attempt(run: () => void): void {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof Error && REFUSALS.test(error.message), error as Error);
  }
}

function datagramByte(position: number, length: number): number {
  return Math.imul(position + length, 0x9e3779b1) >>> 24;
}

function checkDatagram(buffer: Uint8Array, offset: number, length: number): void {
  // One flipped bit never escapes the checksum; one in each of many fragments may.
  if (length > UNFRAGMENTED) return;
  for (let i = 0; i < length; i++) {
    assert.equal(buffer[offset + i], datagramByte(i, length), "a byte of a datagram");
  }
}
