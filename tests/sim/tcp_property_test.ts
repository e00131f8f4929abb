import assert from "node:assert/strict";
import { IpAddress } from "../../netstack/address.ts";
import type { TcpEndpoint, TcpError } from "../../netstack/tcp/endpoint.ts";
import type { TcpSettings } from "../../netstack/tcp/settings.ts";
import { TcpHost } from "../netstack/tcp/host.ts";
import { Random, Sim } from "./network.ts";
import { forSeeds } from "./seeds.ts";

const CLIENT = IpAddress.v4(10, 0, 0, 1);
const SERVER = IpAddress.v4(10, 0, 0, 2);

/** How an application ends its side. */
type Ending = "shutdown" | "close" | "abort";

/** An application with a mood: writes and reads in random portions at random times. */
class Actor {
  sent = 0;
  received = 0;
  closed = 0;
  error: TcpError | undefined;
  ended = false;
  readonly goal: number;
  readonly ending: Ending;
  readonly #random: Random;
  readonly #sim: Sim;
  readonly #slow: boolean;
  readonly #buffer = new Uint8Array(20_000);

  constructor(sim: Sim, random: Random, readonly endpoint: TcpEndpoint, readonly salt: number) {
    this.#sim = sim;
    this.#random = random;
    this.goal = random.chance(0.2) ? 0 : random.below(random.chance(0.3) ? 300_000 : 5_000);
    this.#slow = random.chance(0.3);
    this.ending = random.chance(0.15) ? "abort" : random.chance(0.2) ? "close" : "shutdown";
    if (random.chance(0.5)) endpoint.setNoDelay(true);
    endpoint.handler = {
      connected: () => this.act(),
      readable: () => this.#slow ? this.#later(() => this.read(), 300) : this.read(),
      writable: () => this.act(),
      closed: (error) => {
        this.closed++;
        this.error = error;
      },
    };
  }

  act(): void {
    while (this.sent < this.goal) {
      const length = Math.min(1 + this.#random.below(15_000), this.goal - this.sent);
      for (let i = 0; i < length; i++) this.#buffer[i] = pattern(this.sent + i, this.salt);
      const taken = this.endpoint.write(this.#buffer, 0, length);
      this.sent += taken;
      if (taken < length) return;
      if (this.#random.chance(0.2)) return this.#later(() => this.act(), 500);
    }
    if (!this.ended) {
      this.ended = true;
      this.#later(() => {
        if (this.ending === "shutdown") this.endpoint.shutdownWrite();
        else if (this.ending === "close") this.endpoint.close();
        else this.endpoint.abort();
      }, 200);
    }
  }

  read(peerSalt = 1 - this.salt): void {
    for (;;) {
      const length = this.endpoint.read(this.#buffer, 0, 1 + this.#random.below(20_000));
      for (let i = 0; i < length; i++) {
        if (this.#buffer[i] !== pattern(this.received + i, peerSalt)) {
          assert.fail(`wrong byte at ${this.received + i}`);
        }
      }
      this.received += length;
      if (length === 0) return;
      if (this.#slow && this.#random.chance(0.5)) return this.#later(() => this.read(), 100);
    }
  }

  #later(run: () => void, most: number): void {
    this.#sim.after(this.#random.below(most), run);
  }
}

function pattern(position: number, salt: number): number {
  return (Math.imul(position + 1, 0x9e3779b1) >>> 24) ^ (salt * 0x5a);
}

function run(seed: number): void {
  const sim = new Sim(seed);
  const random = new Random(seed ^ 0x5eed);
  const mtu = 576 + random.below(1_000);
  const link = sim.link({
    mtu,
    slots: random.chance(0.2) ? 1 + random.below(4) : 256,
    impairments: {
      delay: random.below(100),
      jitter: random.chance(0.3) ? random.below(30) : 0,
      loss: random.chance(0.7) ? random.next() * 0.15 : 0,
      reorder: random.chance(0.5) ? random.next() * 0.1 : 0,
      reorderBy: 1 + random.below(10),
      duplicate: random.chance(0.3) ? random.next() * 0.1 : 0,
      corrupt: random.chance(0.3) ? random.next() * 0.05 : 0,
      rate: random.chance(0.3) ? 1e6 + random.next() * 1e8 : Infinity,
      queue: 20 + random.below(200),
    },
  });
  const settings = (): Partial<TcpSettings> => ({
    sack: random.chance(0.7),
    timestamps: random.chance(0.7),
    windowScale: random.chance(0.7),
    congestion: random.chance(0.8) ? "newreno" : "none",
    sendBuffer: 1_000 + random.below(200_000),
    receiveBuffer: 1_000 + random.below(200_000),
    initialBuffer: 500 + random.below(65_000),
    keepAlive: { idle: 60_000, interval: 30_000, count: 9 },
  });
  const a = new TcpHost({ link: link.a, address: CLIENT, mtu, seed, settings: settings() });
  const b = new TcpHost({ link: link.b, address: SERVER, mtu, seed: ~seed, settings: settings() });
  link.a.receive = a.receive;
  link.b.receive = b.receive;
  sim.addHost(a);
  sim.addHost(b);

  const servers: Actor[] = [];
  b.tcp.listen({ port: 80 }, {
    accepted: (endpoint) => servers.push(new Actor(sim, random, endpoint, 1)),
  });
  const client = new Actor(sim, random, a.tcp.connect({ remote: SERVER, remotePort: 80 }, 0), 0);

  // Everything ends by itself: transfers, or the timeouts of those whose peer went away.
  const over = () => a.tcp.connectionCount === 0 && b.tcp.connectionCount === 0;
  assert.ok(sim.runUntil(() => client.closed > 0 && over(), 6 * 3_600_000), "never over");
  sim.runFor(200_000);
  for (const { tcp } of [a, b]) {
    assert.deepEqual(
      [tcp.connectionCount, tcp.halfOpenCount, tcp.timeWaitCount, tcp.timers],
      [0, 0, 0, 0],
    );
  }
  assert.deepEqual([link.a.slotsOut, link.b.slotsOut], [0, 0]);

  assert.ok(servers.length <= 1);
  const server = servers[0];
  for (const actor of [client, server]) if (actor !== undefined) assert.equal(actor.closed, 1);
  // No error on either side means that all of it arrived.
  if (server !== undefined && client.error === undefined && server.error === undefined) {
    if (client.ending === "shutdown") assert.equal(client.received, server.goal);
    if (server.ending === "shutdown") assert.equal(server.received, client.goal);
  }
  if (client.ending === "shutdown" && server?.ending === "shutdown") {
    assert.deepEqual([client.received, server.received], [server.goal, client.goal]);
    // The last ACKs can be lost for longer than TIME-WAIT lasts; then one side cannot be sure.
    const errors = [client.error, server.error].filter((error) => error !== undefined);
    assert.ok(errors.length === 0 || errors.length === 1 && errors[0]!.kind === "reset");
  }
}

Deno.test("random applications over a random network: all bytes right or a clean error, nothing left", () => {
  forSeeds(400, run);
});
