import assert from "node:assert/strict";
import { CookieGenerator } from "../../../wireguard/cookie.ts";
import { LOADED } from "../../../wireguard/handshake_queue.ts";
import { MAC, writeMAC } from "../../../wireguard/hash.ts";
import { Random } from "../../sim/random.ts";
import { mac1KeyOf } from "../../wireguard/mac1.ts";
import {
  type Datagram,
  endpoint,
  type Host,
  ipv4Packet,
  Pair,
  stranger,
} from "../../wireguard/pair.ts";
import { forge } from "../forge.ts";
import { mutateBytes, pick, resize, splice } from "../mutate.ts";
import type { Target } from "../target.ts";
import { set16, set32 } from "../wire.ts";

/** Steps of one case, each of which hands over some datagrams. */
const STEPS = 60;
const CORPUS = 60;
const STRANGER = endpoint("203.0.113.66", 666);
const INITIATION = 1, RESPONSE = 2, COOKIE_REPLY = 3, DATA = 4;

export const wireguard: Target = {
  name: "wireguard",
  about:
    "handleDatagram: real messages of all four kinds, mutated, late and again: silence, and no " +
    "state changes by what is not authenticated",
  run(seed) {
    return new Lab(seed).run();
  },
};

/** Runs a case. @returns the counters of both devices together: what it has reached. */
export function reached(seed: number): Map<string, number> {
  const lab = new Lab(seed);
  lab.run();
  const sums = new Map<string, number>();
  for (const { device } of lab.hosts) {
    for (const [name, count] of Object.entries(device.counters)) {
      sums.set(name, (sums.get(name) ?? 0) + count);
    }
  }
  return sums;
}

