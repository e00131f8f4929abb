/** What one peer does to another that shares the engine with it. */

import assert from "node:assert/strict";
import type { UdpFlow } from "../../netstack/mod.ts";
import { ip } from "../netstack/packets.ts";
import { Pinger } from "./applications.ts";
import { SITE, site, transfer } from "./engine_site.ts";

/** The gateway's way out: a socket that is full most of the time. */
const RATE = 20e6;
const SLOW = { up: { rate: RATE }, sendBuffer: 30_000 };

function slowSite(clients: number) {
  return site(1, Array(clients).fill({ impairments: { delay: 10 } }), SLOW);
}

Deno.test("a peer that floods an echo with more than the way out takes does not stop another's connection", () => {
  const { world, sim, gateway, clients: [flooder, other] } = slowSite(2);
  const flood = new Pinger(flooder!.engine, SITE, 5000);
  let isOver = false;
  const send = () => {
    if (isOver) return;
    for (let i = 0; i < 5; i++) flood.ask(1300); // 52 Mbit/s
    sim.after(1, send);
  };
  send();
  sim.runFor(1_000);
  const going = transfer(other!, 500_000, 1);
  assert.ok(sim.runUntil(() => going.hasEnded, 10_000), `${going.received} bytes in 10 s`);
  assert.equal(going.error, undefined);
  assert.ok(gateway.engine.stack.counters.udp.noBuffer > 1_000, "it was a flood");
  assert.ok(flood.answered > 1_000, "which has its share as well");
  isOver = true;
  flood.close();
  sim.runFor(200_000);
  world.assertClean({ udpFlows: true });
});

Deno.test("what a target sends to one peer without end and another's connection have slots in turns", () => {
  const { world, sim, gateway, clients } = slowSite(2);
  const { engine, bind } = gateway;
  const [downloader, other] = clients;
  // A UDP target that sends as much as the tunnel has room for.
  let flow: UdpFlow | undefined;
  engine.stack.setUdpForwarder(gateway.proxy("10.60.0.0/16"), {
    datagram: (asking) => {
      asking.session = asking;
      flow = asking;
      return "accept";
    },
  });
  const target = ip("10.60.0.1");
  const payload = new Uint8Array(1_200);
  let sent = 0;
  engine.addTurns({
    get hasReady() {
      return flow !== undefined && engine.hasRoom;
    },
    drain: (now) => {
      for (let i = 0; i < 128 && flow !== undefined && engine.hasRoom; i++) {
        if (flow.send(target, 7, payload, 0, payload.length, now)) sent++;
      }
    },
    flush() {},
  });
  for (const { engine } of clients) {
    const [hub] = engine.device.peers();
    hub!.addAllowedIp({ address: target.bytes, length: 16 });
  }
  downloader!.route("10.60.0.0/16", downloader!.engine.nic1);
  new Pinger(downloader!.engine, target, 7).ask(10);
  sim.runFor(1_000);
  assert.ok(sent * 1_200 * 8 > 0.8 * RATE, `alone it has all: ${sent} datagrams`);
  const before = { sent, bind: bind.counters.sent };
  const going = transfer(other!, 3_000_000, 1);
  sim.runFor(4_000);
  const [ofTarget, ofAll] = [sent - before.sent, bind.counters.sent - before.bind];
  assert.ok(ofTarget > 0.2 * ofAll, `${ofTarget} of ${ofAll} datagrams are the target's`);
  assert.ok(going.received > 500_000, `${going.received} bytes of the connection`);
  flow!.close();
  flow = undefined;
  assert.ok(sim.runUntil(() => going.hasEnded, 20_000));
  assert.equal(going.error, undefined);
  sim.runFor(200_000);
  world.assertClean({ udpEndpoints: true });
});

Deno.test("what one peer sends another through the gateway does not stop a third one's connection", () => {
  const { world, sim, gateway, clients } = site(
    1,
    Array(3).fill({ impairments: { delay: 10 } }),
    { ...SLOW, forwarding: true },
  );
  const [sender, receiver, other] = clients;
  const [hub] = sender!.engine.device.peers();
  hub!.addAllowedIp({ address: ip("10.9.0.3").bytes, length: 32 });
  sender!.route("10.9.0.3/32", sender!.engine.nic1);
  transfer(receiver!, 10, 1); // so that the gateway knows where it is
  sim.runFor(1_000);
  const flood = new Pinger(sender!.engine, ip("10.9.0.3"), 9);
  let isOver = false;
  const send = () => {
    if (isOver) return;
    for (let i = 0; i < 5; i++) flood.ask(1300); // 52 Mbit/s
    sim.after(1, send);
  };
  send();
  sim.runFor(1_000);
  const before = gateway.engine.stack.counters.ip.forwarded;
  const going = transfer(other!, 500_000, 2);
  assert.ok(sim.runUntil(() => going.hasEnded, 10_000), `${going.received} bytes in 10 s`);
  assert.equal(going.error, undefined);
  assert.ok(gateway.engine.link.noSlot > 1_000, "it was a flood");
  assert.ok(gateway.engine.stack.counters.ip.forwarded - before > 1_000, "which has its share");
  isOver = true;
  flood.close();
  sim.runFor(200_000);
  world.assertClean();
});

Deno.test("a peer with sixty connections leaves one of another its share", () => {
  const { sim, clients: [many, other] } = slowSite(2);
  for (let i = 0; i < 60; i++) transfer(many!, 10e6, i);
  sim.runFor(3_000);
  const going = transfer(other!, 10e6, 100);
  sim.runFor(1_000);
  const before = going.received;
  sim.runFor(8_000);
  const share = 8 * RATE / 8 / 61;
  assert.ok(going.received - before > share / 2, `${going.received - before} bytes, not ${share}`);
});

Deno.test("a peer that keeps the processor busy delays another's packets by little", () => {
  // 10,000 datagrams a second, in and out; the flood and its answers take nine tenths of that.
  const { sim, clients: [flooder, other] } = site(1, Array(2).fill({}), { datagramMs: 0.1 });
  const flood = new Pinger(flooder!.engine, SITE, 5000);
  const ping = new Pinger(other!.engine, SITE, 5000);
  for (let ms = 0; ms < 3_000; ms += 10) {
    sim.after(ms, () => {
      for (let i = 0; i < 45; i++) flood.ask(100);
    });
    if (ms > 500) sim.after(ms + 3, () => ping.ask(100));
  }
  sim.runFor(4_000);
  assert.equal(ping.answered, ping.asked);
  assert.ok(Math.max(...ping.delays) < 15, `${Math.max(...ping.delays)} ms`);
});
