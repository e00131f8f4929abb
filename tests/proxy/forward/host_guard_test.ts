/**
 * A server whose clients get out by a device of this host: what of it they do not reach.
 *
 * @module
 */

import assert from "node:assert/strict";
import { TransitPacket } from "../../../netstack/mod.ts";
import { parseIpAddress, parsePrefix } from "../../../proxy/address.ts";
import { DEFAULT_TIMEOUTS } from "../../../proxy/config/defaults.ts";
import { FlowOwner } from "../../../proxy/flow/flow.ts";
import { OwnListeners } from "../../../proxy/flow/own_listeners.ts";
import type { RuleOptions } from "../../../proxy/flow/rule.ts";
import { TransitFlows } from "../../../proxy/forward/transit_flows.ts";
import {
  concat,
  Host,
  icmp,
  packet,
  parseHeader,
  tcpSegment,
  tcpSyn,
  udp,
  uint16,
} from "../../netstack/packets.ts";
import { rule, tcp } from "../flow/rule.ts";
import { admission } from "./lab.ts";

const DATA = Uint8Array.of(1, 2, 3, 4);
const ECHO = concat(uint16(77), uint16(1), DATA);
const [SYN_ACK, ACK] = [0x12, 0x10];
/** A client, the tunnel's own address, another of the host's, somebody outside. */
const [CLIENT, TUNNEL, OWN, OUT] = ["10.0.0.2", "10.0.0.1", "192.0.2.1", "198.51.100.7"];
const [CLIENT6, TUNNEL6, OWN6, OUT6] = ["fd09::2", "fd09::1", "2001:db8::1", "2001:db8:7::7"];
const OTHER = "10.0.0.3";

function server(rules: readonly RuleOptions[] = []) {
  // One link to everybody; the addresses are the kernel's behind it.
  const host = new Host({ forwarding: true, network: ["10.99.0.1/24", "fd99::1/64"] });
  for (const all of ["0.0.0.0/0", "::/0"]) host.stack.routes.insert(parsePrefix(all)!, host.nic);
  const device = new FlowOwner(() => "wg0");
  const peer = new FlowOwner(() => "peer");
  const address = (text: string) => parseIpAddress(text)!;
  const own = [TUNNEL, TUNNEL6, OWN, OWN6].map(address);
  const tunnels = [TUNNEL, TUNNEL6].map(address);
  const clients = [CLIENT, CLIENT6, OTHER].map(address);
  const ownerOf = (_from: unknown, source: { toString(): string }) =>
    clients.some((client) => `${client}` === `${source}`) ? peer : device;
  const listeners = new OwnListeners();
  listeners.add({ protocol: "udp", port: 51820 });
  const guard = {
    covers: ({ owner, destination }: { owner: FlowOwner; destination: { toString(): string } }) =>
      owner === peer && !clients.some((client) => `${client}` === `${destination}`),
    isTunnels: (asked: { toString(): string }) =>
      tunnels.some((tunnel) => `${tunnel}` === `${asked}`),
  };
  const subject = admission({
    rules: { rules, defaultAction: "allow" },
    guard,
    listeners,
    isOwnAddress: (asked) => own.some((each) => each.equals(asked)),
  });
  const transit = new TransitFlows({
    admission: subject,
    ownerOf,
    settings: { timeouts: DEFAULT_TIMEOUTS },
    random: (out) => host.sim.random.fill(out),
    guard,
  }, new TransitPacket());
  host.stack.setTransitFilter(transit);
  const passes = (bytes: Uint8Array): boolean => {
    const { source, destination } = parseHeader(bytes);
    return host.receive(bytes).some((one) =>
      one.source === source && one.destination === destination
    );
  };
  return { host, subject, transit, passes };
}

Deno.test("a client reaches what is outside, and is answered", () => {
  for (const [client, out] of [[CLIENT, OUT], [CLIENT6, OUT6]] as const) {
    const { passes } = server();
    const [request, reply] = client === CLIENT ? [8, 0] : [128, 129];
    assert.ok(passes(tcpSyn(client, 1000, out, 443)));
    assert.ok(passes(tcpSegment(out, 443, client, 1000, 1, 1001, SYN_ACK)));
    assert.ok(passes(udp(client, 1000, out, 53, DATA)));
    assert.ok(passes(udp(out, 53, client, 1000, DATA)));
    assert.ok(passes(icmp(client, out, request, 0, ECHO)));
    assert.ok(passes(icmp(out, client, reply, 0, ECHO)));
  }
});

