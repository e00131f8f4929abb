import assert from "node:assert/strict";
import type {
  EchoFlow,
  IpAddress,
  Nic,
  TcpForwarderRequest,
  TcpListener,
  UdpFlow,
} from "../../../netstack/mod.ts";
import { icmp, ip, prefix } from "../../netstack/packets.ts";
import { Sim, type SimLink, type SimPort } from "../../sim/network.ts";
import { FuzzHost, type Network } from "../host.ts";
import { mutatePacket, pick } from "../mutate.ts";
import type { Target } from "../target.ts";
import { chat, client, datagrams, Echo, echoServer, type Running } from "../traffic.ts";
import { Census } from "../watch.ts";
import { layoutOf } from "../wire.ts";

/** Mutants of one case. */
const INPUTS = 300;
/** Real packets remembered for mutation. */
const CORPUS = 200;
const BUFFER = 16_384;
const REASSEMBLY = 65_536;
const REPORTS = [
  "port-unreachable",
  "host-unreachable",
  "protocol-unreachable",
  "prohibited",
  "too-big",
  "time-exceeded",
] as const;
/** RFC 9293 §3.8.4 and every other timer has run out by then, ms. */
const LONG = 3 * 3_600_000;

export const packets: Target = {
  name: "packets",
  about: "real packets, mutated, into two live stacks: a host and a gateway with forwarders",
  run(seed) {
    return new World(seed).run();
  },
};

function network(text: string): Network {
  return { address: ip(text.split("/")[0]!), prefix: prefix(text) };
}

/**
 * A host and a gateway behind it, with connections, datagrams and forwarding in progress. Packets of
 * 10.77.0.0/24 and fd77::/64 are left alone and never seen by the fuzzer.
 */
class World {
  readonly #sim: Sim;
  readonly #link: SimLink;
  readonly #host: FuzzHost;
  readonly #gateway: FuzzHost;
  readonly #census = new Census();
  readonly #running: Running = { on: true };
  readonly #corpus: Uint8Array[] = [];
  readonly #listeners: [FuzzHost, TcpListener][] = [];
  readonly #cleanUp: (() => void)[] = [];
  /** NICs of the gateway that may go at the end. */
  readonly #removable: Nic[] = [];
  readonly #echoes: Echo[];
  readonly #limits: { maxConnections: number; maxHalfOpen: number; maxUdpFlows: number };
  #tried = 0;

