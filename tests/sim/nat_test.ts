/** Stacks on both sides of a NAT, over a link beyond that loses, doubles and reorders. */

import assert from "node:assert/strict";
import { Nat, Stack } from "../../netstack/mod.ts";
import { addNic, ip, prefix } from "../netstack/packets.ts";
import { echo, EchoClient } from "./applications.ts";
import { type Impairments, Sim } from "./network.ts";
import { forSeeds } from "./seeds.ts";

const PORT = 7;
const BAD: Impairments = {
  delay: 20,
  jitter: 5,
  loss: 0.02,
  reorder: 0.03,
  reorderBy: 5,
  duplicate: 0.02,
};
const EXTERNAL = { 4: "203.0.113.8", 6: "2001:db8:0:1::8" };
const SERVER = { 4: "203.0.113.20", 6: "2001:db8:0:1::20" };

/** Two hosts, a router that joins their links, the gateway with the NAT, and a server beyond. */
function world(seed: number, impairments: Impairments, mtu = 1400) {
  const sim = new Sim(seed);
  const random = (out: Uint8Array) => sim.random.fill(out);
  const [a, b, router, gateway, server] = Array.from({ length: 5 }, () => {
    const stack = new Stack({ random });
    sim.addHost(stack);
    return stack;
  }) as [Stack, Stack, Stack, Stack, Stack];
  const everywhere = (stack: Stack, nic: ReturnType<typeof addNic>) => {
    for (const text of ["0.0.0.0/0", "::/0"]) stack.routes.insert(prefix(text), nic);
  };
  [a, b].forEach((host, i) => {
    const link = sim.link({ mtu: 1500, impairments: { delay: 1 } });
    const net = [`192.168.${i + 1}`, `fd0${i + 1}:`] as const;
    everywhere(host, addNic(host, link.a, { name: "up" }, [`${net[0]}.2/24`, `${net[1]}:2/64`]));
    addNic(router, link.b, { name: `host ${i}`, forwarding: true }, [
      `${net[0]}.1/24`,
      `${net[1]}:1/64`,
    ]);
  });
  const inner = sim.link({ mtu: 1500, impairments: { delay: 1 } });
  const up = addNic(router, inner.a, { name: "up", forwarding: true }, [
    "192.168.0.2/24",
    "fd00::2/64",
  ]);
  everywhere(router, up);
  const inside = addNic(gateway, inner.b, { name: "inside", forwarding: true }, [
    "192.168.0.1/24",
    "fd00::1/64",
  ]);
  for (const text of ["192.168.0.0/16", "fd00::/12"]) gateway.routes.insert(prefix(text), inside);
  const outer = sim.link({ mtu, impairments });
  addNic(gateway, outer.a, { name: "outside", forwarding: true }, [
    "203.0.113.1/24",
    "2001:db8:0:1::1/64",
  ]);
  everywhere(
    server,
    addNic(server, outer.b, { name: "wire" }, [`${SERVER[4]}/24`, `${SERVER[6]}/64`]),
  );
  const nat = new Nat({
    addresses: [ip(EXTERNAL[4]), ip(EXTERNAL[6])],
    random,
    filtering: "endpoint",
  });
  gateway.setNat(inside, nat);
  return { sim, a, b, gateway, server, nat, outer };
}

