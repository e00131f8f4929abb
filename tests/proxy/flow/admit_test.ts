import assert from "node:assert/strict";
import { parseIpAddress } from "../../../proxy/address.ts";
import type { Admission } from "../../../proxy/flow/admit.ts";
import {
  Flow,
  type FlowCarrier,
  type FlowEnd,
  type FlowFigures,
  FlowOwner,
} from "../../../proxy/flow/flow.ts";
import { OwnListeners } from "../../../proxy/flow/own_listeners.ts";
import { admission, map } from "../forward/lab.ts";
import { rule } from "./rule.ts";

const ip = (text: string) => parseIpAddress(text)!;
const PEER = new FlowOwner(() => "laptop");

function flow(protocol: "tcp" | "udp", destination: string, port = 80, owner = PEER): Flow {
  return new Flow(protocol, owner, ip("10.9.0.2"), 40_000, ip(destination), port, 0);
}

/** What is dialled, or why nothing is. */
function verdict(
  subject: Admission,
  destination: string,
  port = 80,
  protocol: "tcp" | "udp" = "tcp",
) {
  const decided = subject.decide(flow(protocol, destination, port));
  return decided.refusal ?? String(decided.target);
}

/** This host is 192.0.2.7 and 2001:db8::7. */
const isOwnAddress = (target: unknown) => ["192.0.2.7", "2001:db8::7"].includes(String(target));

Deno.test("this host's own addresses are refused, unless a map names one alone", () => {
  const subject = admission({
    isOwnAddress,
    maps: [
      map("10.50.0.1", "192.0.2.7"),
      map("fd50::1", "2001:db8::7"),
      map("10.60.0.0/24", "192.0.2.0/24"),
    ],
  });
  assert.equal(verdict(subject, "192.0.2.7"), "own-host");
  assert.equal(verdict(subject, "2001:db8::7"), "own-host");
  assert.equal(verdict(subject, "192.0.2.8"), "192.0.2.8");
  // As a translator or tunnel on the way would lead back to it.
  for (const carrier of ["64:ff9b::c000:207", "2002:c000:207::1", "64:ff9b:1::c000:207"]) {
    assert.equal(verdict(subject, carrier), "own-host", carrier);
  }
  assert.equal(verdict(subject, "64:ff9b::c000:208"), "64:ff9b::c000:208");
  assert.equal(verdict(subject, "10.50.0.1"), "192.0.2.7");
  assert.equal(verdict(subject, "fd50::1"), "2001:db8::7");
  assert.equal(verdict(subject, "10.60.0.7"), "own-host");
  assert.equal(verdict(subject, "10.60.0.8"), "192.0.2.8");
});

Deno.test("a map to 0.0.0.0 or :: is one to loopback, and a wide one does not reach it", () => {
  const subject = admission({
    maps: [
      map("10.50.0.9", "0.0.0.0"),
      map("fd50::9", "::"),
      map("10.60.0.0/24", "0.0.0.0/24"),
      map("10.61.0.0/16", "127.1.0.0/16"),
    ],
  });
  assert.equal(verdict(subject, "10.50.0.9"), "127.0.0.1");
  assert.equal(verdict(subject, "fd50::9"), "::1");
  assert.equal(verdict(subject, "10.60.0.0"), "own-host");
  assert.equal(verdict(subject, "10.61.2.3"), "127.1.2.3");
  assert.equal(verdict(subject, "10.50.0.9", 9229), "own-listener");
  assert.equal(verdict(subject, "fd50::9", 9229), "own-listener");
  assert.equal(verdict(subject, "10.50.0.9", 9228), "127.0.0.1");
});

