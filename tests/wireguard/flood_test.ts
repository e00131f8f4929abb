/**
 * Floods, and a thousand peers at once, against a host whose work takes (simulated) time: data goes
 * on, and who should get in gets in. With real sockets: bench/flood.ts.
 */

import assert from "node:assert/strict";
import { fastCrypto } from "../preset.ts";
import { HASH, writeMAC } from "../../wireguard/hash.ts";
import { PlainEndpoint } from "../../wireguard/mod.ts";
import { BusyHost, type Source } from "./busy_host.ts";
import { type Datagram, endpoint, Host, host, ipv4Packet, seededRandom, stranger } from "./pair.ts";

const SERVER = endpoint("192.0.2.1", 51820);
const MTU = 1420;
/** 100 Mbit/s in packets of the MTU. */
const DATA_PER_MS = 100_000 / 8 / MTU;
const FLOOD_PER_MS = 50;
const PACKET = ipv4Packet("10.0.0.2", "10.0.0.1", MTU);

/** A server with one talking client, one that will come, and strangers. */
class Lab {
  readonly server = new BusyHost(1, SERVER);
  readonly #byAddress = new Map<Datagram["to"], Host>();
  readonly talker = this.#client(2);
  readonly newcomer = this.#client(3);
  flood: (n: number) => { datagram: Datagram; from: PlainEndpoint } | undefined = () => undefined;
  flooded = 0;
  talked = 0;
  isTalking = false;
  #credit = 0;
  #floodCredit = 0;
  #fromClients: Datagram[] = [];

  #client(last: number): Host {
    const client = new Host(last, endpoint(`192.0.2.${last}`, 1000), { crypto: fastCrypto() });
    client.device.addPeer({
      publicKey: this.server.host.device.publicKey,
      allowedIps: [{ address: new Uint8Array(4), length: 0 }],
      endpoint: SERVER,
    }, 0);
    this.server.host.device.addPeer({
      publicKey: client.device.publicKey,
      allowedIps: [host(last)],
    }, 0);
    this.add(client);
    return client;
  }

  run(ms: number): void {
    this.server.run(this.server.now + ms, this.#source, (datagram) => {
      const to = this.#byAddress.get(datagram.to);
      if (to === undefined) return;
      to.now = this.server.now;
      to.receive(datagram);
      to.device.handleHandshakes(to.now, 4);
      this.#collect(to);
    });
  }

  initiate(client: Host): void {
    client.now = this.server.now;
    [...client.device.peers()][0]!.initiate(client.now);
    client.device.handleHandshakes(client.now, 1);
    this.#collect(client);
  }

  /** Retries by the clock. */
  tick(client: Host): void {
    client.now = this.server.now;
    client.device.handleTimeout(client.now);
    client.device.handleHandshakes(client.now, 1);
    this.#collect(client);
  }

  isIn(client: Host): boolean {
    return this.server.host.device.peer(client.device.publicKey)!.hasSession;
  }

  add(client: Host): void {
    this.#byAddress.set(client.address, client);
  }

  #collect(client: Host): void {
    this.#fromClients.push(...client.outbox.splice(0));
  }

  readonly #source: Source = (from, to, send) => {
    for (const datagram of this.#fromClients.splice(0)) {
      send({ datagram, from: datagram.from, at: from });
    }
    if (this.isTalking) this.#credit += (to - from) * DATA_PER_MS;
    for (; this.#credit >= 1; this.#credit--) {
      this.talker.now = from;
      this.talker.send(PACKET);
      this.talked++;
      for (const datagram of this.talker.outbox.splice(0)) {
        send({ datagram, from: datagram.from, at: from });
      }
    }
    this.#floodCredit += (to - from) * FLOOD_PER_MS;
    for (; this.#floodCredit >= 1; this.#floodCredit--) {
      const message = this.flood(this.flooded);
      if (message === undefined) continue;
      this.flooded++;
      send({ ...message, at: from });
    }
  };
}

/** Starts the talker, and the flood; then the newcomer tries. */
function underFlood(flood: (lab: Lab) => Lab["flood"]): Lab {
  const lab = new Lab();
  lab.initiate(lab.talker);
  lab.run(20);
  assert(lab.isIn(lab.talker));
  lab.isTalking = true;
  lab.run(20);
  lab.flood = flood(lab);
  lab.server.overflows = 0;
  return lab;
}

function assertTunnelGoesOn(lab: Lab): void {
  const { received, device } = lab.server.host;
  assert(lab.flooded > 0.9 * FLOOD_PER_MS * lab.server.now - 5000, `a flood of ${lab.flooded}`);
  assert(received.length >= 0.9 * lab.talked, `${received.length} of ${lab.talked} packets`);
  assert.equal(device.counters.droppedQueueFull, 0);
}

function initiationOf(lab: Lab, seed: number): Uint8Array {
  const bytes = new Uint8Array(148);
  seededRandom(seed)(bytes);
  bytes.set([1, 0, 0, 0]);
  bytes.fill(0, 132);
  const mac1Key = HASH(new TextEncoder().encode("mac1----"), lab.server.host.device.publicKey);
  writeMAC(mac1Key, bytes, 0, 116, bytes, 116);
  return bytes;
}

function message(bytes: Uint8Array): Datagram {
  return { bytes, from: SERVER, to: SERVER, sentAt: 0, type: 1 };
}

const ATTACKER = endpoint("203.0.113.9", 9);