class Lab {
  readonly #random: Random;
  readonly #pair: Pair;
  readonly #corpus: Datagram[] = [];
  readonly #genuine = new Set<string>();
  /** What is authenticated of genuine handshake messages. */
  readonly #genuineCores = new Set<string>();
  /** Genuine datagrams that have arrived as they were. */
  readonly #delivered = new Set<string>();
  /** What may still be received, by host. */
  readonly #expected = new Map<Host, Set<string>>();
  #tried = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
    const pair = new Pair({
      seed,
      // Ages that are reached within a case.
      timers: { rekeyAfterMs: 20_000, rejectAfterMs: 40_000 },
      b: this.#random.chance(0.3) ? { persistentKeepalive: 5 } : {},
    });
    this.#pair = pair;
    for (const host of pair.hosts) this.#expected.set(host, new Set());
    pair.filter = (datagram) => this.#pass(datagram);
  }

  get hosts(): readonly Host[] {
    return this.#pair.hosts;
  }

  run(): number {
    const pair = this.#pair;
    const random = this.#random;
    pair.ab.initiate(pair.now);
    for (let i = 0; i < STEPS; i++) {
      for (let j = random.below(3); j > 0; j--) this.#send();
      pair.settle();
      for (let j = random.below(4); j > 0; j--) this.#inject();
      if (random.chance(0.02)) this.#flood();
      pair.settle();
      this.#check();
      const pause = random.below(20);
      pair.advance(pause < 16 ? random.below(1_000) : random.below(pause < 19 ? 15_000 : 200_000));
    }
    this.#recover();
    this.#end();
    return this.#tried;
  }

  /** One inner packet, sometimes one that no honest peer would send. */
  #send(): void {
    const random = this.#random;
    const pair = this.#pair;
    const isFromA = random.chance(0.5);
    const [from, to] = isFromA ? [pair.a, pair.b] : [pair.b, pair.a];
    const [source, destination] = isFromA ? ["10.0.0.1", "10.0.0.2"] : ["10.0.0.2", "10.0.0.1"];
    const packet = ipv4Packet(source!, destination!, random.between(28, 1420));
    // Unique, so that a second delivery of the same would show.
    set32(packet, 20, random.uint32());
    set32(packet, 24, random.uint32());
    if (random.chance(0.2)) {
      if (random.chance(0.5)) set16(packet, 2, random.below(0x10000));
      else packet[12 + random.below(4)] = random.below(256);
    }
    const padded = new Uint8Array(Math.min(1420, packet.length + 15 & ~15));
    padded.set(packet);
    const total = packet[2]! << 8 | packet[3]!;
    const isOwn = packet.subarray(12, 16).join(".") === source;
    if (isOwn && total >= 20 && total <= padded.length) {
      this.#expected.get(to)!.add(String(padded.subarray(0, total)));
    }
    from.send(packet);
  }

  /** A genuine datagram on its way: remembered, and mostly delivered. */
  #pass(datagram: Datagram): boolean {
    if (!this.#pair.hosts.some(({ address }) => address === datagram.to)) return false;
    this.#genuine.add(String(datagram.bytes));
    if (datagram.type <= 2) this.#genuineCores.add(String(coreOf(datagram.bytes)));
    if (this.#corpus.length < CORPUS) this.#corpus.push(datagram);
    else this.#corpus[this.#random.below(CORPUS)] = datagram;
    const choice = this.#random.below(10);
    if (choice === 0) return false;
    if (choice === 1) this.#try(datagram, this.#mutate(datagram.bytes));
    this.#delivered.add(String(datagram.bytes));
    return true;
  }

  #inject(): void {
    if (this.#random.chance(0.3)) {
      const host = pick(this.#random, this.#pair.hosts)!;
      this.#tryForgery(host, forge(this.#random, host));
      return;
    }
    const datagram = pick(this.#random, this.#corpus);
    if (datagram === undefined) return;
    const isReplay = this.#random.chance(0.2);
    this.#try(datagram, isReplay ? datagram.bytes : this.#mutate(datagram.bytes));
  }

  /**
   * More handshakes than a device wants to answer; behind them forgeries, of somebody who shows a
   * cookie too; and a genuine one.
   */
  #flood(): void {
    const random = this.#random;
    const pair = this.#pair;
    const [host, other, peer] = random.chance(0.5)
      ? [pair.a, pair.b, pair.ba]
      : [pair.b, pair.a, pair.ab];
    const mac1Key = mac1KeyOf(host.device.publicKey);
    for (let i = 0; i < LOADED + 88; i++) {
      const bytes = random.bytes(148);
      bytes.set([1, 0, 0, 0]);
      if (random.chance(0.5)) bytes.fill(0, 132);
      writeMAC(mac1Key, bytes, 0, 116, bytes, 116);
      host.device.handleDatagram(bytes, 0, 148, stranger(i), pair.now);
      this.#tried++;
    }
    while (host.device.handleHandshakes(pair.now, 1000));
    const macs = new CookieGenerator(host.device.publicKey, 120_000);
    const forged = (length: number) => {
      const bytes = random.bytes(length);
      bytes.set([length === 148 ? INITIATION : RESPONSE, 0, 0, 0]);
      macs.addMacs(bytes, length, pair.now);
      return bytes;
    };
    this.#tryForgery(host, forged(148));
    const reply = host.sent.findLast(({ to, type }) => to === STRANGER && type === COOKIE_REPLY);
    if (reply !== undefined) macs.handleReply(reply.bytes, 0, pair.now);
    for (let i = 0; i < 12; i++) this.#tryForgery(host, forged(random.chance(0.8) ? 148 : 92));
    peer.lastSentHandshake = -Infinity;
    peer.initiate(pair.now);
    while (other.device.handleHandshakes(pair.now, 1));
  }

  /** Exactly these bytes, from a stranger. */
  #tryForgery(host: Host, bytes: Uint8Array): void {
    const { now } = this.#pair;
    this.#try({ bytes, from: STRANGER, to: host.address, sentAt: now, type: bytes[0]! }, bytes);
  }

  #try(original: Datagram, bytes: Uint8Array): void {
    this.#tried++;
    const host = this.#target(original);
    // Whoever knows the public key puts a right mac1 on it.
    const isHandshake = bytes.length === 148 || bytes.length === 92;
    if (isHandshake && bytes !== original.bytes && this.#random.chance(0.5)) {
      const mac1 = bytes.length - 32;
      writeMAC(mac1KeyOf(host.device.publicKey), bytes, 0, mac1, bytes, mac1);
    }
    // What still authenticates would move the endpoint to a stranger, as it should.
    const from = this.#isForgery(bytes) && this.#random.chance(0.5) ? STRANGER : original.from;
    // Done first, so that what follows can only come of this datagram.
    while (host.device.handleHandshakes(this.#pair.now, 1000));
    const before = this.#mayChangeNothing(bytes) ? stateOf(host, bytes) : undefined;
    const { cookieRepliesSent } = host.device.counters;
    const sentBefore = host.sent.length;
    const around = this.#random.below(256);
    const buffer = new Uint8Array(bytes.length + 16).fill(around);
    buffer.set(bytes, 8);
    host.device.handleDatagram(buffer, 8, bytes.length, from, this.#pair.now);
    for (let i = 0; i < 16; i++) {
      assert.equal(buffer[i < 8 ? i : bytes.length + i], around, "a byte beside the datagram");
    }
    if (before === undefined) return;
    while (host.device.handleHandshakes(this.#pair.now, 1000));
    assert.deepEqual(stateOf(host, bytes), before, "a forgery has changed something");
    const answers = host.sent.slice(sentBefore);
    assert.equal(answers.length, host.device.counters.cookieRepliesSent - cookieRepliesSent);
    assert.ok(answers.length <= 1, "more than one answer to a forgery");
    for (const answer of answers) {
      // Due only under load, or to a source that keeps failing, and only for a right mac1.
      assert.ok(hasMac1(bytes, host), "a forgery without a right mac1 was answered");
      assert.equal(answer.type, COOKIE_REPLY);
      assert.equal(answer.to, from);
      assert.ok(answer.bytes.length < bytes.length, "an answer larger than the question");
    }
  }

  /** Whether this is a forgery, or data again. */
  #mayChangeNothing(bytes: Uint8Array): boolean {
    return this.#isForgery(bytes) || bytes[0] === DATA && this.#delivered.has(String(bytes));
  }

  #isForgery(bytes: Uint8Array): boolean {
    return !this.#genuine.has(String(bytes)) && !this.#genuineCores.has(String(coreOf(bytes)));
  }

  #target(datagram: Datagram): Host {
    const { a, b } = this.#pair;
    return datagram.to === a.address ? a : b;
  }

  #mutate(bytes: Uint8Array): Uint8Array {
    const random = this.#random;
    let out: Uint8Array = bytes.slice();
    for (let i = random.between(1, 3); i > 0; i--) {
      switch (random.below(6)) {
        case 0:
          out = resize(random, out);
          break;
        case 1:
          out = splice(random, out, pick(random, this.#corpus)!.bytes);
          break;
        case 2:
          if (out.length > 0) out[0] = random.below(6);
          break;
        case 3: // Receiver index and counter of a data message.
          out.set(random.bytes(Math.min(4, Math.max(0, out.length - 8))), Math.min(8, out.length));
          break;
        case 4:
          if (out.length > 16) out.fill(0xff, 8, 16);
          break;
        default:
          out = mutateBytes(random, out);
      }
    }
    return out;
  }

  /** What was received was sent, once; every datagram is counted under one name. */
  #check(): void {
    for (const host of this.#pair.hosts) {
      const expected = this.#expected.get(host)!;
      for (const { bytes } of host.received.splice(0)) {
        assert.ok(
          expected.delete(String(bytes)),
          "an inner packet that was not sent, or came twice",
        );
      }
      const { counters } = host.device;
      const accounted = Object.entries(counters)
        .filter(([name]) => ACCOUNTED.test(name))
        .reduce((sum, [, count]) => sum + count, 0);
      assert.equal(accounted, counters.datagramsReceived, JSON.stringify(counters));
    }
  }

  /** Left alone, the two talk again, both ways. */
  #recover(): void {
    const pair = this.#pair;
    pair.filter = () => true;
    pair.advance(2_000);
    for (
      const [from, to, source, destination] of [
        [pair.a, pair.b, "10.0.0.1", "10.0.0.2"],
        [pair.b, pair.a, "10.0.0.2", "10.0.0.1"],
      ] as const
    ) {
      to.received.length = 0;
      for (let i = 0; i < 30 && to.received.length === 0; i++) {
        from.send(ipv4Packet(source, destination));
        pair.advance(1_000);
      }
      assert.ok(to.received.length > 0, `nothing arrives from ${source} any more`);
    }
  }

  #end(): void {
    const pair = this.#pair;
    pair.a.device.removePeer(pair.ab, pair.now);
    pair.b.device.removePeer(pair.ba, pair.now);
    pair.advance(600_000);
    for (const { device } of pair.hosts) {
      assert.equal(device.pollTimeout(), Infinity, "a timer is left");
      device.close(pair.now);
    }
  }
}

