/**
 * The five timers of a peer (whitepaper §6) and the rules that start and stop them. Names of the
 * rules are those of the kernel's `timers.c`.
 *
 * @module
 */

import type { Deadline, Deadlines } from "./deadlines.ts";
import type { TimerSettings } from "./settings.ts";

/** What the timers make a peer do. */
export interface TimerActions {
  /** Asks for an initiation; ignored while the last one is younger than REKEY_TIMEOUT. */
  requestInitiation(now: number): void;
  sendKeepalive(now: number): void;
  /** No answer for REKEY_ATTEMPT_TIME. */
  giveUpHandshake(now: number): void;
  zeroKeys(now: number): void;
  /** Nothing was heard for long after data was sent: a handshake follows. */
  dataUnanswered(): void;
  /** A handshake is about to be retried for the nth time. */
  retryingHandshake(attempt: number): void;
  /** Something was sent that should be answered, the first since {@link PeerTimers.awaitsTraffic} was set. */
  trafficBegan(isKeepalive: boolean, now: number): void;
}

const NONE = Infinity;

export class PeerTimers implements Deadline {
  heapIndex = -1;
  heapKey = Infinity;

  /** Persistent keepalive in ms; 0 is off. */
  persistentKeepaliveMs = 0;

  /** Whether the next packet that should be answered is reported. Once. */
  awaitsTraffic = false;

  readonly #actions: TimerActions;
  readonly #deadlines: Deadlines;
  readonly #settings: TimerSettings;
  readonly #jitter: () => number;

  #retransmitHandshakeAt = NONE;
  #sendKeepaliveAt = NONE;
  #newHandshakeAt = NONE;
  /** The jitter is drawn when the time without it is over: most data is answered, and a draw costs. */
  #newHandshakeHasJitter = false;
  /** When the data was sent that {@link #newHandshakeAt} stands for. */
  #unansweredSince = NONE;
  #zeroKeysAt = NONE;
  #persistentKeepaliveAt = NONE;

  #attempts = 0;
  /** The retransmit timer stands for an initiation that came too early, not for an unanswered one. */
  #deferred = false;
  #needsAnotherKeepalive = false;
  #sentLastMinuteHandshake = false;
  #stopped = false;

  /** @param jitter Random ms below the setting, fresh at every call. */
  constructor(
    actions: TimerActions,
    deadlines: Deadlines,
    settings: TimerSettings,
    jitter: () => number,
  ) {
    this.#actions = actions;
    this.#deadlines = deadlines;
    this.#settings = settings;
    this.#jitter = jitter;
  }