Deno.test("a map to one address may lead anywhere, a wide one to nothing that is unsafe", () => {
  const subject = admission({
    maps: [
      map("10.50.0.9", "169.254.169.254"),
      map("10.51.0.0/16", "169.254.0.0/16"),
      map("10.52.0.0/16", "224.0.0.0/16"),
      map("10.53.0.0/16", "100.100.0.0/16"),
      map("fd50::/96", "64:ff9b::/96"),
    ],
  });
  assert.equal(verdict(subject, "10.50.0.9"), "169.254.169.254");
  assert.equal(verdict(subject, "10.51.169.254"), "unsafe");
  assert.equal(verdict(subject, "10.51.0.1"), "unsafe");
  assert.equal(verdict(subject, "10.52.0.1", 5353, "udp"), "unsafe");
  assert.equal(verdict(subject, "10.53.100.200"), "unsafe");
  assert.equal(verdict(subject, "10.53.100.201"), "100.100.100.201");
  assert.equal(verdict(subject, "fd50::a9fe:a9fe"), "unsafe");
  assert.equal(verdict(subject, "fd50::a01:203"), "64:ff9b::a01:203");
});

Deno.test("a listener of this process is refused, whatever map names its address, as long as it listens", () => {
  const listeners = new OwnListeners();
  let port = 51820;
  listeners.add({
    protocol: "udp",
    get port() {
      return port;
    },
  });
  const remove = listeners.add({ protocol: "tcp", port: 8080, address: ip("192.0.2.7") });
  const subject = admission({
    isOwnAddress,
    listeners,
    maps: [map("10.50.0.1", "192.0.2.7"), map("10.50.0.2", "127.0.0.1")],
  });
  for (const destination of ["10.50.0.1", "10.50.0.2"]) {
    assert.equal(verdict(subject, destination, 51820, "udp"), "own-listener");
  }
  assert.equal(verdict(subject, "10.50.0.1", 51820), "192.0.2.7");
  assert.equal(verdict(subject, "10.70.0.1", 51820, "udp"), "10.70.0.1");
  assert.equal(verdict(subject, "10.50.0.1", 8080), "own-listener");
  assert.equal(verdict(subject, "10.50.0.2", 8080), "127.0.0.1");
  // As the system shows one that was asked for by its address of IPv6.
  const removeMapped = listeners.add({
    protocol: "tcp",
    port: 8443,
    address: ip("::ffff:127.0.0.1"),
  });
  assert.equal(verdict(subject, "10.50.0.2", 8443), "own-listener");
  removeMapped();
  assert.equal(verdict(subject, "10.50.0.2", 8443), "127.0.0.1");
  port = 4;
  remove();
  assert.equal(verdict(subject, "10.50.0.1", 51820, "udp"), "192.0.2.7");
  assert.equal(verdict(subject, "10.50.0.1", 8080), "192.0.2.7");
});

Deno.test("what is not proxied, and what is not safe, is refused; a map reaches what it names and nothing beside it", () => {
  const subject = admission({
    isProxied: (address, protocol) => protocol === "tcp" && `${address}` !== "10.70.0.1",
    maps: [map("10.50.0.1", "127.0.0.1")],
  });
  assert.equal(verdict(subject, "10.70.0.1"), "not-proxied");
  assert.equal(verdict(subject, "10.70.0.2", 80, "udp"), "not-proxied");
  assert.equal(verdict(subject, "169.254.169.254"), "unsafe");
  assert.equal(verdict(subject, "127.0.0.1"), "unsafe");
  assert.equal(verdict(subject, "::ffff:127.0.0.1"), "unsafe");
  assert.equal(verdict(subject, "10.50.0.1"), "127.0.0.1");
  assert.equal(verdict(subject, "10.50.0.2"), "10.50.0.2");
});

/** Notes why flows end, and takes them out of the table as the forwarders do. */
class Carrier implements FlowCarrier {
  lastActivity = 0;
  readonly ended: FlowEnd[] = [];
  readonly #subject: Admission;
  readonly #flow: Flow;

  constructor(subject: Admission, flow: Flow) {
    this.#subject = subject;
    this.#flow = flow;
    flow.carrier = this;
  }

  endFlow(_flow: Flow, why: FlowEnd): void {
    this.end(why);
  }

  end(why: FlowEnd): void {
    this.ended.push(why);
    if (this.#flow.protocol === "tcp") {
      this.#subject.connections.give(this.#flow.owner);
      this.#subject.dials.end(this.#flow, "unknown", 0);
    }
    this.#subject.table.remove(this.#flow, why);
  }

  inspect(): FlowFigures {
    const { packetsUp, packetsDown } = this.#flow;
    return { state: "open", rttMs: 0, retransmits: 0, outOfOrder: 0, packetsUp, packetsDown };
  }
}