for (const version of [4, 6] as const) {
  Deno.test(`streams of two hosts from the same ports pass a NAT and a bad link in both directions, IPv${version}`, () => {
    forSeeds(5, (seed) => {
      const { sim, a, b, gateway, server, nat } = world(seed, BAD);
      const seen = new Set<string>();
      server.tcp.listen({ port: PORT }, {
        accepted: (endpoint) => {
          seen.add(`${endpoint.remote}:${endpoint.remotePort}`);
          echo(endpoint);
        },
      });
      const clients = [a, b].flatMap((host, i) =>
        [5000, 5001].map((localPort) => {
          const remote = ip(SERVER[version]);
          const endpoint = host.tcp.connect({ remote, remotePort: PORT, localPort }, sim.now);
          return new EchoClient(endpoint, 300_000, 10 * i + localPort);
        })
      );
      assert.ok(sim.runUntil(() => clients.every(({ hasEnded }) => hasEnded), 600_000));
      assert.deepEqual(clients.map(({ error }) => error), [
        undefined,
        undefined,
        undefined,
        undefined,
      ]);
      assert.equal(seen.size, 4);
      assert.ok([...seen].every((end) => end.startsWith(`${EXTERNAL[version]}:`)));
      assert.equal(nat.mappings, 4);
      sim.runFor(300_000);
      const { natMappings, natSessions, natFragments, timers } = gateway.resources();
      assert.deepEqual([natMappings, natSessions, natFragments, timers], [0, 0, 0, 0]);
    });
  });

  Deno.test(`datagrams in fragments that the link reorders come whole through the NAT, IPv${version}`, () => {
    forSeeds(5, (seed) => {
      const impairments = { delay: 20, jitter: 5, reorder: 0.3, reorderBy: 9, duplicate: 0.2 };
      const { sim, a, b, gateway, server } = world(seed, impairments, version === 4 ? 1400 : 1500);
      const there = server.bindUdp({ port: PORT });
      there.handler = {
        datagram: (_endpoint, from, port, buffer, offset, length, now) => {
          there.send(from, port, buffer, offset, length, now);
        },
      };
      const sent: Uint8Array[] = [];
      const came: Uint8Array[][] = [[], []];
      [a, b].forEach((host, i) => {
        const socket = host.bindUdp({ port: 5000 });
        socket.handler = {
          datagram: (_endpoint, _from, _port, buffer, offset, length) => {
            came[i]!.push(buffer.slice(offset, offset + length));
          },
        };
        for (let n = 0; n < 5; n++) {
          const data = sim.random.bytes(sim.random.between(3_000, 30_000));
          data[0] = i;
          sent.push(data);
          sim.after(
            200 * n,
            (now) => socket.send(ip(SERVER[version]), PORT, data, 0, data.length, now),
          );
        }
      });
      sim.runFor(60_000);
      for (const [i, each] of came.entries()) {
        const own = sent.filter((data) => data[0] === i);
        assert.equal(new Set(each.map((data) => data.length)).size, own.length);
        for (const data of each) {
          assert.ok(
            own.some((one) =>
              one.length === data.length && one.every((byte, at) => byte === data[at])
            ),
          );
        }
      }
      assert.equal(gateway.resources().natFragments, 0);
    });
  });

  Deno.test(`two hosts behind the NAT talk by its address, in fragments too, IPv${version}`, () => {
    const { sim, a, b, nat } = world(1, {});
    const known = b.bindUdp({ port: PORT });
    known.handler = {
      datagram: (_endpoint, from, port, buffer, offset, length, now) => {
        known.send(from, port, buffer, offset, length, now);
      },
    };
    // B's ports are known beyond once it has sent from them.
    known.send(ip(SERVER[version]), 9, new Uint8Array(1), 0, 1, sim.now);
    const opener = b.tcp.connect(
      { remote: ip(SERVER[version]), remotePort: 9, localPort: PORT },
      sim.now,
    );
    opener.handler = {};
    sim.runFor(1_000);
    b.tcp.listen({ port: PORT }, { accepted: echo });
    const endpoint = a.tcp.connect({ remote: ip(EXTERNAL[version]), remotePort: PORT }, sim.now);
    const client = new EchoClient(endpoint, 100_000, 3);
    assert.ok(sim.runUntil(() => client.hasEnded, 60_000));
    assert.equal(client.error, undefined);
    const socket = a.bindUdp({});
    const data = sim.random.bytes(20_000);
    let back: Uint8Array | undefined;
    socket.handler = {
      datagram: (_endpoint, _from, _port, buffer, offset, length) => {
        back = buffer.slice(offset, offset + length);
      },
    };
    socket.send(ip(EXTERNAL[version]), PORT, data, 0, data.length, sim.now);
    sim.runFor(1_000);
    assert.deepEqual(back, data);
    assert.ok(nat.counters.hairpinned > 100);
  });
}
