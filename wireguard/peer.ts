/**
 * One peer: what is configured for it, and what a session with it needs.
 *
 * @module
 */

import { type AllowedIp, checkPrefix } from "./allowed_ips.ts";
import { isZero, readI32, wipe, writeU32 } from "./bytes.ts";
import { type Context, transmit } from "./context.ts";
import { CookieGenerator } from "./cookie.ts";
import type { Endpoint, Sender } from "./endpoint.ts";
import { isHostsOwn } from "./inner.ts";
import { checkKey } from "./keys.ts";
import type { Keypair } from "./keypair.ts";
import { Keypairs } from "./keypairs.ts";
import {
  DATA_COUNTER,
  DATA_HEADER_SIZE,
  DATA_RECEIVER,
  KEEPALIVE_SIZE,
  KEY_SIZE,
  OFFSET_TYPE,
  TAG_SIZE,
  TYPE_DATA,
} from "./messages.ts";
import type { NoiseInitiator } from "./noise.ts";
import { paddingOf } from "./padding.ts";
import type { PeerPaths } from "./paths.ts";
import {
  PROBE_ANSWER,
  PROBE_CLAIM,
  PROBE_DATAGRAM_SIZE,
  PROBE_QUESTION,
  PROBE_SIZE,
  writeProbe,
} from "./probe.ts";
import { packetLength, StagedPackets } from "./staged.ts";
import { TimestampSource } from "./tai64n.ts";
import { PeerTimers, type TimerActions } from "./timers.ts";

/** What became of a packet given to `Device.sendPacket`. */
export const SendResult = {
  /** Sealed and handed to the sink. The buffer is the caller's again. */
  Sent: 0,
  /** Copied; it leaves when a handshake completes, or is dropped when that fails. */
  Staged: 1,
  /** No peer owns the destination address. */
  NoPeer: 2,
  /** The peer's address is not known (yet). */
  NoEndpoint: 3,
  /** Not an IP packet. */
  Invalid: 4,
  /** Sealed, and the sink has taken the buffer: it is the sink's to give back. */
  Taken: 5,
} as const;
export type SendResult = typeof SendResult[keyof typeof SendResult];

/** How a peer is configured. */
export interface PeerOptions {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 32 bytes; all zero is the same as none. */
  readonly presharedKey?: Uint8Array;
  readonly allowedIps?: readonly AllowedIp[];
  readonly endpoint?: Endpoint;
  /** Seconds, 0 (off) to 65535. */
  readonly persistentKeepalive?: number;
}

/** An initiation that has been sent and not been answered yet. */
export interface PendingInitiation {
  readonly noise: NoiseInitiator;
  readonly localIndex: number;
  readonly sentAt: number;
}

/** Reported from this many unconfirmed answers on: one may be lost, or overtaken by the next. */
const UNCONFIRMED_ANSWERS = 3;
/** A misconfigured peer is wrong with every packet: its mistake is reported at most this often. */
const REPORT_INTERVAL_MS = 60_000;

const NO_PRESHARED_KEY = new Uint8Array(KEY_SIZE);

/** Made by `Device.addPeer`. */
export class Peer implements TimerActions {
  /** 32 bytes. Not to be written to. */
  readonly publicKey: Uint8Array;

  /** What people call it. Not part of the protocol. */
  name: string | undefined = undefined;

  /**
   * Whether it is one of several that may hold a prefix (`Device.sharePrefix`). Each packet that would go
   * to it may then be for another of them. Set by whoever shares the prefix.
   */
  isTwin = false;
  /** Whether its packets are reported to `SharedPrefix.arrived` even while it holds the prefix. */
  isFollowed = false;

  /** Whole datagrams of this peer, handshakes and keepalives included, as `wg show` counts them. */
  receivedBytes = 0;
  sentBytes = 0;
  /** When the last handshake completed: ms since the Unix epoch, 0 for never. */
  lastHandshake = 0;
  /**
   * How long the last handshake that this side began took, counted from its last initiation, ms; -1
   * for none.
   */
  handshakeMs = -1;
  /** How many probes it has answered. */
  probesAnswered = 0;
  /**
   * When something authenticated last came, keepalives included: ms, on the clock of `now`;
   * -Infinity for never.
   */
  lastHeard = -Infinity;
  /**
   * Since when it has been heard with no silence longer than a session may last; as {@link
   * lastHeard}.
   */
  heardSince = -Infinity;
  /** Bytes per second between the last two calls of `Device.sampleRates`. */
  receiveRate = 0;
  sendRate = 0;

