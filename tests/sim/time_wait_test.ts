import assert from "node:assert/strict";
import { IpAddress } from "../../netstack/address.ts";
import type { TcpEndpoint } from "../../netstack/tcp/endpoint.ts";
import { TcpHost } from "../netstack/tcp/host.ts";
import { Sim } from "./network.ts";

const CLIENT = IpAddress.v4(10, 0, 0, 1);
const SERVER = IpAddress.v4(10, 0, 0, 2);
const FIRST_PORT = 1_000;
const PER_SECOND = 5_000;
/** Ephemeral ports of the client. */
const PORTS = 16_384;
/** A quarter of the default, so that a quarter of the connections fill it. */
const MOST = 1 << 15;

/** Who sends the first FIN, and keeps the record. */
type Closer = "client" | "server";

/**
 * A client that opens connections which are closed at once, and an old connection that carries text
 * all the time.
 */
class Churn {
  readonly sim = new Sim(1);
  readonly client: TcpHost;
  readonly server: TcpHost;
  readonly old: TcpEndpoint;
  opened = 0;
  closed = 0;
  failed = 0;
  received = 0;
  readonly #closer: Closer;

  constructor(closer: Closer) {
    const link = this.sim.link({ impairments: { delay: 5 }, slots: 4096 });
    const [client, server] = [CLIENT, SERVER].map((address, i) => {
      const port = i === 0 ? link.a : link.b;
      const settings = { maxTimeWait: MOST };
      const host = new TcpHost({ link: port, address, seed: 1 + i, settings });
      port.receive = host.receive;
      this.sim.addHost(host);
      return host;
    }) as [TcpHost, TcpHost];
    this.client = client;
    this.server = server;
    const bytes = new Uint8Array(65_536);
    server.tcp.listen({ port: 80 }, {
      accepted: (endpoint) => {
        endpoint.handler = {
          readable: () => {
            for (let n = endpoint.read(bytes); n > 0; n = endpoint.read(bytes)) this.received += n;
          },
        };
      },
    });
    for (let port = FIRST_PORT; port < FIRST_PORT + 21; port++) {
      server.tcp.listen({ port, backlog: 1_000 }, {
        accepted: (endpoint) => {
          if (closer === "server") endpoint.close();
          else endpoint.handler = { readable: () => endpoint.endOfFile && endpoint.close() };
        },
      });
    }
    this.#closer = closer;
    this.old = client.tcp.connect({ remote: SERVER, remotePort: 80 }, this.sim.now);
    this.sim.runFor(20);
  }

  /** Opens 5,000 connections a second to `ports` ports in turn. */
  run(seconds: number, ports: number): void {
    const text = new Uint8Array(100);
    for (let ms = 0; ms < 1000 * seconds; ms++) {
      for (let i = 0; i < PER_SECOND / 1000; i++) {
        this.#open(FIRST_PORT + this.opened++ % ports);
      }
      this.old.write(text);
      this.sim.runFor(1);
    }
  }

  #open(remotePort: number): void {
    const endpoint = this.client.tcp.connect({ remote: SERVER, remotePort }, this.sim.now);
    endpoint.handler = {
      connected: () => this.#closer === "client" && endpoint.close(),
      readable: () => endpoint.endOfFile && endpoint.close(),
      closed: (error) => error === undefined ? this.closed++ : this.failed++,
    };
  }
}

Deno.test("5,000 connections a second for 16 s: the records stay within their bound, ports come back while theirs wait, and an old connection notices nothing", () => {
  const churn = new Churn("server");
  const { sim, server, client, old } = churn;
  const { tcp } = server;
  // The client counts through its ports: with so many servers nothing comes twice.
  churn.run(8, 21);
  sim.runFor(100);
  assert.deepEqual([churn.opened, churn.closed, churn.failed], [40_000, 40_000, 0]);
  assert.equal(tcp.timeWaitCount, MOST);
  assert.equal(tcp.counters.timeWaitOverflow, 40_000 - MOST);
  assert.equal(tcp.counters.timeWaitReused, 0);

  // One server, 16,384 ports: each is wanted again within 3.3 s.
  churn.run(8, 1);
  sim.runFor(100);
  assert.deepEqual([churn.opened, churn.closed, churn.failed], [80_000, 80_000, 0]);
  assert.ok(tcp.timeWaitCount <= MOST);
  assert.ok(tcp.counters.timeWaitReused >= 40_000 - PORTS);
  // Only the side that closes first has to wait (RFC 9293 §3.6).
  assert.equal(client.tcp.timeWaitCount, 0);

  assert.equal(churn.received, 16_000 * 100);
  assert.deepEqual([old.info().retransmits, tcp.connectionCount], [0, 1]);
  sim.runFor(60_000);
  assert.deepEqual([tcp.timeWaitCount, tcp.timers], [0, 0]);
});

Deno.test("5,000 connections a second, closed by the client first: it never runs out of ports towards one server", () => {
  const churn = new Churn("client");
  const { sim, server, client } = churn;
  churn.run(10, 1);
  sim.runFor(100);
  assert.deepEqual([churn.opened, churn.closed, churn.failed], [50_000, 50_000, 0]);
  assert.equal(client.tcp.timeWaitCount, PORTS);
  assert.equal(client.tcp.counters.timeWaitReused, 50_000 - PORTS);
  assert.deepEqual([server.tcp.timeWaitCount, server.tcp.connectionCount], [0, 1]);
  assert.deepEqual([client.tcp.ensembleCount, server.tcp.ensembleCount], [1, 1]);
  sim.runFor(60_000);
  assert.equal(client.tcp.timeWaitCount, 0);
});
