/** Captures of packet links, and of what passes from one NIC to another. */

import assert from "node:assert/strict";
import { Captures } from "../../../proxy/capture/captures.ts";
import { CaptureError } from "../../../proxy/capture/error.ts";
import { FlowOwner } from "../../../proxy/flow/flow.ts";
import { parseInterfaceAddress } from "../../../proxy/address.ts";
import { ip } from "../../netstack/packets.ts";
import { echo, EchoClient } from "../../sim/applications.ts";
import { cable } from "../../sim/cable.ts";
import { PORT, site, transfer } from "../../sim/engine_site.ts";
import { ECHO, SimTargets } from "../../sim/targets.ts";
import { drain, readPcapng } from "./pcapng_reader.ts";

/** A gateway with a peer, and a phone at the end of a cable; both reach each other and a target. */
function crossing() {
  const { world, sim, gateway, clients: [laptop] } = site(1, [{ forwarding: true }], {
    forwarding: true,
  });
  const proxy = gateway.forward(new SimTargets(sim), ["10.70.0.0/16"]);
  const [hub] = laptop!.engine.device.peers();
  hub!.addAllowedIp({ address: ip("10.8.0.0").bytes, length: 16 });
  laptop!.route("10.8.0.0/16", laptop!.engine.nic1);
  laptop!.engine.stack.tcp.listen({ port: PORT }, { accepted: echo });
  const warm = transfer(laptop!, 10, 99); // the gateway knows then where the laptop is
  assert.ok(sim.runUntil(() => warm.hasEnded, 10_000));
  const phone = world.engine({ address: "203.0.113.2", tunnel: [] });
  const plug = () => {
    const [near, far] = cable(sim, "phone", {});
    const own = phone.engine.addLink(far, {
      name: "up",
      mtu: 1500,
      addresses: [parseInterfaceAddress("10.8.0.2/32")!],
      forwarding: false,
    });
    phone.route("0.0.0.0/0", own.nic);
    const link = gateway.engine.addLink(near, {
      name: "phone",
      mtu: 1500,
      forwarding: true,
      from: new FlowOwner(() => "phone"),
    });
    gateway.route("10.8.0.2/32", link.nic);
    return { near, own, link };
  };
  const { engine } = gateway;
  const captures = new Captures({ engine, proxy, port: 51820, listenAddress: undefined }, () => 0);
  const run = (client: EchoClient) => {
    assert.ok(sim.runUntil(() => client.hasEnded, 60_000));
    assert.ok(client.isRight);
    sim.runFor(5_000);
  };
  return { world, sim, engine, phone, captures, plug, run };
}

Deno.test("what passes from a link to the tunnel is at both, once each", async () => {
  const { captures, plug, phone, run } = crossing();
  const { near } = plug();
  const before = { ...near.counters };
  const capture = captures.open({ at: ["link:phone", "nic1"], filter: "tcp and host 10.8.0.2" });
  run(transfer(phone, 50_000, 1, ip("10.9.0.2")));
  capture.stop();
  const { packets, interfaces } = readPcapng(await drain(capture));
  assert.deepEqual(interfaces.map(({ name }) => name), ["link:phone", "nic1"]);
  const count = (where: string, which: string) =>
    packets.filter(({ at, direction }) => at === where && direction === which).length;
  assert.equal(count("link:phone", "in"), near.counters.packetsIn - before.packetsIn);
  assert.equal(count("link:phone", "out"), near.counters.packetsOut - before.packetsOut);
  assert.equal(count("nic1", "out"), count("link:phone", "in"));
  assert.equal(count("nic1", "in"), count("link:phone", "out"));
  // Nothing decides about them, so there is no flow.
  const comments = (where: string, which: string) => [
    ...new Set(
      packets.filter(({ at, direction }) => at === where && direction === which)
        .map(({ comment }) => comment),
    ),
  ];
  assert.deepEqual(comments("link:phone", "in"), ["link phone"]);
  assert.deepEqual(comments("link:phone", "out"), [undefined]);
  for (const which of ["in", "out"]) {
    const [comment, ...others] = comments("nic1", which);
    assert.match(comment!, /^peer [A-Za-z0-9+/]{43}=$/);
    assert.deepEqual(others, []);
  }
});

Deno.test("a link's flows to targets are at NIC 2, with the link's name", async () => {
  const { captures, plug, phone, run } = crossing();
  plug();
  const capture = captures.open({ at: ["nic2"] });
  run(new EchoClient(phone.connectTcp(ip("10.70.0.1"), ECHO), 20_000, 1));
  capture.stop();
  const { packets } = readPcapng(await drain(capture));
  assert.deepEqual(new Set(packets.map(({ direction }) => direction)), new Set(["in", "out"]));
  for (const { comment } of packets) assert.match(comment!, /^link phone, flow [0-9a-f]{8}$/);
});

Deno.test("a link that goes and comes back is captured on", async () => {
  const { captures, plug, phone, run, sim } = crossing();
  const first = plug();
  const capture = captures.open({ at: ["link:phone"] });
  run(transfer(phone, 1_000, 1, ip("10.9.0.2")));
  const { seen } = capture.counts;
  assert.ok(seen > 0);
  await first.link.remove();
  await first.own.remove();
  sim.runFor(1_000);
  const { near } = plug();
  assert.ok((await capture.read()) !== undefined, "the header");
  await capture.read(); // a reader looks for links when it asks for more
  run(transfer(phone, 1_000, 2, ip("10.9.0.2")));
  assert.equal(capture.counts.seen - seen, near.counters.packetsIn + near.counters.packetsOut);
  capture.close();
});

Deno.test("without WireGuard every link is captured, and there is no tunnel to look at", () => {
  const { engine, plug, captures } = crossing();
  plug();
  const proxy = { nic: undefined, observe: () => () => {}, admission: assert.fail } as never;
  const routers = new Captures({
    engine,
    proxy,
    port: 0,
    listenAddress: undefined,
    hasWireguard: false,
  });
  assert.deepEqual(routers.check({}).at, ["link:phone"]);
  assert.throws(() => routers.check({ at: ["nic1"] }), (error) => {
    assert.ok(error instanceof CaptureError);
    assert.equal(error.message, "nic1: there is no WireGuard, expected link:phone");
    return true;
  });
  assert.throws(() => routers.check({ at: ["nic2"] }), {
    message: "nic2: nothing is proxied, or on NIC 1 itself, expected link:phone",
  });
  assert.throws(
    () => captures.check({ at: ["link:car"] }),
    /"link:car": there is none, expected nic1, nic2, outer, link:phone/,
  );
});