  /** Who decides where this peer is, if there are several paths to it. */
  paths: PeerPaths | undefined = undefined;

  /**
   * Where initiations are sent as well while there is no session: other addresses of the peer, or
   * replicas of it with the same key. The first to answer gets the session, and is where the peer is.
   */
  otherEndpoints: readonly Endpoint[] = [];
  /** Whether {@link otherEndpoints} count although there is a session: nothing is heard under it. */
  isSearched = false;

  /** @internal */
  readonly keypairs: Keypairs<Peer>;
  /** @internal */
  readonly timers: PeerTimers;
  /** @internal An initiation that waits for its response. */
  pending: PendingInitiation | undefined = undefined;
  /** @internal When the last initiation or response was sent. */
  lastSentHandshake = -Infinity;
  /** @internal Greatest timestamp received, empty for none. */
  lastTimestamp: Uint8Array = new Uint8Array(0);
  /** @internal When the last valid initiation was received. */
  lastInitiation = -Infinity;
  /** @internal */
  removed = false;

  readonly #context: Context<Peer>;
  readonly #staged = new StagedPackets();
  readonly #allowedIps = new Map<string, AllowedIp>();
  #endpoint: Endpoint | undefined;
  #presharedKey: Uint8Array = NO_PRESHARED_KEY;
  #staticStatic: Uint8Array | undefined;
  #macs: CookieGenerator | undefined;
  #timestamps: TimestampSource | undefined;
  #keepalive: Uint8Array | undefined;
  #probe: Uint8Array | undefined;
  /** Where the next initiation goes, and that one only. */
  #otherEndpoint: Endpoint | undefined;
  /** Since a session was last confirmed. */
  #unconfirmedAnswers = 0;
  #unconfirmedReportedAt = -Infinity;
  #sourceReportedAt = -Infinity;
  #unreportedSources = 0;
  /** When the one with the session was asked whether it is there, for another replica had called. */
  #replicaAskedAt = -Infinity;
  #sampledReceived = 0;
  #sampledSent = 0;

  /** @internal Use `Device.addPeer`. */
  constructor(context: Context<Peer>, publicKey: Uint8Array) {
    this.#context = context;
    this.publicKey = publicKey;
    this.keypairs = new Keypairs(context.indices);
    this.timers = new PeerTimers(
      this,
      context.deadlines,
      context.settings,
      () => randomFraction(context) * context.settings.rekeyJitterMs,
    );
  }

  /** Where this peer is, or was last heard. */
  get endpoint(): Endpoint | undefined {
    return this.#endpoint;
  }

  /** Sets the address by configuration. The next authenticated packet from elsewhere overrides it. */
  setEndpoint(endpoint: Endpoint | undefined): void {
    this.#endpoint = endpoint;
  }

