import assert from "node:assert/strict";
import { type Nic, Stack, type TcpEndpoint, type TcpRejection } from "../../netstack/mod.ts";
import { addNic, ip, prefix } from "../netstack/packets.ts";
import { type Impairments, Sim } from "./network.ts";
import { forSeeds } from "./seeds.ts";

/** A client, a tunnel, and a gateway with a proxy NIC that echoes everything. */
function tunnel(seed: number, impairments: Impairments, rejection?: TcpRejection) {
  const sim = new Sim(seed);
  const make = () => new Stack({ random: (out) => sim.random.fill(out) });
  const client = make();
  const gateway = make();
  const link = sim.link({ mtu: 1420, impairments });
  const nic = addNic(client, link.a, { name: "wg0" }, ["10.9.0.2/24", "fd09::2/64"]);
  for (const each of ["10.50.0.0/16", "fd50::/64"]) client.routes.insert(prefix(each), nic);
  addNic(gateway, link.b, { name: "wg0" }, ["10.9.0.1/24", "fd09::1/64"]);
  const proxy = gateway.addNic({
    name: "proxy",
    mtu: 65_535,
    link: sim.link().a,
    promiscuous: true,
    spoofing: true,
  });
  for (const each of ["10.50.0.0/16", "fd50::/64"]) gateway.routes.insert(prefix(each), proxy);
  echoUdp(gateway, proxy);
  echoTcp(gateway, proxy, rejection);
  sim.addHost(client);
  sim.addHost(gateway);
  return { sim, client, gateway };
}

function echoUdp(stack: Stack, nic: Nic): void {
  stack.setUdpForwarder(nic, {
    datagram: (flow, destination, port, buffer, offset, length, now) => {
      flow.send(destination, port, buffer, offset, length, now);
      return "accept";
    },
  });
}

function echoTcp(stack: Stack, nic: Nic, rejection?: TcpRejection): void {
  const buffer = new Uint8Array(4096);
  stack.tcp.setForwarder(nic, {
    request: (request) => {
      if (rejection !== undefined) return request.reject(rejection);
      const endpoint = request.accept();
      if (endpoint === undefined) return;
      const move = () => {
        while (endpoint.readable > 0 && endpoint.writable > 0) {
          const count = endpoint.read(buffer, 0, Math.min(buffer.length, endpoint.writable));
          endpoint.write(buffer, 0, count);
        }
        if (endpoint.endOfFile) endpoint.close();
      };
      endpoint.handler = { readable: move, writable: move };
    },
  });
}

/** Sends `data`, closes, and collects the echo. */
function exchange(endpoint: TcpEndpoint, data: Uint8Array) {
  const result = { received: [] as number[], ended: false, error: "" };
  const buffer = new Uint8Array(4096);
  let sent = 0;
  const send = () => {
    sent += endpoint.write(data, sent, data.length - sent);
    if (sent === data.length) endpoint.shutdownWrite();
  };
  endpoint.handler = {
    connected: send,
    writable: send,
    readable: () => {
      while (endpoint.readable > 0) {
        const count = endpoint.read(buffer, 0, buffer.length);
        for (let i = 0; i < count; i++) result.received.push(buffer[i]!);
      }
      if (endpoint.endOfFile) endpoint.close();
    },
    closed: (error) => {
      result.ended = true;
      result.error = error?.kind ?? "";
    },
  };
  return result;
}

const ROUGH: Impairments = {
  delay: 15,
  jitter: 5,
  loss: 0.03,
  reorder: 0.05,
  reorderBy: 4,
  duplicate: 0.03,
};

Deno.test("TCP and UDP through a gateway over a rough tunnel: every byte right, nothing left behind", () => {
  forSeeds(10, (seed) => {
    const { sim, client, gateway } = tunnel(seed, ROUGH);
    const exchanges = ["10.50.1.2", "fd50::2", "10.50.1.3"].map((remote, i) => {
      const data = sim.random.bytes(20_000 * (i + 1));
      const endpoint = client.tcp.connect({ remote: ip(remote), remotePort: 80 }, sim.now);
      return { data, result: exchange(endpoint, data) };
    });
    const datagrams = new Set<string>();
    const udp = client.bindUdp({});
    udp.handler = {
      datagram: (_endpoint, source, port, buffer, offset, length) => {
        assert.equal(`${source} ${port}`, "10.50.9.9 5000");
        assert.ok(datagrams.has(String(buffer.slice(offset, offset + length))));
      },
    };
    for (let i = 0; i < 20; i++) {
      sim.after(10 * i, (now) => {
        const data = sim.random.bytes(sim.random.between(1, 8000));
        datagrams.add(String(data));
        udp.send(ip("10.50.9.9"), 5000, data, 0, data.length, now);
      });
    }
    assert.ok(sim.runUntil(() => exchanges.every(({ result }) => result.ended), 60_000));
    for (const { data, result } of exchanges) {
      assert.equal(result.error, "");
      assert.deepEqual(Uint8Array.from(result.received), data);
    }
    assert.equal(gateway.resources().udpFlows, 1);
    assert.ok(gateway.counters.udp.received > 0);
    sim.runFor(200_000);
    udp.close();
    assert.deepEqual(left(client.resources()), []);
    assert.deepEqual(left({ ...gateway.resources(), udpFlows: 0 }), []);
    assert.equal(client.pollTimeout(), Infinity);
    assert.equal(gateway.pollTimeout(), Infinity);
  });
});

Deno.test("a closed, an unreachable and a prohibited target answer within one round trip, each in its way", () => {
  for (const remote of ["10.50.1.2", "fd50::2"]) {
    for (
      const [rejection, error] of [
        ["reset", "refused"],
        ["host", "unreachable"],
        ["net", "unreachable"],
        ["prohibited", "unreachable"],
      ] as const
    ) {
      const { sim, client } = tunnel(1, { delay: 25 }, rejection);
      const endpoint = client.tcp.connect({ remote: ip(remote), remotePort: 80 }, sim.now);
      const result = exchange(endpoint, new Uint8Array(1));
      const start = sim.now;
      assert.ok(sim.runUntil(() => result.ended, 5000), `${rejection} is not answered`);
      assert.equal(sim.now - start, 50);
      assert.ok(
        result.error === error || result.error === "refused",
        `${rejection}: ${result.error}`,
      );
    }
  }
});

Deno.test("what no route leads to is unreachable at once", () => {
  const { sim, client } = tunnel(1, { delay: 25 });
  assert.throws(() => client.tcp.connect({ remote: ip("192.0.2.1"), remotePort: 80 }, sim.now));
  // The client believes that the way leads through the gateway; the gateway knows better.
  client.routes.insert(prefix("192.0.2.0/24"), [...client.nics][0]!);
  const endpoint = client.tcp.connect({ remote: ip("192.0.2.1"), remotePort: 80 }, sim.now);
  const result = exchange(endpoint, new Uint8Array(1));
  sim.runUntil(() => result.ended, 300_000);
  assert.equal(result.error, "unreachable");
});

/** What is not 0. */
function left(resources: object): [string, unknown][] {
  return Object.entries(resources).filter(([, count]) => count !== 0);
}
