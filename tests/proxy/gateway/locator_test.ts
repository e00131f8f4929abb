/** Where a peer may be, address after address, in simulated time. */

import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/mod.ts";
import { PeerLocator } from "../../../proxy/gateway/locator.ts";
import { alternateFamilies, type Resolve } from "../../../proxy/gateway/resolver.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import {
  type Endpoint,
  generatePrivateKey,
  type Peer,
  PlainEndpoint,
} from "../../../wireguard/mod.ts";
import {
  type Datagram,
  endpoint,
  Host,
  host,
  ipv4Packet,
  Network,
  Pair,
  seededRandom,
  v4,
} from "../../wireguard/pair.ts";

const ip = (text: string) => parseIpAddress(text)!;
/** Where `b` of a pair is, and where nobody is. */
const GOOD = ip("192.0.2.2");
const PORT = 1002;
const [DEAD, DEAD_TOO, DEAD_6] = [ip("192.0.2.98"), ip("192.0.2.99"), ip("2001:db8::99")];

const RESOLVE_AGAIN_MS = 15_000;

/** Has a locator told of `host`'s handshakes, as a gateway does. */
function tellOfHandshakes({ events }: Host, locator: () => PeerLocator): void {
  const push = events.push.bind(events);
  events.push = (...all) => {
    for (const event of all) {
      if (event.type === "handshake-retry") locator().handshakeUnanswered(event.attempt);
      if (event.type === "handshake-failed") locator().handshakeUnanswered(Infinity);
      if (event.type === "handshake-complete") locator().handshakeComplete();
    }
    return push(...all);
  };
}

/** What a locator is given of a gateway, but for names. */
function surroundings(now: () => number) {
  return {
    resolveAgainMs: RESOLVE_AGAIN_MS,
    now,
    endpoint: ({ bytes }: IpAddress, port: number) => endpoint(bytes, port),
    endpointOf: (peer: Peer) => peer.endpoint,
    moveTo: (peer: Peer, to: Endpoint) => peer.setEndpoint(to),
    initiate: (peer: Peer) => peer.initiate(now()),
    changed() {},
  };
}

/** A site `a` whose other side `b` is configured by name. */
class Site extends Pair {
  /** When the name was looked up. */
  readonly asked: number[] = [];
  readonly locator: PeerLocator;
  /** `HH:… to` of each initiation. */
  readonly tried: string[] = [];

  constructor(
    resolve: Resolve,
    options: { keepalive?: number; hostname?: string; remembered?: IpAddress } = {},
  ) {
    super({ a: { endpoint: undefined }, b: { endpoint: endpoint("192.0.2.1", 1001) } });
    tellOfHandshakes(this.a, () => this.locator);
    this.filter = (datagram) => {
      const { type, to } = datagram;
      if (type === 1 && datagram.from === this.a.address) {
        this.tried.push(`${this.now / 1000} ${to}`);
      }
      return true;
    };
    this.ab.setPersistentKeepalive(options.keepalive ?? 5, this.now);
    this.locator = new PeerLocator(
      this.ab,
      [{ hostname: options.hostname ?? "gw.test", port: PORT }],
      options.remembered && endpoint(options.remembered.bytes, PORT),
      {
        resolve: (hostname) => {
          this.asked.push(this.now);
          return resolve(hostname);
        },
        ...surroundings(() => this.now),
      },
    );
    this.locator.start();
  }

  /** Lets time pass, and promises be kept meanwhile. */
  async pass(ms: number): Promise<void> {
    for (const end = this.now + ms; this.now < end;) {
      for (let i = 0; i < 8; i++) await undefined;
      this.advance(Math.min(100, end - this.now));
      if (this.now >= this.locator.retryAt) this.locator.handleTimeout(this.now);
    }
  }

  /** Where initiations went, each address once in a row. */
  get route(): string[] {
    return this.tried.map((line) => line.split(" ")[1]!);
  }
}

const found = (...addresses: IpAddress[]): Resolve => () => Promise.resolve(addresses);
const at = (address: IpAddress) => `${endpoint(address.bytes, PORT)}`;