  /** A data packet, not a keepalive, was sent: something should come back (§6.5). */
  dataSent(now: number): void {
    if (this.#newHandshakeAt !== NONE) return;
    this.#unansweredSince = now;
    if (this.awaitsTraffic) this.#trafficBegan(false, now);
    const { keepaliveTimeoutMs, rekeyTimeoutMs } = this.#settings;
    this.#newHandshakeAt = now + keepaliveTimeoutMs + rekeyTimeoutMs;
    this.#newHandshakeHasJitter = false;
    this.#arm(this.#newHandshakeAt);
  }

  /** When data was sent after which nothing has been heard: the first of it. Infinity for none. */
  get unansweredSince(): number {
    return this.#newHandshakeAt === NONE ? NONE : this.#unansweredSince;
  }

  /** A data packet, not a keepalive, was received: something should go back (§6.5). */
  dataReceived(now: number): void {
    if (this.#sendKeepaliveAt === NONE) {
      this.#sendKeepaliveAt = now + this.#settings.keepaliveTimeoutMs;
      this.#arm(this.#sendKeepaliveAt);
    } else {
      this.#needsAnotherKeepalive = true;
    }
  }

  /** Anything authenticated was sent, a keepalive or a handshake message included. */
  anyAuthenticatedPacketSent(): void {
    this.#sendKeepaliveAt = NONE;
    this.#needsAnotherKeepalive = false;
  }

  /** Anything authenticated was received. */
  anyAuthenticatedPacketReceived(): void {
    this.#newHandshakeAt = NONE;
  }

  /** Anything authenticated went either way: NAT mappings live on until the interval is over again. */
  anyAuthenticatedPacketTraversal(now: number): void {
    if (this.persistentKeepaliveMs > 0) this.armPersistentKeepalive(now);
  }

  armPersistentKeepalive(now: number): void {
    this.#persistentKeepaliveAt = now + this.persistentKeepaliveMs;
    this.#arm(this.#persistentKeepaliveAt);
  }

  /**
   * A question was sent where the peer is, by whoever asks it. It has put the persistent keepalive off, for
   * which whoever is told might otherwise wait while the peer is asked again and again.
   */
  questionSent(now: number): void {
    if (this.awaitsTraffic) this.#trafficBegan(true, now);
  }

  /** As soon as possible: a keepalive interval has just been set. */
  firePersistentKeepalive(now: number): void {
    this.#persistentKeepaliveAt = now;
    this.#arm(now);
  }

  /** A handshake is wanted for a reason other than a retry: the attempts are counted afresh. */
  handshakeWanted(): void {
    this.#attempts = 0;
  }

  handshakeInitiated(now: number): void {
    this.#deferred = false;
    if (this.awaitsTraffic) this.#trafficBegan(false, now);
    this.#retransmitHandshakeAt = now + this.#settings.rekeyTimeoutMs + this.#jitter();
    this.#arm(this.#retransmitHandshakeAt);
  }

  /** An initiation was wanted before its time: it will be tried at `at`, unless a session comes first. */
  handshakeDeferred(at: number): void {
    if (this.#retransmitHandshakeAt !== NONE) return;
    this.#deferred = true;
    this.#retransmitHandshakeAt = at + this.#jitter();
    this.#arm(this.#retransmitHandshakeAt);
  }

  /** Whether an initiation is to be sent, or sent again, by the clock. */
  get isHandshakeRunning(): boolean {
    return this.#retransmitHandshakeAt !== NONE;
  }

  /** A session is confirmed, as either side. */
  handshakeComplete(): void {
    this.#retransmitHandshakeAt = NONE;
    this.#attempts = 0;
    this.#sentLastMinuteHandshake = false;
  }

  /** A session was derived, as either side; a responder's is not confirmed yet. */
  sessionDerived(now: number): void {
    this.#zeroKeysAt = now + this.#settings.zeroKeysMs;
    this.#arm(this.#zeroKeysAt);
  }

  /** Whether the receive-side rekey (§6.2) is still to be done for this key. Says yes once. */
  takeLastMinuteHandshake(): boolean {
    if (this.#sentLastMinuteHandshake) return false;
    this.#sentLastMinuteHandshake = true;
    return true;
  }

  /** Stops everything, for good. */
  stop(): void {
    this.#stopped = true;
    this.#retransmitHandshakeAt = NONE;
    this.#sendKeepaliveAt = NONE;
    this.#newHandshakeAt = NONE;
    this.#zeroKeysAt = NONE;
    this.#persistentKeepaliveAt = NONE;
    this.#deadlines.remove(this);
  }

  nextDeadline(): number {
    if (this.#stopped) return NONE;
    return Math.min(
      this.#retransmitHandshakeAt,
      this.#sendKeepaliveAt,
      this.#newHandshakeAt,
      this.#zeroKeysAt,
      this.#persistentKeepaliveAt,
    );
  }

  handleTimeout(now: number): void {
    if (this.#retransmitHandshakeAt <= now) this.#expiredRetransmitHandshake(now);
    if (this.#sendKeepaliveAt <= now) this.#expiredSendKeepalive(now);
    if (this.#newHandshakeAt <= now) this.#expiredNewHandshake(now);
    if (this.#zeroKeysAt <= now) this.#expiredZeroKeys(now);
    if (this.#persistentKeepaliveAt <= now) this.#expiredPersistentKeepalive(now);
  }

  /** §6.4: retry until REKEY_ATTEMPT_TIME is over. */
  #expiredRetransmitHandshake(now: number): void {
    this.#retransmitHandshakeAt = NONE;
    if (this.#deferred) {
      this.#deferred = false;
      this.#actions.requestInitiation(now);
      return;
    }
    const { rekeyAttemptMs, rekeyTimeoutMs, zeroKeysMs } = this.#settings;
    if (this.#attempts >= Math.floor(rekeyAttemptMs / rekeyTimeoutMs)) {
      this.#sendKeepaliveAt = NONE;
      if (this.#zeroKeysAt === NONE) {
        this.#zeroKeysAt = now + zeroKeysMs;
        this.#arm(this.#zeroKeysAt);
      }
      this.#actions.giveUpHandshake(now);
      return;
    }
    this.#attempts++;
    this.#actions.retryingHandshake(this.#attempts);
    this.#actions.requestInitiation(now);
  }

  #expiredSendKeepalive(now: number): void {
    this.#sendKeepaliveAt = NONE;
    const another = this.#needsAnotherKeepalive;
    this.#actions.sendKeepalive(now);
    if (!another) return;
    this.#sendKeepaliveAt = now + this.#settings.keepaliveTimeoutMs;
    this.#arm(this.#sendKeepaliveAt);
  }

  #expiredNewHandshake(now: number): void {
    if (!this.#newHandshakeHasJitter) {
      this.#newHandshakeHasJitter = true;
      this.#newHandshakeAt += this.#jitter();
      this.#arm(this.#newHandshakeAt);
      if (this.#newHandshakeAt > now) return;
    }
    this.#newHandshakeAt = NONE;
    this.#attempts = 0;
    this.#actions.dataUnanswered();
    this.#actions.requestInitiation(now);
  }

  #expiredZeroKeys(now: number): void {
    this.#zeroKeysAt = NONE;
    this.#actions.zeroKeys(now);
  }

  #expiredPersistentKeepalive(now: number): void {
    this.#persistentKeepaliveAt = NONE;
    if (this.persistentKeepaliveMs === 0) return;
    this.armPersistentKeepalive(now); // also when nothing can be sent just now
    this.#actions.sendKeepalive(now);
    if (this.awaitsTraffic) this.#trafficBegan(true, now);
  }

  #trafficBegan(isKeepalive: boolean, now: number): void {
    this.awaitsTraffic = false;
    this.#actions.trafficBegan(isKeepalive, now);
  }

  #arm(at: number): void {
    if (!this.#stopped) this.#deadlines.arm(this, at);
  }
}
