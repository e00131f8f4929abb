/**
 * A peer and a hub with several paths between them, as little of both as the choice of a path depends on,
 * in simulated time. Whole engines are in `tests/sim/paths_test.ts`.
 *
 * @module
 */

import assert from "node:assert/strict";
import {
  type PathActions,
  PathChooser,
  type PathState,
  type SwitchReason,
} from "../../../../proxy/gateway/paths/chooser.ts";
import {
  CHOOSER_SETTINGS,
  type ChooserSettings,
} from "../../../../proxy/gateway/paths/settings.ts";
import { PROBE_DATAGRAM_SIZE } from "../../../../wireguard/mod.ts";
import { EventQueue, type SimEvent } from "../../../sim/event_queue.ts";
import { Random } from "../../../sim/random.ts";

/** What a path does to packets at the moment. */
export interface Line {
  up: boolean;
  down: boolean;
  /** Of each packet, each way. UDP alone: a stream repeats what is lost. */
  loss: number;
  /** One way, ms. */
  delay: number;
}

interface Packet {
  readonly type: "initiation" | "response" | "question" | "claim" | "answer" | "data";
  /** Of a probe. */
  readonly id?: number;
  /** Of what is sent in a session. */
  readonly order?: number;
}

interface Call extends SimEvent {
  run(): void;
}

interface Connection {
  state: PathState;
  /** Distinguishes one from the next. */
  number: number;
  failures: number;
}

const DIAL_LIMIT = 5_000;
const SILENT_MS = 12_000;
const REKEY_TIMEOUT = 5_000;
const REKEY_ATTEMPTS = 18;
const FIRST_RTO = 220;

export class World {
  now = 0;
  readonly lines: Line[];
  readonly chooser: PathChooser;
  /** What was used, since when and why. */
  readonly switches: { at: number; path: number; reason: SwitchReason }[] = [];
  /** Dials of fallbacks. */
  dials = 0;
  questions = 0;
  handshakes = 0;
  /** Whether each side has a session; the hub loses its own when it is restarted. */
  session = false;
  hubSession = false;
  /** Where the hub sends to. */
  hubAt = -1;
  answersProbes = true;
  isHubUp = true;
  /** When data last arrived at the client. */
  receivedAt = 0;
  /** The longest time without, during a download. */
  stall = 0;
  readonly #random: Random;
  readonly #queue = new EventQueue<Call>();
  readonly #connections: Connection[];
  #order = 0;
  #sent = 0;
  #hubHeard = -1;
  #awaits = false;
  #unansweredSince = Infinity;
  #handshakeAt = -Infinity;
  #handshakeAttempts = 0;
  #isHandshaking = false;
  #receivedBytes = 0;
  #hubSent = 0;
  #acked = 0;
  #rto = FIRST_RTO;