Deno.test("with a dead IPv6 address first, the second address has a session within one handshake time", async () => {
  const site = new Site(found(DEAD_6, GOOD));
  await site.pass(4_900);
  assert.deepEqual(site.route, [at(DEAD_6)]);
  assert.equal(site.ab.hasSession, false);
  await site.pass(700); // 5 s and at most 333 ms
  assert.equal(site.ab.hasSession, true);
  assert.deepEqual(site.route, [at(DEAD_6), at(GOOD)]);
  // The one that worked is kept, through rekeys, and an address that answers is not looked up.
  await site.pass(600_000);
  assert.deepEqual(new Set(site.route.slice(1)), new Set([at(GOOD)]));
  assert.equal(site.asked.length, 1);
});

Deno.test("with a dead address first of one family, the second has a session at once, and is asked alone", async () => {
  const site = new Site(found(DEAD, GOOD));
  await site.pass(100);
  assert.equal(site.ab.hasSession, true);
  assert.deepEqual(site.route, [at(DEAD), at(GOOD)]);
  await site.pass(600_000);
  assert.deepEqual(new Set(site.route.slice(1)), new Set([at(GOOD)]));
  assert.equal(site.asked.length, 1);
});

Deno.test("when all addresses failed they are tried again, and the name is looked up again, not too often", async () => {
  let addresses = [DEAD, DEAD_TOO];
  const site = new Site(() => Promise.resolve(addresses));
  await site.pass(60_000);
  assert.deepEqual(site.route.slice(0, 4), [DEAD, DEAD_TOO, DEAD, DEAD_TOO].map(at));
  assert.ok(site.asked.length >= 3, `${site.asked.length} lookups`);
  for (let i = 1; i < site.asked.length; i++) {
    assert.ok(site.asked[i]! - site.asked[i - 1]! >= RESOLVE_AGAIN_MS);
  }
  addresses = [GOOD];
  await site.pass(30_000);
  assert.equal(site.ab.hasSession, true);
  assert.equal(`${site.ab.endpoint}`, at(GOOD));
  const lookups = site.asked.length;
  await site.pass(3_600_000);
  assert.equal(site.asked.length, lookups, "an address that answers is not looked up");
});

Deno.test("an address that stops answering is tried first, then the others; a lost datagram is no reason", async () => {
  const site = new Site(found(GOOD, DEAD));
  await site.pass(1_000);
  assert.equal(site.ab.hasSession, true);
  // One initiation of the next rekey is lost, data goes on.
  const { filter } = site;
  let lost = 0;
  site.filter = (datagram) => {
    if (datagram.type === 1 && lost === 0) return lost++ > 0;
    return filter(datagram);
  };
  for (let i = 0; i < 135; i++) {
    site.aToB();
    site.bToA();
    await site.pass(1_000);
  }
  assert.equal(lost, 1);
  assert.deepEqual(site.route.slice(0, 2), [at(GOOD), at(DEAD)]);
  assert.deepEqual(new Set(site.route.slice(2)), new Set([at(GOOD)]));
  assert.equal(`${site.ab.endpoint}`, at(GOOD));

  site.tried.length = 0;
  site.filter = (datagram) => filter(datagram) && datagram.to !== site.b.address;
  for (let i = 0; i < 60; i++) {
    site.aToB();
    await site.pass(1_000);
  }
  assert.equal(site.route[0], at(GOOD));
  assert.ok(site.route.includes(at(DEAD)), "given up in the end");
  site.filter = filter;
  await site.pass(15_000);
  assert.equal(`${site.ab.endpoint}`, at(GOOD));
  assert.equal(site.ab.hasSession, true);
  assert.deepEqual(site.route.slice(-2), [at(GOOD), at(DEAD)]);
});

Deno.test("an address in the file is not looked up, and a peer that moved is called there again", async () => {
  const site = new Site(() => assert.fail("looked up"), { hostname: "192.0.2.2" });
  await site.pass(1_000);
  assert.equal(site.ab.hasSession, true);
  site.ab.setEndpoint(endpoint("192.0.2.77", 7));
  site.ab.keypairs.clear();
  site.tried.length = 0;
  await site.pass(20_000);
  assert.deepEqual(site.route.slice(0, 2), ["192.0.2.77:7", at(GOOD)]);
  assert.equal(site.ab.hasSession, true);
});

