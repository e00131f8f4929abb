/**
 * A WireGuard interface without its sockets and clocks.
 *
 * @module
 */

import { Admission, COST_OF_COOKIE } from "./admission.ts";
import { type AllowedIp, AllowedIps, type SharedPrefix } from "./allowed_ips.ts";
import { readI32, readU32, wipe } from "./bytes.ts";
import type { Context, Event, SecretKeys, Sink } from "./context.ts";
import { CookieChecker } from "./cookie.ts";
import { DeviceCounters } from "./counters.ts";
import type { Crypto } from "./crypto.ts";
import { Deadlines } from "./deadlines.ts";
import { maySpeak, type Sender } from "./endpoint.ts";
import {
  handleCookieReply,
  handleInitiation,
  handleResponse,
  isCookieAwaited,
  sendInitiation,
} from "./handshake.ts";
import { HandshakeQueue } from "./handshake_queue.ts";
import { IndexTable } from "./index_table.ts";
import {
  innerLength,
  innerVersion,
  IPV4_DESTINATION,
  IPV4_SOURCE,
  IPV6_DESTINATION,
  IPV6_SOURCE,
} from "./inner.ts";
import { checkKey, clampPrivateKey } from "./keys.ts";
import { isRejectedCounter, type Keypair } from "./keypair.ts";
import {
  COOKIE_REPLY_SIZE,
  DATA_COUNTER,
  DATA_HEADER_SIZE,
  DATA_PAYLOAD,
  DATA_RECEIVER,
  INITIATION_SIZE,
  KEEPALIVE_SIZE,
  OFFSET_TYPE,
  RESPONSE_RECEIVER,
  RESPONSE_SIZE,
  TAG_SIZE,
  TYPE_COOKIE_REPLY,
  TYPE_DATA,
  TYPE_INITIATION,
  TYPE_RESPONSE,
} from "./messages.ts";
import type { StaticIdentity } from "./noise.ts";
import { Peer, type PeerOptions, SendResult } from "./peer.ts";
import { PROBE_ANSWER, PROBE_CLAIM, PROBE_SIZE, probeId, probeKind } from "./probe.ts";
import { Rejections } from "./rejections.ts";
import { type TimerSettings, timerSettings } from "./settings.ts";

/** Where a device's output goes. */
export type DeviceSink = Sink<Peer>;
export type DeviceEvent = Event<Peer>;
export type { SecretKeys };
/** A handshake message was rejected. */
export type Rejection = Extract<DeviceEvent, { type: "handshake-rejected" }>;

export interface DeviceOptions {
  /** 32 bytes; copied and clamped. */
  readonly privateKey: Uint8Array;
  readonly crypto: Crypto;
  /** Fills an array with secret random bytes. */
  readonly random: (out: Uint8Array) => void;
  /** Milliseconds since the Unix epoch. Only for handshake timestamps and `lastHandshake`. */
  readonly wallClock: () => number;
  readonly sink: DeviceSink;
  /** Of inner packets, 1420 by default. */
  readonly mtu?: number;
  readonly timers?: Partial<TimerSettings>;
  /** Milliseconds, monotonic, of the same clock as every later `now`. */
  readonly now: number;
}

/**
 * A cache of the peer that a destination belongs to, filled by `Device.sendPacket`. A caller that
 * sends many packets to one destination keeps one; only the device reads its content.
 */
export interface PeerHop {
  to: unknown;
  /** 0 before the first packet. */
  generation: number;
}

/** Largest UDP payload over IPv4; no sealed packet can be longer. */
const MAX_DATAGRAM = 65507;

/**
 * Datagrams in, inner packets out, and the reverse. Sans-IO: output goes to the sink during the calls
 * below, and `pollTimeout` says when `handleTimeout` is due. Bytes from the network never throw.
 */
export class Device {
  readonly counters: DeviceCounters = new DeviceCounters();
  /** Whole datagrams with data or keepalives, of all peers, those that were removed too. */
  receivedBytes = 0;
  readonly #context: Context<Peer>;
  readonly #peers = new Map<string, Peer>();
  readonly #queue: HandshakeQueue;
  readonly #admission: Admission<Peer>;
  #initiationsTurn = false;
  readonly #peerOf = (publicKey: Uint8Array) => this.peer(publicKey);