  constructor(seed: number) {
    const sim = new Sim(seed);
    this.#sim = sim;
    const random = sim.random;
    const isTight = random.chance(0.3);
    this.#limits = {
      maxConnections: isTight ? random.between(6, 12) : 64,
      maxHalfOpen: isTight ? random.between(2, 4) : 16,
      maxUdpFlows: isTight ? random.between(0, 3) : 16,
    };
    const slots = random.chance(0.2) ? random.between(1, 4) : 256;
    const link = sim.link({ mtu: 1400, slots, impairments: { delay: 2 } });
    this.#link = link;
    this.#host = new FuzzHost(sim, this.#options());
    this.#gateway = new FuzzHost(sim, this.#options());
    const networks = (last: number) =>
      [`10.0.0.${last}/24`, `fd00::${last}/64`, `10.77.0.${last}/24`, `fd77::${last}/64`]
        .map(network);
    const nicA = this.#host.addNic(link.a, networks(1), { name: "host" });
    for (const all of ["0.0.0.0/0", "::/0"]) this.#host.stack.routes.insert(prefix(all), nicA);
    const nicB = this.#gateway.addNic(link.b, networks(2), { name: "gateway", forwarding: true });
    this.#addProxy();
    this.#addExit();
    link.tap = (_now, from, buffer, offset, length) => {
      const sender = from === link.a ? this.#host : this.#gateway;
      sender.checkSent(buffer, offset, length);
    };
    link.a.receive = this.#intercept(link.a, this.#host, nicA);
    link.b.receive = this.#intercept(link.b, this.#gateway, nicB);
    this.#echoes = ["10.77.0.2", "fd77::2"].map((address) => {
      const endpoint = this.#host.stack.tcp.connect(
        { remote: ip(address), remotePort: 7777 },
        sim.now,
      );
      return new Echo(this.#host, this.#census, endpoint);
    });
    this.#startTraffic();
  }

  run(): number {
    const sim = this.#sim;
    assert.ok(sim.runUntil(() => this.#echoes.every((echo) => echo.isConnected), 1_000));
    // A byte there and back: the gateway's side is connected, too, however soon its listener closes.
    for (const echo of this.#echoes) echo.write(1);
    assert.ok(sim.runUntil(() => this.#echoes.every((echo) => echo.isEven), 1_000));
    const inject = () => {
      if (!this.#running.on) return;
      // Sometimes more at once than a rate limit or a queue takes.
      for (let burst = sim.random.chance(0.01) ? 100 : 1; burst > 0; burst--) {
        this.#injectInto(sim.random.chance(0.5) ? this.#link.a : this.#link.b);
      }
      if (sim.random.chance(0.1)) {
        for (const echo of this.#echoes) echo.write(sim.random.below(2_000));
      }
      sim.after(sim.random.chance(0.02) ? sim.random.below(10_000) : sim.random.below(8), inject);
    };
    inject();
    sim.runUntil(() => this.#tried >= INPUTS, 600_000);
    this.#stop();

    // The untouched connections are as good as before, and end as they should.
    for (const echo of this.#echoes) echo.write(1_000);
    const answered = () => this.#echoes.every((echo) => echo.isEven);
    assert.ok(sim.runUntil(answered, 30_000), "an untouched connection has stopped working");
    for (const echo of this.#echoes) echo.end();
    assert.ok(sim.runUntil(() => this.#echoes.every((echo) => echo.isClosed), 30_000));
    for (const echo of this.#echoes) assert.equal(echo.error, undefined);

    sim.runFor(LONG);
    assert.equal(this.#census.open, 0, "endpoints without their last callback");
    this.#host.checkEmpty();
    this.#gateway.checkEmpty();
    assert.deepEqual([this.#link.a.slotsOut, this.#link.b.slotsOut], [0, 0]);
    return this.#tried;
  }

  #options() {
    const random = this.#sim.random;
    return {
      tcp: {
        sack: random.chance(0.8),
        timestamps: random.chance(0.7),
        windowScale: random.chance(0.8),
        synCookies: random.chance(0.7),
        congestion: random.chance(0.5) ? "cubic" as const : "newreno" as const,
        sendBuffer: BUFFER,
        receiveBuffer: BUFFER,
        initialBuffer: BUFFER / 4,
        maxConnections: this.#limits.maxConnections,
        maxHalfOpen: this.#limits.maxHalfOpen,
        challengeAcksPerSecond: random.chance(0.3) ? random.below(5) : 1_000,
        timeWaitMs: random.chance(0.5) ? 60_000 : random.below(500),
        maxTimeWait: random.chance(0.2) ? random.below(4) : 1_000,
        maxOutOfOrderRanges: random.chance(0.2) ? random.between(1, 4) : 64,
        firstEphemeralPort: 50_000,
        lastEphemeralPort: random.chance(0.3) ? 50_009 : 60_000,
        keepAlive: { idle: 60_000, interval: 30_000, count: 3 },
      },
      reassembly: random.chance(0.3)
        ? { high: 4_096, low: 2_048, maxFragments: 4 }
        : { high: REASSEMBLY, low: REASSEMBLY / 2 },
      maxUdpFlows: this.#limits.maxUdpFlows,
    };
  }

  /** NIC 2: everything for 10.1.0.0/16 and fd01::/16 is answered here. */
  #addProxy(): void {
    const { stack } = this.#gateway;
    const sim = this.#sim;
    const link = sim.link({ mtu: 65_535, slots: 4 });
    link.tap = () => assert.fail("NIC 2 has no way out");
    const nic = this.#gateway.addNic(link.a, [], {
      name: "proxy",
      promiscuous: true,
      spoofing: true,
    });
    for (const text of ["10.1.0.0/16", "fd01::/16"]) stack.routes.insert(prefix(text), nic);
    this.#removable.push(nic);
    stack.tcp.setForwarder(nic, { request: (request) => this.#forward(request) });
    this.#addPings(nic);
    stack.setUdpForwarder(nic, {
      datagram: (flow, destination, port, buffer, offset, length, now) => {
        const verdict = (["accept", "refuse", "prohibited", "drop"] as const)[
          sim.random.chance(0.7) ? 0 : sim.random.below(4)
        ]!;
        if (verdict === "accept") {
          this.#gateway.udpTaken++;
          this.#keepSession(flow, destination, port);
          flow.send(destination, port, buffer, offset, Math.min(length, 3_000), now);
        }
        return verdict;
      },
    });
  }

  /** NIC 2 answers pings as well, some later and some never. */
  #addPings(nic: Nic): void {
    const sim = this.#sim;
    this.#gateway.stack.setIcmpForwarder(nic, {
      echo: (flow, destination, buffer, offset, length, now) => {
        const verdict = (["accept", "prohibited", "drop"] as const)[
          sim.random.chance(0.7) ? 0 : sim.random.below(3)
        ]!;
        if (verdict !== "accept") return verdict;
        assert.ok(length >= 8 && flow.hopLimit > 0);
        this.#keepPing(flow, destination, buffer[offset + 6]! << 8 | buffer[offset + 7]!);
        const path = flow.pathFrom(destination)!;
        path.hopLimit = sim.random.between(1, 255);
        flow.reply(path, buffer, offset, Math.min(length, 3_000), now);
        return verdict;
      },
    });
  }

  #keepPing(flow: EchoFlow, destination: IpAddress, sequence: number): void {
    const sim = this.#sim;
    if (sim.random.chance(0.2)) {
      sim.after(sim.random.below(50), () => {
        const kind = REPORTS[sim.random.below(REPORTS.length)]!;
        flow.report(kind, sim.random.below(65_536), destination, sequence, this.#router(), sim.now);
      });
    }
    if (flow.session !== undefined) return;
    flow.session = this;
    sim.after(sim.random.below(1_000), () => flow.close());
  }

  /** Who reports. */
  #router(): IpAddress | undefined {
    return [undefined, ip("192.0.2.7"), ip("2001:db8::7")][this.#sim.random.below(3)];
  }

  #forward(request: TcpForwarderRequest): void {
    const sim = this.#sim;
    const answer = () => {
      if (sim.random.chance(0.7)) {
        const endpoint = request.accept();
        if (endpoint !== undefined) chat(sim, this.#gateway, this.#census, endpoint);
        return;
      }
      const how = (["reset", "host", "net", "prohibited", "drop"] as const)[sim.random.below(5)]!;
      request.reject(how);
    };
    if (sim.random.chance(0.5)) answer();
    else sim.after(sim.random.below(1_000), answer);
  }

  /** As a forwarder does: a flow ends when it has been idle, or when its target is unreachable. */
  #keepSession(flow: UdpFlow, destination: IpAddress, port: number): void {
    if (flow.session !== undefined) return;
    flow.session = this;
    const sim = this.#sim;
    if (sim.random.chance(0.2)) {
      sim.after(sim.random.below(50), () => {
        const kind = REPORTS[sim.random.below(REPORTS.length)]!;
        flow.report(kind, sim.random.below(65_536), destination, port, this.#router(), sim.now);
      });
    }
    sim.after(sim.random.below(1_000), () => flow.close());
  }

  /** NIC 3: 10.2.0.0/16 and fd02::/16 lie behind another link, with a smaller MTU. */
  #addExit(): void {
    const link = this.#sim.link({ mtu: 1280 });
    const nic = this.#gateway.addNic(
      link.a,
      [network("10.2.0.1/16"), network("fd02::1/16")],
      { name: "exit", forwarding: true },
    );
    this.#removable.push(nic);
    link.tap = (_now, from, buffer, offset, length) => {
      if (from === link.a) this.#gateway.checkSent(buffer, offset, length);
    };
    // Whatever goes out comes back once, changed.
    link.b.receive = (buffer, offset, length, now) => {
      if (!this.#running.on) return;
      const bytes = buffer.slice(offset, offset + length);
      for (const mutant of mutatePacket(this.#sim.random, bytes, this.#corpus)) {
        this.#deliver(this.#gateway, nic, mutant, now);
      }
    };
  }

  #startTraffic(): void {
    const sim = this.#sim;
    const [host, gateway, census, running] = [
      this.#host,
      this.#gateway,
      this.#census,
      this.#running,
    ];
    const listen = (
      on: FuzzHost,
      port: number,
      accepted: typeof echoServer,
      backlog = sim.random.between(1, 8),
    ) => {
      const listener = on.stack.tcp.listen({ port, backlog }, {
        accepted: (endpoint) => accepted(on, census, endpoint),
      });
      this.#listeners.push([on, listener]);
    };
    listen(gateway, 7777, echoServer, 8);
    const chatter: typeof echoServer = (on, census, endpoint) => chat(sim, on, census, endpoint);
    listen(gateway, 80, chatter);
    listen(host, 81, chatter);
    for (const to of ["10.0.0.2", "fd00::2"]) client(sim, host, census, running, ip(to), 80);
    for (const to of ["10.1.0.5", "fd01::5"]) client(sim, host, census, running, ip(to), 443);
    client(sim, host, census, running, ip("10.0.0.2"), 4444);
    client(sim, gateway, census, running, ip("10.0.0.1"), 81);

    const bind = (on: FuzzHost, port: number, to: string[], toPort: number) => {
      const endpoint = on.stack.bindUdp({ port });
      datagrams(sim, on, running, endpoint, to.map(ip), toPort);
      this.#cleanUp.push(() => endpoint.close());
    };
    bind(gateway, 53, [], 0);
    bind(host, 5353, ["10.0.0.2", "fd00::2", "10.1.0.9", "fd01::9", "10.2.0.9", "fd02::9"], 53);
    const pinged = [["10.0.0.2", "10.1.0.5", "10.1.0.5"], ["fd00::2", "fd01::5", "fd01::5"]];
    pinged.forEach((targets, i) => {
      const [from, type] = i === 0 ? ["10.0.0.1", 8] as const : ["fd00::1", 128] as const;
      for (const to of targets) this.#remember(icmp(from, to, type, 0, sim.random.bytes(60)));
    });
  }

  #intercept(port: SimPort, host: FuzzHost, nic: Nic): SimPort["receive"] {
    return (buffer, offset, length, now) => {
      const random = this.#sim.random;
      const bytes = buffer.slice(offset, offset + length);
      if (isUntouchable(bytes) || !this.#running.on) {
        this.#deliver(host, nic, bytes, now);
        return;
      }
      this.#remember(bytes);
      if (random.chance(0.25)) this.#try(port, bytes, now);
      else this.#deliver(host, nic, bytes, now);
      if (random.chance(0.3)) this.#try(port, pick(random, this.#corpus)!, now);
    };
  }

  #injectInto(port: SimPort): void {
    const bytes = pick(this.#sim.random, this.#corpus);
    if (bytes !== undefined) this.#try(port, bytes, this.#sim.now);
  }

  #try(port: SimPort, bytes: Uint8Array, now: number): void {
    const host = port === this.#link.a ? this.#host : this.#gateway;
    const nic = [...host.stack.nics][0]!;
    for (const mutant of mutatePacket(this.#sim.random, bytes, this.#corpus)) {
      this.#tried++;
      this.#deliver(host, nic, mutant, now);
    }
    this.#checkLimits();
  }

  /** Hands a packet over in a buffer of its own, with other bytes around it. */
  #deliver(host: FuzzHost, nic: Nic, bytes: Uint8Array, now: number): void {
    const around = this.#sim.random.below(256);
    const buffer = new Uint8Array(bytes.length + 24).fill(around);
    buffer.set(bytes, 8);
    host.receive(nic, buffer, 8, bytes.length, now);
    for (let i = 0; i < 24; i++) {
      const at = i < 8 ? i : bytes.length + i;
      assert.equal(buffer[at], around, "a byte beside the packet was overwritten");
    }
  }

  #remember(bytes: Uint8Array): void {
    if (this.#corpus.length < CORPUS) this.#corpus.push(bytes);
    else this.#corpus[this.#sim.random.below(CORPUS)] = bytes;
  }

  #checkLimits(): void {
    for (const { stack } of [this.#host, this.#gateway]) {
      const resources = stack.resources();
      assert.ok(resources.tcpConnections <= this.#limits.maxConnections);
      assert.ok(resources.tcpHalfOpen <= this.#limits.maxHalfOpen);
      assert.ok(resources.udpFlows <= this.#limits.maxUdpFlows);
      assert.ok(resources.reassemblies <= REASSEMBLY / 512);
    }
    for (const [host, listener] of this.#listeners) host.checkBacklog(listener);
    if (this.#tried % 16 !== 0) return;
    for (const host of [this.#host, this.#gateway]) host.checkConnections(8 * BUFFER, BUFFER);
  }

  #stop(): void {
    this.#running.on = false;
    for (const [, listener] of this.#listeners) listener.close();
    for (const clean of this.#cleanUp) clean();
    for (const nic of this.#removable) {
      if (this.#sim.random.chance(0.3)) this.#gateway.stack.removeNic(nic);
    }
  }
}

function isUntouchable(bytes: Uint8Array): boolean {
  const layout = layoutOf(bytes);
  if (layout === undefined) return false;
  return layout.version === 4
    ? bytes[12] === 10 && bytes[13] === 77
    : bytes[8] === 0xfd && bytes[9] === 0x77;
}