Deno.test("where the peer was remembered comes behind the file's Endpoint, and is tried three times", async () => {
  for (const hostname of ["192.0.2.98", "gw.test"]) {
    const lost = new Site(found(DEAD), { hostname, remembered: DEAD_TOO });
    await lost.pass(600_000);
    assert.deepEqual(
      lost.route.slice(0, 6),
      [DEAD, DEAD_TOO, DEAD, DEAD_TOO, DEAD, DEAD_TOO].map(at),
    );
    assert.ok(lost.route.length > 50);
    assert.deepEqual(new Set(lost.route.slice(6)), new Set([at(DEAD)]), "the hint is forgotten");
    assert.equal(
      `${lost.ab.endpoint}`,
      at(DEAD),
      "a configured peer keeps a place to be called at",
    );

    const moved = new Site(found(DEAD), { hostname, remembered: GOOD });
    await moved.pass(6_000);
    assert.deepEqual(moved.route, [at(DEAD), at(GOOD)]);
    assert.equal(moved.ab.hasSession, true);
  }
  const right = new Site(found(GOOD), { hostname: "192.0.2.2", remembered: DEAD });
  await right.pass(600_000);
  assert.equal(right.ab.hasSession, true);
  assert.deepEqual(new Set(right.route), new Set([at(GOOD)]), "what was remembered is not asked");
});

Deno.test("a name that is not found is looked up again with growing pauses", async () => {
  let attempts = 0;
  const site = new Site(() =>
    ++attempts < 4 ? Promise.reject(new Error("no such name")) : Promise.resolve(GOOD)
  );
  await site.pass(10_000);
  const pauses = site.asked.slice(1).map((time, i) => time - site.asked[i]!);
  assert.deepEqual(pauses.map((ms) => Math.round(ms / 1000)), [1, 2, 4]);
  assert.equal(site.ab.hasSession, true);
  site.locator.close();
  await site.pass(1_000);
  assert.equal(site.asked.length, 4);
});

Deno.test("families alternate, beginning with the first; no address comes twice", () => {
  const sorted = (...texts: string[]) => alternateFamilies(texts.map(ip)).map(String);
  assert.deepEqual(sorted("2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.3"), [
    "2001:db8::1",
    "192.0.2.1",
    "2001:db8::2",
    "192.0.2.2",
    "192.0.2.3",
  ]);
  assert.deepEqual(sorted("192.0.2.1", "192.0.2.1", "2001:db8::1"), ["192.0.2.1", "2001:db8::1"]);
  assert.deepEqual(sorted(), []);
});

/** As the sockets of gateways have it: what was heard is not what was configured, address or not. */
class HeardAddress extends PlainEndpoint {
  override isAt(endpoint: Endpoint): boolean {
    return endpoint === this;
  }
}

/** Replicas of one key, each as far from `a` as it says. */
class Replicas {
  readonly a: Host;
  readonly replicas: Host[];
  readonly peer: Peer;
  readonly locator: PeerLocator;
  readonly network: Network;
  /** One way, ms, by the replica's number. */
  readonly delays: number[];
  readonly dead = new Set<number>();
  /** Numbers of the replicas that initiations went to. */
  readonly asked: number[] = [];
  readonly #heard = new Map<string, HeardAddress>();
  readonly #onTheWay: { at: number; datagram: Datagram }[] = [];

  constructor(delays: number[]) {
    this.delays = delays;
    const privateKey = generatePrivateKey(seededRandom(99));
    const address = (i: number) => endpoint(`192.0.2.${10 + i}`, 51820);
    this.a = new Host(1, endpoint("198.51.100.1", 1));
    this.replicas = delays.map((_, i) => new Host(2 + i, address(i), { privateKey }));
    for (const { device } of this.replicas) {
      device.addPeer({ publicKey: this.a.device.publicKey, allowedIps: [host(1)] }, 0);
    }
    this.network = new Network([this.a, ...this.replicas]);
    this.network.filter = (datagram) => {
      const [from, to] = [datagram.from, datagram.to].map((place) =>
        this.replicas.findIndex(({ address }) => `${address}` === `${place}`)
      ) as [number, number];
      const number = Math.max(from, to);
      if (datagram.type === 1 && to >= 0) this.asked.push(to);
      const at = this.network.now + delays[number]!;
      if (!this.dead.has(number)) this.#onTheWay.push({ at, datagram });
      return false;
    };
    this.peer = this.a.device.addPeer({
      publicKey: this.replicas[0]!.device.publicKey,
      allowedIps: [{ address: v4("0.0.0.0"), length: 0 }],
    }, 0);
    tellOfHandshakes(this.a, () => this.locator);
    this.locator = new PeerLocator(
      this.peer,
      delays.map((_, i) => ({ hostname: `192.0.2.${10 + i}`, port: 51820 })),
      undefined,
      {
        resolve: () => assert.fail("looked up"),
        ...surroundings(() => this.network.now),
      },
    );
    this.locator.start();
  }