Deno.test("a client reaches no service of the host, at any of its addresses, nor what is unsafe", () => {
  const { passes, subject, transit } = server();
  for (const target of [TUNNEL, OWN, "127.0.0.53", "169.254.169.254", "224.0.0.251"]) {
    assert.equal(passes(tcpSyn(CLIENT, 1000, target, 22)), false, target);
    assert.equal(passes(udp(CLIENT, 1000, target, 53, DATA)), false, target);
  }
  for (const target of [TUNNEL6, OWN6, "fe80::1", "64:ff9b::c000:201"]) {
    assert.equal(passes(tcpSyn(CLIENT6, 1000, target, 22)), false, target);
  }
  assert.equal(passes(icmp(CLIENT, OWN, 8, 0, ECHO)), false);
  assert.ok(transit.counters.forbidden > 0);
  assert.equal(subject.table.size, 0);
});

Deno.test("the tunnel's own addresses may be pinged", () => {
  const { passes } = server();
  assert.ok(passes(icmp(CLIENT, TUNNEL, 8, 0, ECHO)));
  assert.ok(passes(icmp(TUNNEL, CLIENT, 0, 0, ECHO)));
  assert.ok(passes(icmp(CLIENT6, TUNNEL6, 128, 0, ECHO)));
});

Deno.test("a rule that names the address lets a client have it, a wider one does not", () => {
  const named = server([rule({ to: [`${TUNNEL}/32`], ports: [tcp(53)] })]);
  assert.ok(named.passes(tcpSyn(CLIENT, 1000, TUNNEL, 53)));
  assert.equal(named.passes(tcpSyn(CLIENT, 1000, TUNNEL, 22)), false);
  const wide = server([rule({ to: ["10.0.0.0/24"], ports: [tcp(53)] })]);
  assert.equal(wide.passes(tcpSyn(CLIENT, 1000, TUNNEL, 53)), false);
  // What this process itself listens on is refused even then.
  const all = server([rule({ to: [`${OWN}/32`] })]);
  assert.ok(all.passes(udp(CLIENT, 1000, OWN, 53, DATA)));
  assert.equal(all.passes(udp(CLIENT, 1000, OWN, 51820, DATA)), false);
});

Deno.test("the host reaches its clients, and they answer it; they do not begin to", () => {
  const { passes } = server();
  assert.ok(passes(tcpSyn(TUNNEL, 1000, CLIENT, 22)));
  assert.ok(passes(tcpSegment(CLIENT, 22, TUNNEL, 1000, 1, 1001, SYN_ACK)));
  assert.ok(passes(tcpSegment(TUNNEL, 1000, CLIENT, 22, 1001, 2, ACK)));
  // Another connection by the ports of that one.
  assert.equal(passes(tcpSyn(CLIENT, 22, TUNNEL, 1000)), false);
  assert.equal(passes(udp(CLIENT, 22, TUNNEL, 1000, DATA)), false);
});

Deno.test("rules go first, and clients are asked them alone about each other", () => {
  const { passes } = server([rule({ to: [`${OUT}/32`], action: "drop" })]);
  assert.equal(passes(tcpSyn(CLIENT, 1000, OUT, 443)), false);
  assert.ok(passes(tcpSyn(CLIENT, 1000, OTHER, 443)));
});

Deno.test("of other protocols clients have each other and the host's packets, and nothing outside", () => {
  const gre = (source: string, destination: string) =>
    packet({ source, destination, protocol: 47, payload: DATA });
  const { passes, transit } = server();
  assert.ok(passes(gre(CLIENT, OTHER)));
  assert.ok(passes(gre(TUNNEL, CLIENT)));
  assert.equal(passes(gre(CLIENT, OUT)), false);
  assert.equal(passes(gre(CLIENT, TUNNEL)), false);
  assert.equal(transit.counters.otherProtocols, 2);
  const ruled = server([rule({ to: [`${OUT}/32`] })]);
  assert.equal(ruled.passes(gre(CLIENT, OTHER)), false);
});

Deno.test("a service that is opened later ends with its rule", () => {
  const { passes, subject } = server([rule({ to: [`${TUNNEL}/32`], ports: [tcp(53)] })]);
  assert.ok(passes(tcpSyn(CLIENT, 1000, TUNNEL, 53)));
  subject.setRules({ rules: [], defaultAction: "allow" });
  assert.equal(subject.review(), 1);
  assert.equal(passes(tcpSegment(CLIENT, 1000, TUNNEL, 53, 2, 2, ACK)), false);
  assert.equal(passes(tcpSegment(TUNNEL, 53, CLIENT, 1000, 2, 2, ACK)), false);
});
