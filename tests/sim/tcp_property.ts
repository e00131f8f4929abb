/**
 * The property every TCP connection must have, whatever the network and the applications do: all
 * bytes right or a clean error on both sides, and nothing left behind. One seed is one network, one
 * set of settings, and a few connections.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { IpAddress, Nic, TcpEndpoint, TcpSettings } from "../../netstack/mod.ts";
import { FuzzHost } from "../fuzz/host.ts";
import { Census } from "../fuzz/watch.ts";
import { icmpMessage, ip, packet, prefix } from "../netstack/packets.ts";
import { type Impairments, Random, Sim, type SimLink, type SimPort } from "./network.ts";
import { Actor } from "./tcp_actor.ts";

/** Every timer of a connection whose peer has gone has run out by then, ms. */
const LONG = 6 * 3_600_000;
/** Two maximum segment lifetimes, and every reassembly, ms. */
const AFTERMATH = 200_000;

/** Windows of data in one transfer at most: with a window of two bytes there would be no end. */
const ROUNDS = 50;

/** What became of the connections of one seed, for a summary. */
export interface PropertyOutcome {
  /** How each end closed: "ok", or the kind of its error. */
  readonly ends: readonly string[];
  /** Delivered to applications. */
  readonly bytes: number;
}

/** @throws If the property does not hold. */
export function checkTcpProperty(seed: number): PropertyOutcome {
  return new World(seed).run();
}

class World {
  readonly #sim: Sim;
  readonly #random: Random;
  readonly #link: SimLink;
  readonly #mtu: number;
  readonly #version: 4 | 6;
  readonly #addresses: [IpAddress, IpAddress];
  readonly #hosts: [FuzzHost, FuzzHost];
  readonly #census = new Census();
  readonly #clients: Actor[] = [];
  readonly #servers: Actor[] = [];
  /** Neither long silence, nor packets that vanish for their size: nobody may give up. */
  readonly #isKind: boolean;
  #smallestBuffer = Infinity;
  /** What the path takes, bytes. */
  #pathMtu = Infinity;