  /** The number of the replica that the peer is at. */
  get at(): number {
    return this.replicas.findIndex(({ address }) => `${address}` === `${this.peer.endpoint}`);
  }

  send(): void {
    this.a.send(ipv4Packet("10.0.0.1", "10.0.0.9"));
  }

  #heardAt({ address, port }: Endpoint): HeardAddress {
    const key = `${address} ${port}`;
    const heard = this.#heard.get(key) ?? new HeardAddress(address, port);
    this.#heard.set(key, heard);
    return heard;
  }

  pass(ms: number): void {
    for (const end = this.network.now + ms; this.network.now < end;) {
      this.network.advance(1);
      const due = this.#onTheWay.filter(({ at }) => at <= this.network.now);
      for (const each of due) {
        this.#onTheWay.splice(this.#onTheWay.indexOf(each), 1);
        const { from, to } = each.datagram;
        [this.a, ...this.replicas].find(({ address }) => `${address}` === `${to}`)
          ?.receive({ ...each.datagram, from: this.#heardAt(from) });
      }
    }
  }
}

Deno.test("of replicas with one key the nearest has the session, though it is last in the list", () => {
  const site = new Replicas([40, 25, 8]);
  site.send();
  site.pass(200);
  assert.deepEqual(site.asked, [0, 1, 2]);
  assert.equal(site.at, 2);
  assert.equal(site.replicas[2]!.received.length, 1);
  // Others that answered later have taken nothing away, though one is nearer by now.
  site.delays[0] = 1;
  for (let i = 0; i < 300; i++) {
    site.send();
    site.pass(1_000);
  }
  assert.equal(site.at, 2);
  assert.equal(site.replicas[2]!.received.length, 301);
  assert.deepEqual(new Set(site.asked.slice(3)), new Set([2]), "a rekey goes to it alone");
  // Nothing was sent for long, and the session is gone: they are asked again.
  site.pass(600_000);
  site.asked.length = 0;
  site.send();
  site.pass(500);
  assert.deepEqual(site.asked.toSorted(), [0, 1, 2]);
  assert.equal(site.at, 0);
});

Deno.test("when a replica dies the others are asked together, and the nearest of them takes over", () => {
  const site = new Replicas([5, 40, 20]);
  site.send();
  site.pass(200);
  assert.equal(site.at, 0);
  site.dead.add(0);
  const died = site.network.now;
  while (site.replicas[2]!.received.length === 0 && site.network.now < died + 60_000) {
    site.send();
    site.pass(100);
  }
  assert.equal(site.at, 2);
  assert.equal(site.replicas[1]!.received.length, 0);
  assert.ok(site.network.now - died < 16_000, `after ${site.network.now - died} ms`);
});

Deno.test("a replica that calls, as one that was restarted does, takes nobody from the one that has the session", () => {
  const site = new Replicas([5, 20]);
  site.send();
  site.pass(200);
  assert.equal(site.at, 0);
  const restarted = site.replicas[1]!;
  const [client] = restarted.device.peers();
  client!.setEndpoint(site.a.address);
  client!.initiate(site.network.now);
  for (let i = 0; i < 100; i++) {
    site.send();
    site.pass(1_000);
    assert.equal(site.at, 0, `after ${i} s`);
  }
  assert.equal(site.replicas[0]!.received.length, 101);
  assert.equal(restarted.received.length, 0);
  const { droppedOtherReplica } = site.a.device.counters;
  assert.ok(droppedOtherReplica >= 15, `${droppedOtherReplica} calls`);
});

Deno.test("a replica that calls when the one with the session is gone has the peer with its second call", () => {
  for (const isIdle of [true, false]) {
    const site = new Replicas([5, 20]);
    site.send();
    site.pass(12_000); // until it has been answered
    assert.equal(site.at, 0);
    site.dead.add(0);
    site.pass(30_000); // nothing is sent, so it is not missed
    assert.equal(site.at, 0);
    const [client] = site.replicas[1]!.device.peers();
    client!.setEndpoint(site.a.address);
    client!.initiate(site.network.now);
    if (!isIdle) site.send();
    site.pass(7_000);
    assert.equal(site.at, 1);
    site.send();
    site.pass(100);
    assert.equal(site.replicas[1]!.received.length, 1);
  }
});
