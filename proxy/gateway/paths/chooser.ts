/**
 * The choice between the paths to one peer: UDP, and the fallbacks of its configuration in their order.
 * Told what happens and what time it is, it says what is to be done; it sends and opens nothing itself.
 *
 * What it knows. WireGuard answers data with data, or after ten seconds with a keepalive: silence for a
 * second says little, and what is heard says nothing of the other direction. So a path is asked by a
 * probe (`wireguard/probe.ts`), inside the session: cheap, answered at once, by the way it came, and
 * moving nobody. Who does not answer may also have lost the session: a handshake is tried as well.
 *
 * Calm: nothing was sent that waits for an answer. Nothing is asked, nothing opened; no timer runs. A
 * persistent keepalive comes with a question, since the peer wants to be reached by this path.
 *
 * Watching: packets pass. A second without proof of both directions: the path is asked, and again until
 * it answers. The path is in doubt since the first question, or the first data, that nothing has
 * answered. Two seconds of doubt and one of silence: it is lost. While other packets still come it may
 * only be slow, and has four seconds. A little before, the first fallback is connected: on a machine with
 * much to do the handshakes for it take longer than the rest of a switch.
 *
 * Racing: every other path is tried beside it, fallbacks in their order, each with a head start. A
 * fallback is given a handshake at once: it works whatever the other side remembers, and moves that
 * side there. The first path that brings anything authentic is used from then on, and claimed, so that
 * the peer sends there too. If the doubted one answers first, it stays. If nobody answers, the race goes
 * on slowly, until WireGuard gives its handshake up; then everything is closed, and UDP is first again.
 *
 * Coming back. While a fallback is used, and there is traffic, UDP is asked: one question, and if that is
 * answered four more. Four answers of five, and it is taken back; the fallback stays open a while.
 * `return_wait.ts` says when it is tried again.
 *
 * The other side needs none of this. It answers probes, and sends where it heard the newest packet that
 * is no question. Asking by UDP therefore takes nobody from a stream that works, though packets pass in
 * one direction only.
 *
 * @module
 */

import { PROBE_DATAGRAM_SIZE } from "../../../wireguard/protocol.ts";
import { ReturnTrial } from "./return_trial.ts";
import { ReturnWait } from "./return_wait.ts";
import type { ChooserSettings, PathLimits } from "./settings.ts";

/** Of a fallback, as `StreamState`. UDP is open, or closed while the peer's address is not known. */
export type PathState = "closed" | "connecting" | "open" | "waiting";

/**
 * `unanswered`: nothing came back by the path before. `lost`: its connection ended. `returned`: UDP
 * answers again. `unknown`: its address is not found. `given-up`: nothing answered anywhere, and what is
 * tried first is in use again.
 */
export type SwitchReason = "unanswered" | "lost" | "returned" | "unknown" | "given-up";

/** What the chooser does. Paths are numbers: 0 is UDP, then the fallbacks. */
export interface PathActions {
  /** Asks by a path. @returns false if there is no session to ask under. */
  probe(path: number, id: number, claims: boolean): boolean;
  /** Starts a handshake by a path, however recent the last. */
  initiate(path: number): void;
  open(path: number): void;
  close(path: number): void;
  /** Everything that is sent from now on goes by `path`. */
  use(path: number, reason: SwitchReason): void;
  /** A fallback is in use, and UDP did not answer. */
  udpFailed(): void;
}

/** What the chooser looks at. */
export interface PathView {
  /** When data was sent after which nothing has been heard by any path, the first of it; else Infinity. */
  readonly unansweredSince: number;
  /** Whole datagrams of the peer. */
  readonly receivedBytes: number;
  /** Whether packets can be sent without a handshake. */
  hasSession(now: number): boolean;
  /** Has {@link PathChooser.trafficBegan} called once, for what is sent next. */
  awaitTraffic(): void;
}

/** A claim that is heard elsewhere all the same may be repeated after this. */
const CLAIM_AGAIN_MS = 1_000;
/** Where the numbers of its questions begin: others who ask the same peer, such as `Twins`, have lower ones. */
const FIRST_ID = 2 ** 31;
/** Questions after which a peer that has never answered one is asked less often. */
const MOST_UNANSWERED = 20;