  /**
   * Used from the next handshake on. The array is copied.
   *
   * @throws {RangeError} unless it has 32 bytes.
   */
  setPresharedKey(key: Uint8Array | undefined): void {
    if (key !== undefined) checkKey("preshared key", key);
    if (this.#presharedKey !== NO_PRESHARED_KEY) wipe(this.#presharedKey);
    this.#presharedKey = key === undefined || isZero(key) ? NO_PRESHARED_KEY : key.slice();
  }

  /** Seconds; 0 is off. */
  get persistentKeepalive(): number {
    return this.timers.persistentKeepaliveMs / 1000;
  }

  /**
   * Switched on, the first keepalive leaves at once, and with it, if need be, a handshake.
   *
   * @throws {RangeError} unless it is an integer from 0 to 65535.
   */
  setPersistentKeepalive(seconds: number, now: number): void {
    if (!Number.isInteger(seconds) || seconds < 0 || seconds > 65535) {
      throw new RangeError(`a persistent keepalive is 0 to 65535 s, got ${seconds}`);
    }
    const wasOff = this.timers.persistentKeepaliveMs === 0;
    this.timers.persistentKeepaliveMs = seconds * 1000;
    if (seconds > 0 && wasOff) this.timers.firePersistentKeepalive(now);
  }

  /** The prefixes routed to this peer. */
  get allowedIps(): AllowedIp[] {
    return [...this.#allowedIps.values()];
  }

  /**
   * Routes a prefix to this peer, away from any other that has it.
   *
   * @throws {RangeError} if address or length is out of range.
   */
  addAllowedIp(prefix: AllowedIp): void {
    const own = { address: prefix.address.slice(), length: prefix.length };
    const previous = this.#context.allowedIps.insert(own.address, own.length, this);
    if (previous !== undefined) previous.#allowedIps.delete(prefixKey(own));
    this.#allowedIps.set(prefixKey(own), own);
  }

  /** @returns false if the prefix is not routed to this peer. */
  removeAllowedIp(prefix: AllowedIp): boolean {
    if (!this.#allowedIps.delete(prefixKey(prefix))) return false;
    this.#context.allowedIps.remove(prefix.address, prefix.length);
    return true;
  }

  /**
   * Makes this the whole list. Prefixes that stay are never unrouted in between.
   *
   * @throws {RangeError} if any address or length is out of range; then nothing has changed.
   */
  replaceAllowedIps(prefixes: readonly AllowedIp[]): void {
    for (const prefix of prefixes) checkPrefix(prefix.address, prefix.length);
    const gone = new Map(this.#allowedIps);
    for (const prefix of prefixes) {
      this.addAllowedIp(prefix);
      gone.delete(prefixKey(prefix));
    }
    for (const prefix of gone.values()) this.removeAllowedIp(prefix);
  }

  /** Whether there is a session to send under. It may have to be renewed first if it is old. */
  get hasSession(): boolean {
    return this.keypairs.current !== undefined && this.keypairs.current.sendable;
  }

  /** Whether a packet can be sent now, and need not wait for a handshake. */
  maySend(now: number): boolean {
    return this.#sendingKeypair(now) !== undefined;
  }

  /** Packets that wait for a handshake. */
  get stagedPackets(): number {
    return this.#staged.length;
  }

  /** Starts a handshake, unless one was started within the last 5 s. */
  initiate(now: number): void {
    this.timers.handshakeWanted();
    this.requestInitiation(now);
  }

  /**
   * Starts a handshake by another path than the peer's endpoint, which stays, however recent the last
   * one was.
   */
  initiateTo(endpoint: Endpoint): void {
    if (this.removed) return;
    if (!this.timers.isHandshakeRunning) this.timers.handshakeWanted();
    this.#otherEndpoint = endpoint;
    this.#context.initiations.add(this);
  }

  /** @internal Of {@link initiateTo}, once. */
  takeOtherEndpoint(): Endpoint | undefined {
    const endpoint = this.#otherEndpoint;
    this.#otherEndpoint = undefined;
    return endpoint;
  }

  /** Has {@link PeerPaths.trafficBegan} called for what is sent next. */
  awaitTraffic(): void {
    this.timers.awaitsTraffic = true;
  }

  /**
   * When the data was sent (ms, of the device's clock) after which nothing has been heard by any path,
   * the first of it; Infinity if there is none.
   */
  get unansweredSince(): number {
    return this.timers.unansweredSince;
  }

  /**
   * Asks whether packets reach the peer at `endpoint`, and its answers this side. An implementation that
   * knows no probes drops it.
   *
   * @param id 32 bits, for {@link PeerPaths.probeAnswered}.
   * @param claims Whether the peer is to send there from now on.
   * @returns false if there is no session to ask under.
   */
  probe(endpoint: Endpoint, id: number, claims: boolean, now: number): boolean {
    return this.#sendProbe(endpoint, claims ? PROBE_CLAIM : PROBE_QUESTION, id, now);
  }

  /** @internal */
  answerProbe(from: Sender, id: number, now: number): void {
    this.#sendProbe(this.endpointAt(from), PROBE_ANSWER, id, now);
  }

  #sendProbe(endpoint: Endpoint, kind: number, id: number, now: number): boolean {
    const keypair = this.#sendingKeypair(now);
    if (keypair === undefined || this.removed) return false;
    this.#probe ??= new Uint8Array(PROBE_DATAGRAM_SIZE);
    writeProbe(this.#probe, DATA_HEADER_SIZE, kind, id);
    this.#seal(keypair, endpoint, this.#probe, DATA_HEADER_SIZE, PROBE_SIZE, now, false);
    if (kind !== PROBE_ANSWER && endpoint === this.#endpoint) this.timers.questionSent(now);
    return true;
  }

  /**
   * @internal Whether to drop an initiation because it comes from another replica than the one with the
   * session, while that one is alive. A replica that restarted, or still has a session of its own, knows
   * nothing of the other: answering both would move the peer to and fro, and break the connections that
   * end in each. So the replica with the session is probed first. If nothing has been heard of it when
   * the other calls again, 5 s later, the other gets the peer.
   */
  keepsReplica(from: Sender, now: number): boolean {
    const endpoint = this.#endpoint;
    if (endpoint === undefined || this.isSearched || this.otherEndpoints.length === 0) return false;
    // Compared as text: a configured endpoint and one that was heard are different objects.
    const caller = `${from.toEndpoint()}`;
    if (!this.otherEndpoints.some((other) => `${other}` === caller)) return false;
    const isSilent = this.#replicaAskedAt >= this.lastHeard;
    this.#replicaAskedAt = isSilent ? -Infinity : now;
    return !isSilent && this.#sendProbe(endpoint, PROBE_QUESTION, 0, now);
  }

  /** @internal Asks for a turn to send an initiation. */
  requestInitiation(now: number): void {
    if (this.#endpoint === undefined || this.removed) return;
    const earliest = this.lastSentHandshake + this.#context.settings.rekeyTimeoutMs;
    if (now < earliest) this.timers.handshakeDeferred(earliest);
    else this.#context.initiations.add(this);
  }

  /** @internal Sends an inner packet, or stages it. Room as for `Device.sendPacket`. */
  send(buffer: Uint8Array, offset: number, length: number, now: number): SendResult {
    const endpoint = this.#endpoint;
    if (endpoint === undefined) {
      this.#context.counters.droppedNoEndpoint++;
      return SendResult.NoEndpoint;
    }
    const keypair = this.#sendingKeypair(now);
    if (keypair === undefined) {
      if (!this.#staged.push(buffer, offset, length)) this.#context.counters.droppedStaged++;
      this.initiate(now);
      return SendResult.Staged;
    }
    const isTaken = this.#seal(keypair, endpoint, buffer, offset, length, now, true);
    return isTaken ? SendResult.Taken : SendResult.Sent;
  }

  /** @internal An empty packet; or the staged ones, if there are any, which serve as well. */
  sendKeepalive(now: number): void {
    if (this.#staged.length > 0) {
      this.sendStaged(now);
      return;
    }
    const endpoint = this.#endpoint;
    if (endpoint === undefined) return;
    const keypair = this.#sendingKeypair(now);
    if (keypair === undefined) {
      // A handshake that is being retried goes on counting its attempts.
      const queued = this.#context.initiations.has(this);
      if (!queued && !this.timers.isHandshakeRunning) this.initiate(now);
      return;
    }
    this.#keepalive ??= new Uint8Array(KEEPALIVE_SIZE);
    this.#seal(keypair, endpoint, this.#keepalive, DATA_HEADER_SIZE, 0, now, false);
  }

  /** @internal Sends what has been waiting for a session, in order. */
  sendStaged(now: number): void {
    while (this.#staged.length > 0) {
      const endpoint = this.#endpoint;
      const keypair = this.#sendingKeypair(now);
      if (endpoint === undefined || keypair === undefined) {
        this.initiate(now);
        return;
      }
      const slot = this.#staged.shift()!;
      this.#seal(keypair, endpoint, slot, DATA_HEADER_SIZE, packetLength(slot), now, false);
    }
  }

  /**
   * Whether it was heard within the time that a session may last. A peer without a keepalive that has
   * nothing to send is silent, and may be there all the same.
   */
  isHeard(now: number): boolean {
    return now < this.lastHeard + this.#context.settings.rejectAfterMs;
  }

  /** @internal See `Device.sampleRates`. */
  sampleRates(elapsedMs: number): void {
    this.receiveRate = (this.receivedBytes - this.#sampledReceived) * 1000 / elapsedMs;
    this.sendRate = (this.sentBytes - this.#sampledSent) * 1000 / elapsedMs;
    this.#sampledReceived = this.receivedBytes;
    this.#sampledSent = this.sentBytes;
  }

  /** @internal Something authenticated came. */
  heard(now: number): void {
    if (!this.isHeard(now)) this.heardSince = now;
    this.lastHeard = now;
  }

  /** @internal Whether the peer is known to be where something authenticated came from. */
  isHeardAt(from: Sender): boolean {
    return this.#endpoint !== undefined && from.isAt(this.#endpoint);
  }

  /** @internal Where to answer what came from there: the peer's endpoint, if that is where it is. */
  endpointAt(from: Sender): Endpoint {
    return this.isHeardAt(from) ? this.#endpoint! : from.toEndpoint();
  }

  /**
   * @internal Something authenticated came from elsewhere than the endpoint (whitepaper §2.1, roaming).
   *
   * @param moves Whether it tells where the peer is now.
   */
  heardElsewhere(from: Sender, moves: boolean, now: number): void {
    if (this.paths !== undefined && !this.paths.heardElsewhere(from, moves, now)) return;
    if (!moves) return;
    const known = this.#endpoint;
    this.#endpoint = from.toEndpoint();
    // Heard by another socket or address of this host, it has not moved.
    if (known !== undefined && `${known}` === `${this.#endpoint}`) return;
    this.#context.sink.event?.({ type: "endpoint-changed", peer: this });
  }

  /** @internal A response was sent. */
  answered(now: number): void {
    this.#unconfirmedAnswers++;
    if (this.#unconfirmedAnswers < UNCONFIRMED_ANSWERS) return;
    if (now < this.#unconfirmedReportedAt + REPORT_INTERVAL_MS) return;
    this.#unconfirmedReportedAt = now;
    const answers = this.#unconfirmedAnswers;
    this.#context.sink.event?.({ type: "handshake-unconfirmed", peer: this, answers });
  }

  /** @internal An inner packet was dropped for its source, which is at `offset`. */
  sourceRejected(buffer: Uint8Array, offset: number, version: 4 | 6, now: number): void {
    if (isHostsOwn(buffer, offset, version)) return;
    if (now < this.#sourceReportedAt + REPORT_INTERVAL_MS) {
      this.#unreportedSources++;
      return;
    }
    this.#sourceReportedAt = now;
    const suppressed = this.#unreportedSources;
    this.#unreportedSources = 0;
    const address = buffer.slice(offset, offset + (version === 4 ? 4 : 16));
    this.#context.sink.event?.({ type: "source-rejected", peer: this, address, suppressed });
  }

  /** @internal A session is confirmed. */
  completeHandshake(initiator: boolean): void {
    this.#unconfirmedAnswers = 0;
    this.timers.handshakeComplete();
    this.lastHandshake = this.#context.wallClock();
    this.#context.sink.event?.({ type: "handshake-complete", peer: this, initiator });
  }

  /** @internal §6.2: the initiator renews a key that would soon be too old to receive under. */
  keepFreshReceiving(now: number): void {
    const keypair = this.keypairs.current;
    if (keypair === undefined || !keypair.sendable || !keypair.isInitiator) return;
    const { rejectAfterMs, keepaliveTimeoutMs, rekeyTimeoutMs } = this.#context.settings;
    if (now < keypair.created + rejectAfterMs - keepaliveTimeoutMs - rekeyTimeoutMs) return;
    if (this.timers.takeLastMinuteHandshake()) this.initiate(now);
  }

  /** @internal DH(S^priv, S^pub of the peer), computed on first use; all zero for a low-order key. */
  get staticStatic(): Uint8Array {
    this.#staticStatic ??= this.#context.crypto.x25519.sharedSecret(
      this.#context.identity.privateKey,
      this.publicKey,
    );
    return this.#staticStatic;
  }

  /** @internal Q */
  get presharedKey(): Uint8Array {
    return this.#presharedKey;
  }

  /** @internal */
  get macs(): CookieGenerator {
    this.#macs ??= new CookieGenerator(this.publicKey, this.#context.settings.cookieSecretMs);
    return this.#macs;
  }

  /** @internal TIMESTAMP() */
  nextTimestamp(): Uint8Array {
    this.#timestamps ??= new TimestampSource();
    return this.#timestamps.next(this.#context.wallClock());
  }

  /** @internal */
  giveUpHandshake(_now: number): void {
    this.#context.counters.droppedStaged += this.#staged.clear();
    this.#context.sink.event?.({ type: "handshake-failed", peer: this });
  }

  /** @internal */
  retryingHandshake(attempt: number): void {
    this.#context.sink.event?.({ type: "handshake-retry", peer: this, attempt });
  }

  /** @internal */
  trafficBegan(isKeepalive: boolean, now: number): void {
    this.paths?.trafficBegan(isKeepalive, now);
  }

  /** @internal */
  dataUnanswered(): void {
    this.isSearched = this.otherEndpoints.length > 0;
  }

  /** @internal */
  zeroKeys(): void {
    this.#clearHandshake();
    this.keypairs.clear();
    this.#context.sink.event?.({ type: "session-expired", peer: this });
  }

  /** @internal The device's own key is another one: nothing more may be sent under the old. */
  identityChanged(): void {
    if (this.#staticStatic !== undefined) wipe(this.#staticStatic);
    this.#staticStatic = undefined;
    this.#clearHandshake();
    this.keypairs.expire();
    this.lastSentHandshake = -Infinity;
  }

  /** @internal Forgets everything; the peer is no longer part of the device. */
  destroy(): void {
    this.removed = true;
    this.timers.stop();
    this.#context.initiations.delete(this);
    this.#clearHandshake();
    this.keypairs.clear();
    this.replaceAllowedIps([]);
    this.#context.counters.droppedStaged += this.#staged.clear();
    if (this.#staticStatic !== undefined) wipe(this.#staticStatic);
    this.setPresharedKey(undefined);
  }

  #clearHandshake(): void {
    if (this.pending === undefined) return;
    this.#context.indices.remove(this.pending.localIndex);
    this.pending.noise.destroy();
    this.pending = undefined;
  }

  #sendingKeypair(now: number): Keypair<Peer> | undefined {
    const keypair = this.keypairs.current;
    if (keypair === undefined) return undefined;
    return keypair.maySend(now, this.#context.settings.rejectAfterMs) ? keypair : undefined;
  }

  /**
   * §5.4.6: header, padding and tag around the packet, in place. A keepalive has length 0.
   *
   * @returns whether the sink has taken the buffer, as it only may where `mayTake` says so.
   */
  #seal(
    keypair: Keypair<Peer>,
    endpoint: Endpoint,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
    mayTake: boolean,
  ): boolean {
    const context = this.#context;
    const padded = length + paddingOf(length, context.mtu);
    for (let i = offset + length; i < offset + padded; i++) buffer[i] = 0;
    const start = offset - DATA_HEADER_SIZE;
    const high = keypair.sendHigh;
    const low = keypair.sendLow;
    keypair.advance();
    writeU32(buffer, start + OFFSET_TYPE, TYPE_DATA); // msg.type := 0x4, msg.reserved := 0³
    writeU32(buffer, start + DATA_RECEIVER, keypair.remoteIndex); // msg.receiver := I_m′
    writeU32(buffer, start + DATA_COUNTER, low); // msg.counter := N_m^send
    writeU32(buffer, start + DATA_COUNTER + 4, high);
    keypair.send.seal(high, low, buffer, offset, padded); // msg.packet := AEAD(T, N, P, ε)

    const size = DATA_HEADER_SIZE + padded + TAG_SIZE;
    this.sentBytes += size;
    // A probe by another path keeps nothing alive on this one.
    if (length !== PROBE_SIZE || endpoint === this.#endpoint) {
      this.timers.anyAuthenticatedPacketTraversal(now);
      this.timers.anyAuthenticatedPacketSent();
    }
    if (length === 0) {
      context.counters.keepalivesSent++;
    } else if (length === PROBE_SIZE) {
      context.counters.probesSent++;
    } else {
      context.counters.packetsSent++;
      this.timers.dataSent(now);
    }
    // §6.2: either side after REKEY_AFTER_MESSAGES, only the initiator after REKEY_AFTER_TIME.
    if (
      keypair.isWornOut ||
      (keypair.isInitiator && now >= keypair.created + context.settings.rekeyAfterMs)
    ) {
      this.initiate(now);
    }
    return transmit(context, endpoint, buffer, start, size, mayTake);
  }
}

function prefixKey(prefix: AllowedIp): string {
  const kept = prefix.address.slice();
  for (let i = 0; i < kept.length; i++) {
    kept[i]! &= 0xff << (8 - Math.min(8, Math.max(0, prefix.length - 8 * i)));
  }
  return `${kept.join(".")}/${prefix.length}`;
}

/** At least 0, less than 1. */
function randomFraction(context: Context<Peer>): number {
  const bytes = new Uint8Array(4);
  context.random(bytes);
  return (readI32(bytes, 0) >>> 0) / 2 ** 32;
}