  constructor(seed: number, fallbacks = 1, settings: ChooserSettings = CHOOSER_SETTINGS) {
    this.#random = new Random(seed);
    this.lines = Array.from({ length: fallbacks + 1 }, () => ({
      up: true,
      down: true,
      loss: 0,
      delay: 20,
    }));
    this.#connections = this.lines.map((_, i) => ({
      state: i === 0 ? "open" as const : "closed" as const,
      number: 0,
      failures: 0,
    }));
    const world = this as World;
    const actions: PathActions = {
      probe: (path, id, claims) => {
        assert.equal(world.#connections[path]!.state, "open", "asked by a path that is not there");
        if (!world.session) return false;
        world.questions++;
        world.#send(path, { type: claims ? "claim" : "question", id, order: world.#sent++ });
        return true;
      },
      initiate: (path) => {
        assert.equal(world.#connections[path]!.state, "open");
        world.#initiate(path);
      },
      open: (path) => world.#open(path),
      close: (path) => world.#setState(path, "closed"),
      udpFailed() {},
      use: (path, reason) => world.switches.push({ at: world.now, path, reason }),
    };
    const view = {
      get unansweredSince() {
        return world.#unansweredSince;
      },
      get receivedBytes() {
        return world.#receivedBytes;
      },
      hasSession: () => world.session,
      awaitTraffic: () => {
        world.#awaits = true;
      },
    };
    this.chooser = new PathChooser(fallbacks, view, actions, settings);
  }

  /** Nothing passes, or everything. */
  set(path: number, isUp: boolean): void {
    Object.assign(this.lines[path]!, { up: isUp, down: isUp });
  }

  state(path: number): PathState {
    return this.#connections[path]!.state;
  }

  /** Of the path in use, and why it is in use. */
  get last() {
    const last = this.switches.at(-1);
    return last && [last.path, last.reason];
  }

  after(delay: number, run: () => void): void {
    this.#queue.push({ at: this.now + delay, order: this.#order++, run });
  }

  /** The client sends a packet that the hub answers, with as many. */
  request(answers = 1): void {
    if (!this.session) {
      if (!this.#isHandshaking) this.#handshake();
      return;
    }
    this.#sendData(() => {
      for (let i = 0; i < answers; i++) this.#hubSend(() => {});
    });
  }

  /** A packet each `every` ms, for `ms`. */
  requests(every: number, ms: number, answers = 1): void {
    for (let at = 0; at < ms; at += every) this.after(at, () => this.request(answers));
  }

  /** The hub sends without end, as TCP does: eight segments unacknowledged, then it waits and repeats. */
  download(): void {
    this.receivedAt = this.now;
    this.#pump();
    this.#retransmitLater();
  }

  run(ms: number): void {
    const end = this.now + ms;
    for (let rounds = 0; rounds < 1e6; rounds++) {
      const due = this.chooser.pollTimeout();
      const next = Math.min(due, this.#queue.next());
      if (next > end) {
        this.now = end;
        return;
      }
      this.now = Math.max(this.now, next);
      if (due <= next) {
        this.chooser.handleTimeout(this.now);
        const again = this.chooser.pollTimeout();
        if (again > this.now) continue;
        this.chooser.handleTimeout(this.now);
        this.chooser.handleTimeout(this.now);
        assert.ok(this.chooser.pollTimeout() > this.now, "it asks to be called without end");
      } else {
        this.#queue.pop()!.run();
      }
    }
    assert.fail("too much happens");
  }

  restartHub(): void {
    this.hubSession = false;
    this.hubAt = -1;
    this.#hubHeard = -1;
    for (let i = 1; i < this.lines.length; i++) {
      if (this.state(i) === "open") this.#fail(i);
    }
  }

  #passes(path: number, isUp: boolean): boolean {
    const line = this.lines[path]!;
    if (!this.isHubUp || !(isUp ? line.up : line.down)) return false;
    return path > 0 ? this.state(path) === "open" : !this.#random.chance(line.loss);
  }

  #send(path: number, packet: Packet, arrived = () => {}): void {
    if (!this.#passes(path, true)) return;
    const { number } = this.#connections[path]!;
    this.after(this.lines[path]!.delay, () => {
      if (this.#connections[path]!.number !== number) return;
      this.#hubReceive(path, packet);
      arrived();
    });
  }

  #hubReceive(path: number, packet: Packet): void {
    if (packet.type === "initiation") {
      this.hubSession = true;
      this.hubAt = path;
      this.#hubReply(path, { type: "response" });
      return;
    }
    if (!this.hubSession || packet.type === "response" || packet.type === "answer") return;
    const isNewest = packet.order! > this.#hubHeard;
    if (isNewest) this.#hubHeard = packet.order!;
    if (packet.type !== "question" && isNewest) this.hubAt = path;
    if (packet.type !== "data" && this.answersProbes) {
      this.#hubReply(path, { type: "answer", id: packet.id!, order: this.#hubSent++ });
    }
  }

  #hubReply(path: number, packet: Packet, arrived = () => {}): void {
    if (!this.#passes(path, false)) return;
    const { number } = this.#connections[path]!;
    this.after(this.lines[path]!.delay, () => {
      if (this.#connections[path]!.number !== number) return;
      this.#receive(path, packet);
      arrived();
    });
  }

  #receive(path: number, packet: Packet): void {
    const { chooser, now } = this;
    if (packet.type === "response" && !this.#isHandshaking) return;
    if (packet.type !== "response" && !this.session) return;
    this.#receivedBytes += packet.type === "answer" ? PROBE_DATAGRAM_SIZE : 100;
    chooser.heard(path, packet.type !== "answer", now);
    this.#unansweredSince = Infinity;
    if (packet.type === "response") {
      this.#isHandshaking = false;
      this.session = true;
      chooser.handshakeAnswered(path, now);
    } else if (packet.type === "answer") {
      chooser.probeAnswered(path, packet.id!, now);
    }
  }

  #sendData(arrived = () => {}): void {
    const path = this.chooser.current;
    if (this.#unansweredSince === Infinity) {
      this.#unansweredSince = this.now;
      this.#traffic();
    }
    this.#send(path, { type: "data", order: this.#sent++ }, () => {
      if (this.hubSession) arrived();
    });
  }

  #hubSend(arrived: () => void): void {
    if (this.hubAt < 0 || !this.hubSession) return;
    this.#hubReply(this.hubAt, { type: "data", order: this.#hubSent++ }, arrived);
  }

  #traffic(): void {
    if (!this.#awaits) return;
    this.#awaits = false;
    this.chooser.trafficBegan(false, this.now);
  }

  #initiate(path: number): void {
    this.handshakes++;
    this.#isHandshaking = true;
    this.#handshakeAt = this.now;
    this.#send(path, { type: "initiation" });
  }

  /** WireGuard's own, every five seconds by the path in use. */
  #handshake(): void {
    this.#traffic();
    if (this.now >= this.#handshakeAt + REKEY_TIMEOUT) {
      this.#initiate(this.chooser.current);
      this.#handshakeAttempts++;
    }
    const started = this.#handshakeAt;
    this.after(started + REKEY_TIMEOUT - this.now, () => {
      if (!this.#isHandshaking) {
        this.#handshakeAttempts = 0;
      } else if (this.#handshakeAttempts > REKEY_ATTEMPTS) {
        this.#isHandshaking = false;
        this.#handshakeAttempts = 0;
        this.chooser.handshakeGivenUp(this.now);
      } else {
        this.#handshake();
      }
    });
  }

  #pump(): void {
    while (this.#hubSending - this.#acked < 8 && this.hubAt >= 0) {
      const segment = this.#hubSending++;
      this.#hubSend(() => this.#segment(segment));
    }
  }

  #hubSending = 0;

  #segment(segment: number): void {
    this.stall = Math.max(this.stall, this.now - this.receivedAt);
    this.receivedAt = this.now;
    this.#sendData(() => {
      this.#acked = Math.max(this.#acked, segment + 1);
      this.#rto = FIRST_RTO;
      this.after(1, () => this.#pump());
    });
  }

  #retransmitLater(): void {
    const acked = this.#acked;
    this.after(this.#rto, () => {
      if (acked === this.#acked) {
        this.#rto *= 2;
        this.#hubSend(() => this.#segment(acked));
      }
      this.#retransmitLater();
    });
  }

  #open(path: number): void {
    assert.equal(this.state(path), "closed");
    this.#dial(path);
  }

  #dial(path: number): void {
    this.dials++;
    this.#setState(path, "connecting");
    const { number } = this.#connections[path]!;
    const line = this.lines[path]!;
    const isThere = line.up && line.down && this.isHubUp;
    this.after(isThere ? 6 * line.delay : DIAL_LIMIT, () => {
      if (this.#connections[path]!.number !== number) return;
      if (!isThere) return this.#fail(path);
      this.#connections[path]!.failures = 0;
      this.#setState(path, "open");
      this.#heartbeat(path);
    });
  }

  /** It is noticed after a while when nothing passes any more. */
  #heartbeat(path: number, silent = 0): void {
    const { number } = this.#connections[path]!;
    this.after(1_000, () => {
      if (this.#connections[path]!.number !== number) return;
      const since = this.lines[path]!.down && this.lines[path]!.up ? 0 : silent + 1_000;
      if (since >= SILENT_MS) this.#fail(path);
      else this.#heartbeat(path, since);
    });
  }

  #fail(path: number): void {
    const connection = this.#connections[path]!;
    this.#setState(path, "waiting");
    const { number } = connection;
    const delay = this.#random.next() * Math.min(60_000, 1_000 * 2 ** connection.failures++);
    this.after(delay, () => {
      if (connection.number === number) this.#dial(path);
    });
  }

  #setState(path: number, state: PathState): void {
    const connection = this.#connections[path]!;
    if (connection.state === state) return;
    connection.state = state;
    connection.number++;
    this.chooser.carrierChanged(path, state, this.now);
  }
}