/**
 * What nobody unauthenticated may change: all but the counters of what was dropped, and of cookie
 * replies. @param bytes Of the datagram: as data, would its counter still be new?
 */
function stateOf({ device, received, events }: Host, bytes: Uint8Array): unknown[] {
  const [low, high] = [0, 4].map((at) => bytes.length < 16 ? 0 : u32(bytes, 8 + at));
  const peers = [...device.peers()].map((peer) => {
    const { current, previous, next } = peer.keypairs;
    const sessions = [current, previous, next].map((keypair) =>
      keypair &&
      [
        keypair.localIndex,
        keypair.sendHigh,
        keypair.sendLow,
        keypair.sendable,
        keypair.created,
        keypair.replay.isFresh(high!, low!),
        // Beyond the window of a counter that was let in by mistake nothing low is new.
        keypair.replay.isFresh(0, 0x7fff),
      ]
    );
    return [
      sessions,
      peer.pending?.localIndex,
      peer.endpoint,
      peer.lastTimestamp,
      peer.lastInitiation,
      peer.lastSentHandshake,
      peer.lastHandshake,
      peer.receivedBytes,
      peer.sentBytes,
      peer.stagedPackets,
      peer.timers.nextDeadline(),
    ];
  });
  const counters = Object.entries(device.counters).filter(([name]) =>
    !/^dropped|^cookieReplies(?:Sent|Suppressed)$|^(?:datagrams|bytes)(?:Received|Sent)$/.test(name)
  );
  const rejected = events.filter(({ type }) => type === "handshake-rejected").length;
  return [
    peers,
    counters,
    received.length,
    events.length - rejected,
    device.pollTimeout() === 0, // something waits for its turn
  ];
}

function hasMac1(bytes: Uint8Array, { device }: Host): boolean {
  const mac1 = bytes.length - 32;
  const expected = MAC(mac1KeyOf(device.publicKey), bytes, 0, mac1);
  return expected.every((byte, i) => byte === bytes[mac1 + i]);
}

function u32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
}

/**
 * The Noise part of a handshake message. The sender's index is under nothing but the MACs (§5.4.2):
 * whoever changes it and knows the public key makes the session one that does not work.
 */
function coreOf(bytes: Uint8Array): Uint8Array {
  if (bytes[0] === INITIATION && bytes.length === 148) return bytes.subarray(8, 116);
  if (bytes[0] === RESPONSE && bytes.length === 92) return bytes.subarray(12, 60);
  return bytes;
}

const ACCOUNTED =
  /^(?:packets|keepalives|initiations|responses|cookieReplies)Received$|^dropped(?!Invalid|NoPeer|NoEndpoint|Staged)/;