  /** @throws {RangeError} if a key, the MTU or a time is out of range. */
  constructor(options: DeviceOptions) {
    const { crypto, random, wallClock, sink, mtu = 1420 } = options;
    if (!Number.isInteger(mtu) || mtu < 68 || mtu > 65535) {
      throw new RangeError(`an MTU is 68 to 65535 bytes, got ${mtu}`);
    }
    const settings = timerSettings(options.timers);
    const identity = identityOf(crypto, options.privateKey);
    this.#context = {
      crypto,
      random,
      wallClock,
      sink,
      settings,
      mtu,
      identity,
      counters: this.counters,
      indices: new IndexTable<Peer>(random),
      deadlines: new Deadlines(),
      allowedIps: new AllowedIps<Peer>(),
      cookies: new CookieChecker(identity.publicKey, random, settings.cookieSecretMs),
      initiations: new Set<Peer>(),
      logKeys: undefined,
      rejections: new Rejections<Peer>(sink.event && ((rejection) => sink.event!(rejection))),
    };
    this.#queue = new HandshakeQueue(settings.underLoadMs);
    this.#admission = new Admission(this.#context, this.#queue);
  }

  get publicKey(): Uint8Array {
    return this.#context.identity.publicKey;
  }

  /**
   * Changes the device's own key. Sessions stop sending, so that the next packet brings a handshake
   * under the new key. A peer that has this key is removed.
   */
  setPrivateKey(key: Uint8Array, now: number): void {
    const identity = identityOf(this.#context.crypto, key);
    wipe(this.#context.identity.privateKey);
    this.#context.identity = identity;
    this.#context.logKeys?.({ localStaticPrivate: identity.privateKey });
    this.#context.cookies.setPublicKey(identity.publicKey);
    const self = this.peer(identity.publicKey);
    if (self !== undefined) this.removePeer(self, now);
    for (const peer of this.#peers.values()) peer.identityChanged();
  }

  /**
   * Gives away the secrets of every handshake from now on, with which whoever has the datagrams can
   * read all of its session: for captures that somebody asked to be readable.
   *
   * @param log Called with the device's own key, at once and when it changes, and with a handshake's
   * before the datagram that they belong to is sent. Undefined ends it.
   */
  setKeyLog(log: ((keys: SecretKeys) => void) | undefined): void {
    this.#context.logKeys = log;
    log?.({ localStaticPrivate: this.#context.identity.privateKey });
  }

  /**
   * @throws {RangeError} if a key, prefix or keepalive is out of range.
   * @throws {TypeError} if the key is the device's own, or a peer's already.
   */
  addPeer(options: PeerOptions, now: number): Peer {
    checkKey("public key", options.publicKey);
    const publicKey = options.publicKey.slice();
    const name = keyName(publicKey);
    if (name === keyName(this.publicKey)) {
      throw new TypeError("the device's own public key cannot be a peer's");
    }
    if (this.#peers.has(name)) throw new TypeError("a peer with this public key exists already");
    const peer = new Peer(this.#context, publicKey);
    try {
      peer.setEndpoint(options.endpoint);
      peer.setPresharedKey(options.presharedKey);
      peer.setPersistentKeepalive(options.persistentKeepalive ?? 0, now);
      peer.replaceAllowedIps(options.allowedIps ?? []); // last: it takes prefixes from others
    } catch (error) {
      peer.destroy();
      throw error;
    }
    this.#peers.set(name, peer);
    return peer;
  }

  /** Wipes the peer's keys and drops what it has staged. */
  removePeer(peer: Peer, _now: number): void {
    if (this.#peers.get(keyName(peer.publicKey)) !== peer) return;
    this.#peers.delete(keyName(peer.publicKey));
    peer.destroy();
  }

  peer(publicKey: Uint8Array): Peer | undefined {
    return this.#peers.get(keyName(publicKey));
  }

  /** The peer whose allowed IPs hold the address at `offset`, longest prefix first. */
  peerAt(buffer: Uint8Array, offset: number, version: 4 | 6): Peer | undefined {
    return this.#context.allowedIps.lookup(buffer, offset, version);
  }

  /**
   * Makes a prefix one that several peers may hold; undefined ends that. Lasts until nobody holds it any
   * more.
   *
   * @returns false if nobody does.
   * @throws {RangeError} if address or length is out of range.
   */
  sharePrefix({ address, length }: AllowedIp, shared: SharedPrefix<Peer> | undefined): boolean {
    return this.#context.allowedIps.share(address, length, shared);
  }

  /** The peer that exactly this prefix is routed to. */
  holderOf({ address, length }: AllowedIp): Peer | undefined {
    return this.#context.allowedIps.ownerOf(address, length);
  }

  /** Whether a peer may send from the address at `offset`. */
  speaksFor(peer: Peer, buffer: Uint8Array, offset: number, version: 4 | 6): boolean {
    const { allowedIps } = this.#context;
    const holder = allowedIps.lookup(buffer, offset, version);
    return holder === peer ||
      holder !== undefined && this.#sharedWith(peer, holder, buffer, offset, version) !== undefined;
  }

  get peerCount(): number {
    return this.#peers.size;
  }

  peers(): Iterable<Peer> {
    return this.#peers.values();
  }

  /**
   * Measures how fast each peer is, over the time since the last call.
   *
   * @param elapsedMs That time; more than 0.
   */
  sampleRates(elapsedMs: number): void {
    for (const peer of this.#peers.values()) peer.sampleRates(elapsedMs);
  }

  /**
   * A datagram from the network. Data is decrypted in place and goes to the sink at once; handshake
   * messages are copied into a queue, for {@link handleHandshakes}.
   *
   * @param from Borrowed until the call returns. No endpoint is made of it unless the datagram is
   * authentic.
   */
  handleDatagram(
    buffer: Uint8Array,
    offset: number,
    length: number,
    from: Sender,
    now: number,
  ): void {
    const { counters } = this;
    counters.datagramsReceived++;
    counters.bytesReceived += length;
    const type = length < 4 ? 0 : readI32(buffer, offset + OFFSET_TYPE);
    if (type === TYPE_DATA && length >= KEEPALIVE_SIZE) {
      this.#handleData(buffer, offset, length, from, now);
    } else if (
      (type === TYPE_INITIATION && length === INITIATION_SIZE) ||
      (type === TYPE_RESPONSE && length === RESPONSE_SIZE)
    ) {
      // Before the queue, so that garbage and replays cannot fill it.
      if (type === TYPE_RESPONSE && !this.#isAwaited(buffer, offset)) {
        counters.droppedUnknownIndex++;
        return;
      }
      if (!this.#admission.arrived(buffer, offset, length, from, now)) return;
      if (!this.#queue.push(buffer, offset, length, from)) counters.droppedQueueFull++;
    } else if (type === TYPE_COOKIE_REPLY && length === COOKIE_REPLY_SIZE) {
      if (!isCookieAwaited(this.#context, buffer, offset)) return;
      if (!this.#queue.push(buffer, offset, length, undefined)) counters.droppedQueueFull++;
    } else {
      counters.droppedMalformed++;
    }
  }

  /**
   * Does waiting handshake work: messages that arrived, and initiations that are due.
   *
   * @param budget How many at most; in plain TypeScript each takes some milliseconds.
   * @returns whether more waits.
   */
  handleHandshakes(now: number, budget: number): boolean {
    const { initiations } = this.#context;
    let left = budget;
    while (left > 0 && (this.#queue.size > 0 || initiations.size > 0)) {
      // In turns, so that a flood of arriving messages does not keep this side from initiating.
      this.#initiationsTurn = !this.#initiationsTurn;
      if (initiations.size > 0 && (this.#initiationsTurn || this.#queue.size === 0)) {
        const [peer] = initiations;
        initiations.delete(peer!);
        sendInitiation(this.#context, peer!, now);
        left--;
      } else {
        left -= this.#handleQueued(now);
        this.#queue.shift();
      }
    }
    return this.#queue.size > 0 || initiations.size > 0;
  }

  /**
   * An inner packet out, to the peer that owns its destination. It is sealed in place: 16 bytes in
   * front of `offset` and 32 behind the packet are overwritten. A staged packet is copied.
   *
   * @param hop Kept by the caller for this destination. With it, allowed IPs are looked up for the
   * first packet only, and again after they have changed.
   */
  sendPacket(
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
    hop?: PeerHop,
  ): SendResult {
    const version = innerVersion(buffer, offset, length);
    if (version === 0 || length > MAX_DATAGRAM - DATA_HEADER_SIZE - 15 - TAG_SIZE) {
      this.counters.droppedInvalid++;
      return SendResult.Invalid;
    }
    const { allowedIps } = this.#context;
    if (hop !== undefined && hop.generation === allowedIps.generation) {
      return (hop.to as Peer).send(buffer, offset, length, now);
    }
    const destination = offset + (version === 4 ? IPV4_DESTINATION : IPV6_DESTINATION);
    const peer = allowedIps.lookup(buffer, destination, version);
    if (peer === undefined) {
      this.counters.droppedNoPeer++;
      return SendResult.NoPeer;
    }
    if (peer.isTwin) {
      const shared = allowedIps.sharedAt(buffer, destination, version);
      if (shared !== undefined) {
        const chosen = shared.has(peer)
          ? shared.choose(peer, buffer, offset, length, version, now)
          : peer;
        return chosen.send(buffer, offset, length, now); // the next one's may be another
      }
    }
    if (hop !== undefined) {
      hop.to = peer;
      hop.generation = allowedIps.generation;
    }
    return peer.send(buffer, offset, length, now);
  }

  /** As {@link sendPacket}, to a peer whatever its allowed IPs are. */
  sendTo(
    peer: Peer,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): SendResult {
    return peer.send(buffer, offset, length, now);
  }

  /**
   * When {@link handleTimeout} is due next, in ms; Infinity if never. 0 while handshakes wait: give
   * {@link handleHandshakes} another turn.
   */
  pollTimeout(): number {
    if (this.#queue.size > 0 || this.#context.initiations.size > 0) return 0;
    return Math.min(this.#context.deadlines.next(), this.#admission.pollTimeout());
  }

  /** Runs the timers that are due. Call it early or late, it does what is due by `now`. */
  handleTimeout(now: number): void {
    this.#context.deadlines.handleTimeout(now);
    this.#admission.handleTimeout(now);
  }

  /** Removes all peers and wipes all keys. The device must not be used again. */
  close(now: number): void {
    for (const peer of [...this.#peers.values()]) this.removePeer(peer, now);
    this.#queue.clear();
    this.#context.cookies.destroy();
    wipe(this.#context.identity.privateKey);
  }

  /** Whether a response names a handshake of ours: a guess at 32 bits is cheaper to refuse than a MAC. */
  #isAwaited(buffer: Uint8Array, offset: number): boolean {
    return this.#context.indices.handshake(readI32(buffer, offset + RESPONSE_RECEIVER)) !==
      undefined;
  }

  /** @returns the share of the budget it used. */
  #handleQueued(now: number): number {
    const context = this.#context;
    const admission = this.#admission;
    const { buffer, offset, length, from } = this.#queue;
    const isUnderLoad = this.#queue.isUnderLoad(now);
    if (from === undefined) {
      handleCookieReply(context, buffer, offset, now);
      return COST_OF_COOKIE;
    }
    const cost = admission.mayProceed(buffer, offset, length, from, isUnderLoad, now);
    if (cost > 0) return cost;
    const isAccepted = length === INITIATION_SIZE
      ? handleInitiation(context, this.#peerOf, buffer, offset, from, now)
      : handleResponse(context, buffer, offset, from, now);
    admission.handled(buffer, offset, length, from, isAccepted, now);
    return 1;
  }

  #handleData(
    buffer: Uint8Array,
    offset: number,
    length: number,
    from: Sender,
    now: number,
  ): void {
    const { counters } = this;
    const keypair = this.#context.indices.keypair(readI32(buffer, offset + DATA_RECEIVER));
    if (keypair === undefined) {
      counters.droppedUnknownIndex++;
      return;
    }
    const low = readU32(buffer, offset + DATA_COUNTER);
    const high = readU32(buffer, offset + DATA_COUNTER + 4);
    if (
      now >= keypair.created + this.#context.settings.rejectAfterMs || isRejectedCounter(high, low)
    ) {
      counters.droppedExpired++;
      return;
    }
    if (!keypair.replay.isFresh(high, low)) {
      counters.droppedReplayed++;
      return;
    }
    if (!keypair.receive.open(high, low, buffer, offset + DATA_PAYLOAD, length - DATA_PAYLOAD)) {
      counters.droppedBadTag++;
      return;
    }
    const { peer } = keypair;
    const isElsewhere = !peer.isHeardAt(from);
    if (isElsewhere && !maySpeak(from, peer.publicKey)) {
      counters.droppedOtherSpeaker++;
      return;
    }
    keypair.replay.mark(high, low); // only now: a forged counter must not move the window
    if (isElsewhere) {
      const kind = probeKind(buffer, offset + DATA_PAYLOAD, length - KEEPALIVE_SIZE);
      const moves = (kind === 0 || kind === PROBE_CLAIM) && isNewest(keypair, high, low);
      peer.heardElsewhere(from, moves, now);
    }
    this.#handleAuthenticated(keypair, buffer, offset + DATA_PAYLOAD, length, from, now);
  }

  /** @param size Of the datagram; the inner packet is 32 bytes less, padding included. */
  #handleAuthenticated(
    keypair: Keypair<Peer>,
    buffer: Uint8Array,
    offset: number,
    size: number,
    from: Sender,
    now: number,
  ): void {
    const { counters } = this;
    const { peer } = keypair;
    peer.heard(now);
    if (keypair === peer.keypairs.next) {
      peer.keypairs.confirmNext();
      peer.completeHandshake(false);
      peer.sendStaged(now);
    }
    peer.keepFreshReceiving(now);
    peer.timers.anyAuthenticatedPacketReceived();
    peer.timers.anyAuthenticatedPacketTraversal(now);
    const length = size - KEEPALIVE_SIZE;
    if (length <= PROBE_SIZE && this.#handleEmpty(peer, buffer, offset, length, from, now)) {
      peer.receivedBytes += size;
      this.receivedBytes += size;
      return;
    }
    peer.timers.dataReceived(now);

    const version = innerVersion(buffer, offset, length);
    const total = version === 0 ? -1 : innerLength(buffer, offset, length, version);
    if (version === 0 || total < 0) {
      counters.droppedInnerMalformed++;
      return;
    }
    const source = offset + (version === 4 ? IPV4_SOURCE : IPV6_SOURCE);
    const holder = this.#context.allowedIps.lookup(buffer, source, version);
    if (holder !== peer) {
      const shared = holder && this.#sharedWith(peer, holder, buffer, source, version);
      if (shared === undefined) {
        counters.droppedInnerSource++;
        peer.sourceRejected(buffer, source, version, now);
        return;
      }
      shared.arrived(peer, buffer, offset, total, version, now);
    } else if (peer.isFollowed) {
      this.#context.allowedIps.sharedAt(buffer, source, version)
        ?.arrived(peer, buffer, offset, total, version, now);
    }
    counters.packetsReceived++;
    peer.receivedBytes += size;
    this.receivedBytes += size;
    this.#context.sink.receive(peer, buffer, offset, total, now);
  }

  /**
   * The shared prefix by which a peer may send from an address that another holds; undefined if
   * there is none.
   */
  #sharedWith(
    peer: Peer,
    holder: Peer,
    buffer: Uint8Array,
    offset: number,
    version: 4 | 6,
  ): SharedPrefix<Peer> | undefined {
    if (!peer.isTwin) return undefined;
    const shared = this.#context.allowedIps.sharedAt(buffer, offset, version);
    return shared !== undefined && shared.has(peer) && shared.has(holder) ? shared : undefined;
  }

  /** A keepalive or a probe. @returns whether it is one. */
  #handleEmpty(
    peer: Peer,
    buffer: Uint8Array,
    offset: number,
    length: number,
    from: Sender,
    now: number,
  ): boolean {
    const { counters } = this;
    if (length === 0) {
      counters.keepalivesReceived++;
      return true; // never answered by another (§6.5)
    }
    const kind = probeKind(buffer, offset, length);
    if (kind === 0) return false;
    counters.probesReceived++;
    const id = probeId(buffer, offset);
    if (kind === PROBE_ANSWER) {
      peer.probesAnswered++;
      peer.paths?.probeAnswered(from, id, now);
    } else peer.answerProbe(from, id, now);
    return true;
  }
}

/**
 * Whether a packet shows where the peer is now. One that was overtaken on its way, or sent under an older
 * key, shows where it was.
 */
function isNewest(keypair: Keypair<Peer>, high: number, low: number): boolean {
  if (!keypair.replay.isGreatest(high, low)) return false;
  const { current, previous } = keypair.peer.keypairs;
  return keypair !== previous || current === undefined || current.replay.isEmpty;
}

function identityOf(crypto: Crypto, privateKey: Uint8Array): StaticIdentity {
  checkKey("private key", privateKey);
  const clamped = clampPrivateKey(privateKey.slice());
  return { privateKey: clamped, publicKey: crypto.x25519.publicKey(clamped) };
}

/** A map key for 32 bytes. */
function keyName(key: Uint8Array): string {
  return String.fromCharCode(...key);
}