class Path {
  state: PathState;
  /** The first question, or handshake, that was not answered. */
  askedAt = Infinity;
  lastAskedAt = -Infinity;
  initiatedAt = -Infinity;
  /** When packets were last known to pass both ways. */
  provenAt = -Infinity;
  /** When it is opened, in a race. */
  openAt = Infinity;
  /** When it is closed, if it is not used. */
  closeAt = Infinity;

  constructor(state: PathState) {
    this.state = state;
  }
}

export class PathChooser {
  /** The path in use. */
  current = 0;
  readonly #settings: ChooserSettings;
  readonly #view: PathView;
  readonly #actions: PathActions;
  readonly #paths: readonly Path[];
  readonly #wait: ReturnWait;
  #phase: "calm" | "watching" | "racing" = "calm";
  /** When this phase began. */
  #beganAt = 0;
  #checkAt = Infinity;
  /** Why there is a race. */
  #why: "unanswered" | "lost" = "unanswered";
  #initiatedAt = -Infinity;
  #trial: ReturnTrial | undefined;
  /** Whether the peer is still to be told that the path in use is to be used by it too. */
  #claims = false;
  /** The first question that was a claim. */
  #claimId = 0;
  #claimedAt = -Infinity;
  /** The path in use is to be asked, in doubt or not. */
  #mustAsk = false;
  /** Other implementations do not: nothing follows from their silence. */
  #answersProbes = false;
  #questions = 0;
  /** {@link PathView.receivedBytes} when the path in use was last asked, and the answers since. */
  #receivedBytes = 0;
  #answers = 0;
  /** When it was seen last that {@link PathView.receivedBytes} has grown, and to what. */
  #silentSince = -Infinity;
  #heardBytes = 0;
  #lastId = FIRST_ID;

  /** @param fallbacks How many there are, closed. At least one. */
  constructor(
    fallbacks: number,
    view: PathView,
    actions: PathActions,
    settings: ChooserSettings,
  ) {
    this.#settings = settings;
    this.#view = view;
    this.#actions = actions;
    const streams = Array.from({ length: fallbacks }, () => new Path("closed"));
    this.#paths = [new Path("open"), ...streams];
    this.#wait = new ReturnWait(settings);
    view.awaitTraffic();
  }

