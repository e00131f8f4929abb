/** Where a peer may be, address after address, in simulated time. */

import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/mod.ts";
import { PeerLocator } from "../../../proxy/gateway/locator.ts";
import { alternateFamilies, type Resolve } from "../../../proxy/gateway/resolver.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { endpoint, Pair } from "../../wireguard/pair.ts";

const ip = (text: string) => parseIpAddress(text)!;
/** Where `b` of a pair is, and where nobody is. */
const GOOD = ip("192.0.2.2");
const PORT = 1002;
const [DEAD, DEAD_TOO, DEAD_6] = [ip("192.0.2.98"), ip("192.0.2.99"), ip("2001:db8::99")];

const RESOLVE_AGAIN_MS = 15_000;

/** A site `a` whose other side `b` is configured by name. */
class Site extends Pair {
  /** When the name was looked up. */
  readonly asked: number[] = [];
  readonly locator: PeerLocator;
  /** `HH:… to` of each initiation. */
  readonly tried: string[] = [];

  constructor(resolve: Resolve, options: { keepalive?: number; hostname?: string } = {}) {
    super({ a: { endpoint: undefined }, b: { endpoint: endpoint("192.0.2.1", 1001) } });
    const { events } = this.a;
    const push = events.push.bind(events);
    events.push = (...all) => {
      for (const event of all) {
        if (event.type === "handshake-retry") this.locator.handshakeUnanswered(event.attempt);
        if (event.type === "handshake-failed") this.locator.handshakeUnanswered(Infinity);
        if (event.type === "handshake-complete") this.locator.handshakeComplete();
      }
      return push(...all);
    };
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
      { hostname: options.hostname ?? "gw.test", port: PORT },
      undefined,
      {
        resolve: (hostname) => {
          this.asked.push(this.now);
          return resolve(hostname);
        },
        resolveAgainMs: RESOLVE_AGAIN_MS,
        now: () => this.now,
        endpoint: ({ bytes }, port) => endpoint(bytes, port),
        initiate: (peer) => peer.initiate(this.now),
        changed() {},
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

for (const [what, first] of [["address", DEAD], ["IPv6", DEAD_6]] as const) {
  Deno.test(`with a dead ${what} first, the second address has a session within one handshake time`, async () => {
    const site = new Site(found(first, GOOD));
    await site.pass(4_900);
    assert.deepEqual(site.route, [at(first)]);
    assert.equal(site.ab.hasSession, false);
    await site.pass(700); // 5 s and at most 333 ms
    assert.equal(site.ab.hasSession, true);
    assert.deepEqual(site.route, [at(first), at(GOOD)]);
    // The one that worked is kept, through rekeys, and an address that answers is not looked up.
    await site.pass(600_000);
    assert.deepEqual(new Set(site.route.slice(1)), new Set([at(GOOD)]));
    assert.equal(site.asked.length, 1);
  });
}

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
  assert.deepEqual(new Set(site.route), new Set([at(GOOD)]));
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
  assert.equal(site.route.at(-1), at(GOOD));
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