Deno.test("after a change every live flow is looked at again, and one that is not allowed any more ends", () => {
  const maps = [map("10.50.0.1", "192.168.1.1"), map("10.50.0.2", "192.168.1.2")];
  const limits = { maxDials: 10, maxTcpConnections: 10, maxUdpSessions: 10 };
  let isProxied = true;
  const subject = admission({ maps, limits, isProxied: () => isProxied });
  const begin = (protocol: "tcp" | "udp", destination: string) => {
    const begun = flow(protocol, destination);
    assert.equal(subject.admit(begun, 0), undefined);
    return { flow: begun, carrier: new Carrier(subject, begun) };
  };
  const [stays, moves, goes] = [
    begin("tcp", "10.50.0.1"),
    begin("tcp", "10.50.0.2"),
    begin("udp", "10.50.0.2"),
  ];
  assert.equal(subject.review(), 0);
  subject.setMaps([maps[0]!, map("10.50.0.2", "192.168.1.3")]);
  assert.equal(subject.review(), 2);
  assert.deepEqual([stays, moves, goes].map(({ carrier }) => carrier.ended), [
    [],
    ["revoked"],
    ["revoked"],
  ]);
  assert.deepEqual([stays.flow.end, moves.flow.end], [undefined, "revoked"]);
  isProxied = false;
  assert.equal(subject.review(), 1);
  assert.deepEqual([...subject.table.flows()], []);
  assert.equal(subject.connections.total, 0);
});

Deno.test("while nobody can say whose an address is, nothing new is dialled there and what lives goes on", () => {
  let isOwn: boolean | undefined = false;
  const subject = admission({ isOwnAddress: () => isOwn });
  const lives = flow("udp", "192.168.1.1");
  assert.equal(subject.admit(lives, 0), undefined);
  new Carrier(subject, lives);
  isOwn = undefined;
  assert.equal(verdict(subject, "192.168.1.1"), "own-host");
  assert.equal(subject.review(), 0);
  isOwn = true; // the address has come to this host
  assert.equal(subject.review(), 1);
});

Deno.test("a flow's id is 32 hex digits, and no other flow's", () => {
  const ids = Array.from({ length: 1000 }, () => flow("udp", "10.0.0.1").id);
  for (const id of ids) assert.match(id, /^[0-9a-f]{32}$/);
  assert.equal(new Set(ids).size, ids.length);
});

Deno.test("what a program of this host asks for goes where the tunnel leads, by the rules, and nowhere else", () => {
  const inbound = new FlowOwner(() => "redirect", true);
  const subject = admission({
    isProxied: () => false,
    isOwnAddress,
    isTunnels: (address) => `${address}` === "10.9.0.1",
    isTunnelled: ({ bytes, version }) => version === 4 && bytes[0] !== 11,
    // As for peers: it is not asked for a rewritten or mapped address.
    maps: [map("10.50.0.0/24", "127.0.0.0/24")],
    rules: {
      rules: [
        rule({ to: ["10.70.0.0/16"], action: "reject" }),
        rule({ from: ["redirect"], to: ["10.71.0.0/16"], action: "drop" }),
        rule({ to: ["10.72.0.0/16"], rewrite: { port: 81 } }),
      ],
      defaultAction: "allow",
    },
  });
  const of = (destination: string) => {
    const decided = subject.decide(flow("tcp", destination, 80, inbound));
    return decided.refusal ?? String(decided.target);
  };
  assert.equal(of("10.50.0.7"), "10.50.0.7", "no map");
  assert.equal(of("192.0.2.7"), "192.0.2.7", "this host's own are the packet filter's matter");
  assert.equal(of("10.9.0.1"), "own-host");
  assert.equal(of("11.0.0.1"), "no-peer");
  assert.equal(of("127.0.0.1"), "unsafe");
  assert.equal(of("10.70.0.1"), "rejected");
  assert.equal(of("10.71.0.1"), "dropped");
  assert.equal(of("10.72.0.1"), "rejected", "there is nothing to rewrite with");
  assert.equal(verdict(subject, "10.71.0.1"), "not-proxied", "peers are asked as ever");
});