  /** Something was sent that should be answered. @param isKeepalive A keepalive is not: the path is asked. */
  trafficBegan(isKeepalive: boolean, now: number): void {
    if (this.#phase !== "calm") return;
    this.#watch(now);
    if (!isKeepalive) return;
    this.#mustAsk = true;
    this.#checkAt = now;
  }

  /** Something authentic came by another path. @param moves Whether the peer sends there now. */
  heard(path: number, moves: boolean, now: number): void {
    if (path === this.current) return;
    if (this.#phase === "racing") {
      this.#use(path, this.#why, now);
    } else if (moves && now >= this.#claimedAt + CLAIM_AGAIN_MS) {
      this.#claim(now); // it has not heard yet that it should send elsewhere
    }
  }

  probeAnswered(path: number, id: number, now: number): void {
    this.#answersProbes = true;
    this.#answers++;
    if (this.#trial?.answered(id, now)) this.#checkAt = Math.min(this.#checkAt, now);
    if (path === this.current && this.#claims && id >= this.#claimId) {
      this.#claims = false;
      this.#claimedAt = now;
    }
    this.#proven(path, now);
  }

  handshakeAnswered(path: number, now: number): void {
    this.#proven(path, now);
  }

  /** A handshake was not answered for so long that WireGuard tries no more. */
  handshakeGivenUp(now: number): void {
    const first = this.#paths[0]!.state === "open" ? 0 : 1;
    if (this.current !== first) this.#use(first, "given-up", now);
    this.#closeAll();
    this.#claims = false;
    this.#wait.at = Infinity;
    this.#calm();
  }

  /** The peer's address is known, or is not. */
  udpChanged(isKnown: boolean, now: number): void {
    const udp = this.#paths[0]!;
    if (isKnown === (udp.state === "open")) return;
    udp.state = isKnown ? "open" : "closed";
    if (!isKnown && this.current === 0) {
      this.#use(1, "unknown", now);
      this.#claims = false; // it is opened when there is something to send
      this.#calm();
    }
    if (isKnown && this.current !== 0) this.#wait.at = now;
  }

  /** The connection of a fallback is another one, or is no more. */
  carrierChanged(index: number, state: PathState, now: number): void {
    const path = this.#paths[index]!;
    path.state = state;
    if (state === "open") {
      path.lastAskedAt = path.initiatedAt = -Infinity;
      // The peer knows the connection before, if any.
      if (index === this.current) this.#claim(now);
    } else if (state === "waiting" && this.#phase === "racing") {
      const next = this.#paths.find(({ openAt }) => openAt > now && openAt < Infinity);
      if (next !== undefined) next.openAt = now;
    }
    if (this.#phase !== "calm") this.#checkAt = Math.min(this.#checkAt, now);
  }

  /** Closes what it has opened. */
  close(): void {
    for (let i = 1; i < this.#paths.length; i++) this.#actions.close(i);
    this.#phase = "calm";
    this.#checkAt = Infinity;
    this.#trial = undefined;
  }

  /** When {@link handleTimeout} is due, ms; Infinity for never. Reads a few numbers. */
  pollTimeout(): number {
    let next = this.#checkAt;
    for (let i = 1; i < this.#paths.length; i++) next = Math.min(next, this.#paths[i]!.closeAt);
    return next;
  }

  handleTimeout(now: number): void {
    this.#closeIdle(now);
    if (now < this.#checkAt) return;
    this.#checkAt = Infinity;
    if (this.#phase === "watching") this.#check(now);
    else if (this.#phase === "racing") this.#race(now);
    if (this.#trial !== undefined) this.#try(now);
  }

  get #limits(): PathLimits {
    return this.current === 0 ? this.#settings.udp : this.#settings.stream;
  }

  /** How soon the path in use is asked again. */
  get #againMs(): number {
    const { againMs, askAfterMs } = this.#limits;
    return this.#answersProbes || this.#questions < MOST_UNANSWERED ? againMs : askAfterMs;
  }

  #watch(now: number): void {
    this.#phase = "watching";
    this.#beganAt = now;
    const isThere = this.#paths[this.current]!.state === "open" && !this.#claims;
    this.#checkAt = isThere ? now + this.#limits.askAfterMs : now;
  }

  #calm(): void {
    this.#phase = "calm";
    this.#checkAt = Infinity;
    this.#view.awaitTraffic();
  }

  #proven(index: number, now: number): void {
    const path = this.#paths[index]!;
    path.provenAt = now;
    path.askedAt = Infinity;
    if (index !== this.current) return;
    if (this.#phase === "racing") this.#endRace(now);
  }

  /** Looks at the path in use. */
  #check(now: number): void {
    const path = this.#paths[this.current]!;
    const limits = this.#limits;
    if (path.state !== "open") {
      this.#beginRace("lost", now);
      return;
    }
    const againMs = this.#againMs;
    if (this.#mustAsk || this.#claims && now >= path.lastAskedAt + againMs) {
      this.#mustAsk = false;
      this.#ask(this.current, now);
    }
    const doubt = this.#doubtSince(now);
    this.#listen(now);
    if (!this.#hasReceived() && doubt === Infinity) {
      if (this.#trial === undefined) this.#calm();
      this.#tryToReturn(now);
      return;
    }
    const lostAt = Math.max(doubt + limits.leaveAfterMs, this.#silentAt);
    if (now >= lostAt) {
      this.#beginRace("unanswered", now);
      return;
    }
    const prepareAt = lostAt - limits.prepareMs;
    if (now >= prepareAt) this.#prepare(now);
    const since = Math.max(path.provenAt, this.#beganAt) + limits.askAfterMs;
    if (now >= Math.max(since, path.lastAskedAt + againMs)) this.#ask(this.current, now);
    // The session may be what is lost.
    const isStale = now >= doubt + limits.leaveAfterMs * 5 / 8;
    if (isStale && now >= path.initiatedAt + this.#settings.handshakeMs) {
      this.#initiate(this.current, now);
    }
    const again = this.#claims ? path.lastAskedAt : Math.max(since - againMs, path.lastAskedAt);
    const next = now < prepareAt ? prepareAt : lostAt;
    this.#checkAt = Math.max(now + 1, Math.min(again + againMs, next));
    this.#tryToReturn(now);
  }

  /** Connects what would be tried first. It is closed again if it is not. */
  #prepare(now: number): void {
    const index = this.current === 1 ? 2 : 1;
    const path = this.#paths[index];
    if (path === undefined) return;
    path.closeAt = now + this.#settings.lingerMs;
    if (path.state === "closed") this.#actions.open(index);
  }

  #listen(now: number): void {
    const { receivedBytes } = this.#view;
    if (receivedBytes !== this.#heardBytes) this.#silentSince = now;
    this.#heardBytes = receivedBytes;
  }

  /** Whether anything but answers has come since it was last asked. */
  #hasReceived(): boolean {
    const received = this.#view.receivedBytes - this.#receivedBytes;
    return received > this.#answers * PROBE_DATAGRAM_SIZE;
  }

  /** Since when the path in use has been in doubt; Infinity if it is not. */
  #doubtSince(now: number): number {
    const { unansweredSince } = this.#view;
    const { askedAt } = this.#paths[this.current]!;
    const asked = this.#answersProbes ? askedAt : Infinity;
    if (this.#view.hasSession(now)) return Math.min(unansweredSince, asked);
    return Math.min(unansweredSince, askedAt, this.#beganAt);
  }

  /** When the path in use has been silent for long enough, if nothing is heard until then. */
  get #silentAt(): number {
    const { silentMs, patienceMs } = this.#limits;
    const { unansweredSince } = this.#view;
    const { askedAt } = this.#paths[this.current]!;
    const asked = this.#answersProbes ? askedAt : Infinity;
    return Math.min(Math.min(unansweredSince, this.#silentSince) + silentMs, asked + patienceMs);
  }

  #beginRace(why: "unanswered" | "lost", now: number): void {
    this.#phase = "racing";
    this.#why = why;
    this.#beganAt = now;
    this.#trial = undefined;
    let openAt = now;
    this.#paths.forEach((path, i) => {
      if (i !== this.current) path.lastAskedAt = path.initiatedAt = -Infinity;
      if (i === 0) return;
      path.closeAt = Infinity;
      path.openAt = i === this.current ? now : openAt;
      if (i !== this.current) openAt += this.#settings.nextFallbackMs;
    });
    this.#race(now);
  }

  /** A round of the race: whoever can answer is asked. */
  #race(now: number): void {
    const { udp, handshakeMs, slowAfterMs, slowMs, giveUpMs } = this.#settings;
    if (now >= this.#beganAt + giveUpMs) {
      this.handshakeGivenUp(now);
      return;
    }
    const isSlow = now >= this.#beganAt + slowAfterMs;
    const everyMs = isSlow ? slowMs : udp.againMs;
    this.#paths.forEach((path, i) => {
      if (path.openAt <= now && path.state === "closed") this.#actions.open(i);
      if (path.state !== "open") return;
      if (now >= path.lastAskedAt + everyMs) this.#ask(i, now);
      if (now >= path.initiatedAt + handshakeMs) this.#initiate(i, now);
    });
    const next = this.#paths.map(({ openAt }) => openAt).filter((openAt) => openAt > now);
    this.#checkAt = Math.min(now + everyMs, ...next);
  }

  /** The path in use works after all. */
  #endRace(now: number): void {
    // A handshake by another path may have moved the peer there.
    const isElsewhere = this.#paths.some(({ initiatedAt }, i) =>
      i !== this.current && initiatedAt > -Infinity
    );
    this.#linger(now);
    this.#watch(now);
    if (isElsewhere) this.#claim(now);
  }

  #use(index: number, reason: SwitchReason, now: number): void {
    const before = this.current;
    this.current = index;
    this.#trial = undefined;
    for (const path of this.#paths) path.askedAt = Infinity;
    this.#paths[index]!.provenAt = now;
    if (index === 0) this.#wait.returned(now);
    else if (before === 0) this.#wait.left(now);
    this.#linger(now);
    this.#watch(now);
    this.#claim(now);
    this.#actions.use(index, reason);
  }

  /** The peer is asked to send by the path in use. */
  #claim(now: number): void {
    if (!this.#claims) this.#claimId = this.#lastId + 1;
    this.#claims = true;
    this.#paths[this.current]!.lastAskedAt = -Infinity;
    if (this.#phase === "calm") this.#watch(now);
    else this.#checkAt = Math.min(this.#checkAt, now);
  }

  /** The race is over: what is not used is closed, later. */
  #linger(now: number): void {
    this.#paths.forEach((path, i) => {
      path.openAt = Infinity;
      const isOpen = i > 0 && i !== this.current && path.state !== "closed";
      path.closeAt = isOpen ? now + this.#settings.lingerMs : Infinity;
    });
  }

  #closeIdle(now: number): void {
    for (let i = 1; i < this.#paths.length; i++) {
      const path = this.#paths[i]!;
      if (path.closeAt > now) continue;
      path.closeAt = Infinity;
      this.#actions.close(i);
    }
  }

  #closeAll(): void {
    this.#paths.forEach((path, i) => {
      path.openAt = path.closeAt = Infinity;
      if (i > 0 && path.state !== "closed") this.#actions.close(i);
    });
  }

  #ask(index: number, now: number): void {
    const path = this.#paths[index]!;
    path.lastAskedAt = now;
    this.#questions++;
    if (index === this.current) {
      this.#receivedBytes = this.#view.receivedBytes;
      this.#answers = 0;
    }
    if (this.#actions.probe(index, this.#nextId(), this.#claims && index === this.current)) {
      path.askedAt = Math.min(path.askedAt, now);
    } else if (now >= path.initiatedAt + this.#settings.handshakeMs) {
      this.#initiate(index, now);
    }
  }

  /** One at a time: the next takes the place of the one before, whose answer is not understood then. */
  #initiate(index: number, now: number): void {
    const isOther = index > 0 && this.#phase === "racing";
    if (isOther && now < this.#initiatedAt + this.#settings.nextFallbackMs / 2) return;
    if (isOther) this.#initiatedAt = now;
    const path = this.#paths[index]!;
    path.initiatedAt = now;
    path.askedAt = Math.min(path.askedAt, now);
    this.#actions.initiate(index);
  }

  /** Tries UDP, if a fallback is in use and it is time. */
  #tryToReturn(now: number): void {
    if (this.current === 0 || this.#paths[0]!.state !== "open") return;
    if (this.#trial !== undefined) return;
    if (now >= this.#wait.at) {
      this.#trial = new ReturnTrial(this.#settings.trial);
    } else if (this.#phase === "watching") {
      this.#checkAt = Math.min(this.#checkAt, this.#wait.at);
    }
  }

  #try(now: number): void {
    const trial = this.#trial!;
    let step = trial.step(now);
    if (step === "ask") {
      const id = this.#nextId();
      if (this.#actions.probe(0, id, false)) trial.asked(id, now);
      else step = "failed";
    }
    if (step === "passed") {
      this.#use(0, "returned", now);
    } else if (step === "failed") {
      this.#trial = undefined;
      this.#wait.failed(now);
      this.#actions.udpFailed();
      this.#checkAt = Math.min(this.#checkAt, now);
      if (this.#phase === "calm") this.#calm();
    } else {
      this.#checkAt = Math.min(this.#checkAt, trial.nextAt(now));
    }
  }

  #nextId(): number {
    if (++this.#lastId === 2 ** 32) this.#lastId = FIRST_ID;
    return this.#lastId;
  }
}