const floods: Record<string, (lab: Lab) => Lab["flood"]> = {
  "of handshakes with a wrong mac1": () => {
    const bytes = new Uint8Array(148).fill(7);
    bytes.set([1, 0, 0, 0]);
    return (n) => ({ datagram: message(bytes), from: endpoint("203.0.113.9", 1 + n % 1000) });
  },
  "of a replayed initiation": (lab) => {
    const replayed = lab.talker.sentOfType(1)[0]!;
    return (n) => ({ datagram: replayed, from: endpoint("203.0.113.9", 1 + n % 1000) });
  },
  "of nonsense with a right mac1, from one source": (lab) => {
    const nonsense = Array.from({ length: 5000 }, (_, i) => message(initiationOf(lab, i)));
    return (n) => ({ datagram: nonsense[n % nonsense.length]!, from: ATTACKER });
  },
};

for (const [name, flood] of Object.entries(floods)) {
  Deno.test(`50,000 per second ${name}: the tunnel goes on, and a new client is in at once`, () => {
    const lab = underFlood(flood);
    lab.run(200);
    lab.initiate(lab.newcomer);
    lab.run(300);
    assert(lab.isIn(lab.newcomer));
    assert.deepEqual(lab.newcomer.sentOfType(1).length, 1, "with its first initiation");
    assertTunnelGoesOn(lab);
  });
}

Deno.test("50,000 per second of nonsense with a right mac1, from 250 sources: the tunnel goes on, and a new client is in at once", () => {
  const lab = underFlood((lab) => {
    const nonsense = Array.from({ length: 5000 }, (_, i) => message(initiationOf(lab, i)));
    return (n) => ({ datagram: nonsense[n % nonsense.length]!, from: stranger(n % 250) });
  });
  lab.run(500);
  lab.initiate(lab.newcomer);
  lab.run(500);
  assert(lab.isIn(lab.newcomer));
  assert.equal(lab.newcomer.sentOfType(1).length, 1, "with its first initiation");
  assertTunnelGoesOn(lab);
});

Deno.test("50,000 per second from spoofed sources: the tunnel goes on, and who has a cookie is in", () => {
  const lab = underFlood((lab) => {
    const nonsense = Array.from({ length: 5000 }, (_, i) => message(initiationOf(lab, i)));
    const address = (n: number) => Uint8Array.of(100, n >>> 16, n >>> 8, n);
    return (n) => ({
      datagram: nonsense[n % nonsense.length]!,
      from: new PlainEndpoint(address(n), 1 + n % 60000),
    });
  });
  lab.run(400);
  const { counters } = lab.server.host.device;
  assert(counters.cookieRepliesSent > 0);
  // Tries until one of the cookie replies is its own.
  for (let i = 0; lab.newcomer.device.counters.cookieRepliesReceived === 0; i++) {
    assert(i < 100, "no cookie in 100 attempts");
    [...lab.newcomer.device.peers()][0]!.lastSentHandshake = -Infinity;
    lab.initiate(lab.newcomer);
    lab.run(30);
  }
  assert(!lab.isIn(lab.newcomer));
  [...lab.newcomer.device.peers()][0]!.lastSentHandshake = -Infinity;
  lab.initiate(lab.newcomer);
  lab.run(200);
  assert(lab.isIn(lab.newcomer));
  assertTunnelGoesOn(lab);
});

Deno.test("a thousand peers behind one address at once: all are in, and data never waits for them", () => {
  const { tookMs } = reconnect((i) => endpoint("198.51.100.1", 1000 + i));
  // Cookies have been sent to whom there was no room for, and the second attempt has one.
  assert(tookMs < 6_000, `after ${tookMs} ms`);
});

Deno.test("a thousand peers of different addresses at once: all are in by their first attempt", () => {
  const { tookMs, lab } = reconnect((i) => endpoint(`198.51.${i >>> 8}.${i & 255}`, 1000));
  assert(tookMs < 2_000, `after ${tookMs} ms`);
  assert.equal(lab.server.host.device.counters.droppedUnderLoad, 0);
});

function reconnect(endpointOf: (i: number) => PlainEndpoint) {
  const lab = underFlood(() => () => undefined);
  const crowd = Array.from({ length: 1000 }, (_, i) => {
    const client = new Host(1000 + i, endpointOf(i), { crypto: fastCrypto() });
    client.device.addPeer({ publicKey: lab.server.host.device.publicKey, endpoint: SERVER }, 0);
    lab.server.host.device.addPeer({ publicKey: client.device.publicKey }, 0);
    return client;
  });
  for (const client of crowd) lab.add(client);
  lab.server.worstDelay = lab.server.longestTurn = 0;
  // Within 200 ms: more would not fit into the socket's buffer, whoever reads it.
  const started = lab.server.now;
  for (let i = 0; i < crowd.length; i += 5) {
    for (const client of crowd.slice(i, i + 5)) lab.initiate(client);
    lab.run(1);
  }
  for (let i = 0; i < 120 && !crowd.every((client) => lab.isIn(client)); i++) {
    lab.run(50);
    for (const client of crowd) lab.tick(client);
  }
  assert.equal(crowd.filter((client) => lab.isIn(client)).length, 1000);
  const tookMs = lab.server.now - started;
  assert(lab.server.longestTurn < 5, `a turn of ${lab.server.longestTurn} ms`);
  assert(lab.server.worstDelay < 10, `a packet waited ${lab.server.worstDelay} ms`);
  const { received } = lab.server.host;
  assert(received.length >= 0.99 * lab.talked, `${received.length} of ${lab.talked} packets`);
  return { lab, tookMs };
}