  constructor(seed: number) {
    this.#sim = new Sim(seed);
    const random = new Random(seed ^ 0x5eed);
    this.#random = random;
    this.#version = random.chance(0.7) ? 4 : 6;
    const least = this.#version === 4 ? 576 : 1_280;
    this.#mtu = random.chance(0.05) ? 9_000 : least + random.below(1_577 - least);
    this.#link = this.#sim.link({
      mtu: this.#mtu,
      slots: random.chance(0.2) ? 1 + random.below(4) : 256,
      impairments: this.#impairments(),
    });
    this.#isKind = random.chance(0.7);
    const isIpv4 = this.#version === 4;
    this.#addresses = isIpv4 ? [ip("10.0.0.1"), ip("10.0.0.2")] : [ip("fd00::1"), ip("fd00::2")];
    this.#hosts = [
      this.#host(this.#addresses[0], this.#link.a),
      this.#host(this.#addresses[1], this.#link.b),
    ];
    this.#link.tap = (_now, from, buffer, offset, length) => {
      this.#hosts[from === this.#link.a ? 0 : 1].checkSent(buffer, offset, length);
    };
    if (random.chance(0.4)) this.#changeMtu();
    if (!this.#isKind) this.#breakDown();
  }

  run(): PropertyOutcome {
    const sim = this.#sim;
    const random = this.#random;
    const listener = this.#hosts[1].stack.tcp.listen({ port: 80 }, {
      accepted: (endpoint) => this.#servers.push(this.#actor(1, endpoint)),
    });
    for (let i = random.chance(0.7) ? 1 : random.between(2, 4); i > 0; i--) {
      const connect = () => {
        const [host] = this.#hosts;
        const options = { remote: this.#addresses[1], remotePort: 80 };
        this.#clients.push(this.#actor(0, host.stack.tcp.connect(options, sim.now)));
      };
      if (this.#clients.length === 0) connect();
      else sim.after(random.below(2_000), connect);
    }
    sim.runFor(2_000);
    if (random.chance(0.1)) this.#connectAtOnce();
    // Everything ends by itself: transfers, or the timeouts of those whose peer went away.
    assert.ok(sim.runUntil(() => this.#census.open === 0, LONG), "never over");
    listener.close();
    sim.runFor(AFTERMATH);
    for (const host of this.#hosts) host.checkEmpty();
    assert.deepEqual([this.#link.a.slotsOut, this.#link.b.slotsOut], [0, 0]);
    const actors = [...this.#clients, ...this.#servers];
    for (const actor of actors) assert.equal(actor.endpoint.info().bufferBytes, 0, "memory");
    for (const client of this.#clients) {
      const server = this.#servers.find((other) => other.isPeerOf(client));
      if (server !== undefined) this.#compare(client, server);
    }
    return {
      ends: actors.map(({ error }) => error?.kind ?? "ok"),
      bytes: actors.reduce((sum, actor) => sum + actor.received, 0),
    };
  }

  /** What two ends say of one connection. */
  #compare(client: Actor, server: Actor): void {
    for (const [one, other] of [[client, server], [server, client]] as const) {
      // The end of the file comes after its last byte.
      if (one.sawEnd) assert.equal(one.received, other.sent, "bytes before the end");
      if (one.error !== undefined) continue;
      // Without an error everything was acknowledged, and an application that reads has read it.
      if (one.ending === "shutdown") assert.ok(one.sawEnd, "neither an error nor an end");
      if (other.ending === "shutdown" && !other.isSlow && one.wasConnected) {
        assert.equal(other.received, one.sent, "bytes acknowledged");
      }
    }
    if (!this.#isKind || client.ending !== "shutdown" || server.ending !== "shutdown") return;
    assert.deepEqual([client.received, server.received], [server.goal, client.goal]);
    // The last ACKs can be lost for longer than TIME-WAIT lasts; then one side cannot be sure.
    const errors = [client.error, server.error].filter((error) => error !== undefined);
    assert.ok(errors.length === 0 || errors.length === 1 && errors[0]!.kind === "reset");
  }

  #actor(side: 0 | 1, endpoint: TcpEndpoint): Actor {
    const host = this.#hosts[side];
    const most = ROUNDS * this.#smallestBuffer;
    return new Actor(this.#sim, this.#random, host, this.#census, endpoint, side, most);
  }

  /** Both sides open the same connection (RFC 9293 §3.5, figure 8), as nearly at once as may be. */
  #connectAtOnce(): void {
    const [a, b] = this.#addresses;
    const [hostA, hostB] = this.#hosts;
    const now = this.#sim.now;
    const forth = { remote: b, remotePort: 4_002, localPort: 4_001 };
    const back = { remote: a, remotePort: 4_001, localPort: 4_002 };
    this.#clients.push(this.#actor(0, hostA.stack.tcp.connect(forth, now)));
    this.#servers.push(this.#actor(1, hostB.stack.tcp.connect(back, now)));
  }

  #impairments(): Impairments {
    const random = this.#random;
    return {
      delay: random.below(100),
      jitter: random.chance(0.3) ? random.below(30) : 0,
      loss: random.chance(0.7) ? random.next() * (random.chance(0.1) ? 0.3 : 0.15) : 0,
      reorder: random.chance(0.5) ? random.next() * 0.1 : 0,
      reorderBy: 1 + random.below(10),
      duplicate: random.chance(0.3) ? random.next() * 0.1 : 0,
      corrupt: random.chance(0.3) ? random.next() * 0.05 : 0,
      rate: random.chance(0.3) ? 1e6 + random.next() * 1e8 : Infinity,
      queue: 20 + random.below(200),
    };
  }

  #settings(): Partial<TcpSettings> {
    const random = this.#random;
    const size = (most: number) => 1 + random.below(random.chance(0.1) ? 1_000 : most);
    const sendBuffer = size(200_000);
    const receiveBuffer = size(200_000);
    this.#smallestBuffer = Math.min(this.#smallestBuffer, sendBuffer, receiveBuffer);
    return {
      sack: random.chance(0.7),
      timestamps: random.chance(0.7),
      windowScale: random.chance(0.7),
      congestion: CONGESTION[random.below(CONGESTION.length)]!,
      sendBuffer,
      receiveBuffer,
      initialBuffer: size(65_000),
      keepAlive: { idle: 60_000, interval: 30_000, count: 9 },
    };
  }

  #host(address: IpAddress, port: SimPort): FuzzHost {
    const host = new FuzzHost(this.#sim, { tcp: this.#settings() });
    const network = { address, prefix: prefix(this.#version === 4 ? "10.0.0.0/24" : "fd00::/64") };
    const nic = host.addNic(port, [network]);
    port.receive = (buffer, offset, length, now) => {
      if (length <= this.#pathMtu) host.receive(nic, buffer, offset, length, now);
      else this.#tellTooBig(port, buffer.slice(offset, offset + length));
    };
    return host;
  }

  /** The path takes less from time to time (RFC 1191, RFC 8201). */
  #changeMtu(): void {
    const random = this.#random;
    const least = this.#version === 4 ? 600 : 1_280;
    if (this.#mtu <= least) return;
    this.#pathMtu = random.chance(0.3) ? Infinity : random.between(least, this.#mtu);
    for (let at = 0, i = 0; i < 6; i++) {
      at += random.below(2_000);
      this.#sim.after(at, () => {
        this.#pathMtu = random.chance(0.3) ? Infinity : random.between(least, this.#mtu);
      });
    }
  }

  /** A packet that arrived nowhere: its sender is told, unless a firewall keeps that from it. */
  #tellTooBig(port: SimPort, original: Uint8Array): void {
    if (!this.#isKind && this.#random.chance(0.5)) return;
    const isIpv4 = this.#version === 4;
    const to = this.#addresses[port === this.#link.b ? 0 : 1];
    const host = this.#hosts[port === this.#link.b ? 0 : 1];
    const source = isIpv4 ? "10.0.0.254" : "fd00::254";
    const destination = String(to);
    const mtu = this.#pathMtu;
    const rest = new Uint8Array(4 + Math.min(original.length, isIpv4 ? 28 : 1_000));
    rest.set([mtu >> 8, mtu], 2);
    rest.set(original.subarray(0, rest.length - 4), 4);
    const [type, code] = isIpv4 ? [3, 4] : [2, 0];
    const payload = icmpMessage(source, destination, type!, code!, rest);
    const bytes = packet({ source, destination, protocol: isIpv4 ? 1 : 58, payload });
    const [nic] = host.stack.nics as Iterable<Nic>;
    this.#sim.after(this.#random.below(50), (now) => {
      host.receive(nic!, bytes, 0, bytes.length, now);
    });
  }

  /** The link is dead for a while, or for good. */
  #breakDown(): void {
    const random = this.#random;
    for (const port of [this.#link.a, this.#link.b]) {
      if (random.chance(0.4)) continue;
      const { impairments } = port;
      const isForGood = random.chance(0.3);
      const at = random.below(3_000);
      this.#sim.after(at, () => port.impairments = { ...impairments, loss: 1 });
      if (isForGood) continue;
      this.#sim.after(at + random.below(60_000), () => port.impairments = impairments);
    }
  }
}

const CONGESTION: readonly TcpSettings["congestion"][] = ["cubic", "newreno", "none"];
