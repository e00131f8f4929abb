import { type Link, LINK_HEADROOM, LINK_TAILROOM } from "../../netstack/link.ts";
import type { Sim } from "./network.ts";

/** What one direction of a link does to packets. Everything unset: nothing, at once. */
export interface Impairments {
  /** One-way delay, ms. */
  delay?: number;
  /** Added to the delay, uniform in [0, jitter) and for each packet anew, so it also reorders. */
  jitter?: number;
  /** Probability of a packet's loss, independent. */
  loss?: number;
  /** Probability that a packet is overtaken by the next {@link reorderBy} (a uniform choice). */
  reorder?: number;
  /** Most places a packet falls back. */
  reorderBy?: number;
  /** Probability that a packet arrives twice. */
  duplicate?: number;
  /** Probability that one bit of a packet is flipped. */
  corrupt?: number;
  /** Bits of IP packets per second. */
  rate?: number;
  /** Packets that may wait for the rate; more are dropped. */
  queue?: number;
}

export interface LinkOptions {
  /** Both ends, bytes. */
  mtu?: number;
  /** Transmit slots of each end. They are free again when the turn ends. */
  slots?: number;
  /** Both directions, unless given apart. */
  impairments?: Impairments;
  aToB?: Impairments;
  bToA?: Impairments;
}

/** Called for every packet that is sent, before anything happens to it. */
export type Tap = (
  now: number,
  from: SimPort,
  buffer: Uint8Array,
  offset: number,
  length: number,
) => void;

export type Receiver = (buffer: Uint8Array, offset: number, length: number, now: number) => void;

/** Two ends and what is between them. */
export class SimLink {
  readonly a: SimPort;
  readonly b: SimPort;
  tap?: Tap;

  /** Made by {@link Sim.link}. */
  constructor(sim: Sim, options: LinkOptions) {
    const { mtu = 1500, slots = 256, impairments = {} } = options;
    this.a = new SimPort(sim, this, mtu, slots, options.aToB ?? impairments);
    this.b = new SimPort(sim, this, mtu, slots, options.bToA ?? impairments);
    this.a.other = this.b;
    this.b.other = this.a;
  }
}

/** What happened to the packets that one end sent. */
export class PortCounters {
  sent = 0;
  delivered = 0;
  lost = 0;
  /** No room in the queue before the rate. */
  overflowed = 0;
  reordered = 0;
  duplicated = 0;
  corrupted = 0;
}

/** A packet under way. */
export class Flight {
  at = 0;
  order = 0;
  length = 0;
  to: SimPort | undefined;
  readonly bytes: Uint8Array;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }
}

/** A packet held back until others have passed it. */
interface Held {
  readonly flight: Flight;
  /** How many still have to. */
  places: number;
}

/** How long a packet waits at most for those that shall overtake it, ms. */
const REORDER_HOLD = 20;

/** One end of a {@link SimLink}: the link of a NIC. As strict as a test wants its links. */
export class SimPort implements Link {
  readonly buffer: Uint8Array;
  readonly counters = new PortCounters();
  /** Takes what arrives at this end. */
  receive: Receiver = () => {};
  impairments: Impairments;
  other!: SimPort;

  readonly #sim: Sim;
  readonly #link: SimLink;
  readonly #mtu: number;
  readonly #slotSize: number;
  /** Slots free now, those that are free when the turn ends, and which are out. */
  readonly #free: number[] = [];
  readonly #spent: number[] = [];
  readonly #taken: Uint8Array;
  readonly #flights: Flight[] = [];
  #held: Held[] = [];
  /** When the last byte queued so far has gone out, ms. */
  #lineFreeAt = 0;
  /** Departure times of the packets that wait for the rate, oldest first. */
  readonly #departures: number[] = [];

  constructor(sim: Sim, link: SimLink, mtu: number, slots: number, impairments: Impairments) {
    this.#sim = sim;
    this.#link = link;
    this.#mtu = mtu;
    this.impairments = impairments;
    this.#slotSize = LINK_HEADROOM + mtu + LINK_TAILROOM;
    this.buffer = new Uint8Array(slots * this.#slotSize);
    this.#taken = new Uint8Array(slots);
    for (let i = slots - 1; i >= 0; i--) this.#free.push(i);
  }

  get mtu(): number {
    return this.#mtu;
  }

  /** Slots taken and neither transmitted nor released: a leak, when a turn is over. */
  get slotsOut(): number {
    return this.#taken.length - this.#free.length - this.#spent.length;
  }

  allocate(): number {
    const slot = this.#free.pop();
    if (slot === undefined) return -1;
    this.#taken[slot] = 1;
    return slot * this.#slotSize + LINK_HEADROOM;
  }

  release(offset: number): void {
    this.#free.push(this.#giveBack(offset));
  }

  transmit(buffer: Uint8Array, offset: number, length: number, now: number): void {
    this.#take(buffer, offset, length, now);
    this.#spent.push(this.#giveBack(offset));
  }

  forward(buffer: Uint8Array, offset: number, length: number, now: number): boolean {
    this.#take(buffer, offset, length, now);
    return true;
  }

  #take(buffer: Uint8Array, offset: number, length: number, now: number): void {
    if (length < 1 || length > this.#mtu) {
      throw new Error(`a packet of ${length} bytes on a link with MTU ${this.#mtu}`);
    }
    this.#link.tap?.(now, this, buffer, offset, length);
    this.#send(buffer, offset, length, now);
  }

  /** Called by the simulation when what was sent in this turn is on its way. */
  endTurn(): void {
    for (let slot = this.#spent.pop(); slot !== undefined; slot = this.#spent.pop()) {
      this.#free.push(slot);
    }
  }

  /** Called by the simulation when a packet is due at this end. */
  arrive(flight: Flight, now: number): void {
    const sender = this.other;
    sender.counters.delivered++;
    this.receive(flight.bytes, 0, flight.length, now);
    flight.to = undefined;
    sender.#flights.push(flight);
  }

  #send(buffer: Uint8Array, offset: number, length: number, now: number): void {
    const { delay = 0, jitter = 0, loss = 0, reorder = 0, reorderBy = 1 } = this.impairments;
    const { duplicate = 0, corrupt = 0, rate = Infinity, queue = Infinity } = this.impairments;
    const random = this.#sim.random;
    this.counters.sent++;
    const sentAt = this.#queue(length, rate, queue, now);
    if (sentAt < 0) {
      this.counters.overflowed++;
      return;
    }
    if (random.chance(loss)) {
      this.counters.lost++;
      return;
    }
    const copies = random.chance(duplicate) ? 2 : 1;
    this.counters.duplicated += copies - 1;
    for (let i = 0; i < copies; i++) {
      const flight = this.#flight(buffer, offset, length);
      if (random.chance(corrupt)) {
        this.counters.corrupted++;
        flight.bytes[random.below(length)]! ^= 1 << random.below(8);
      }
      const at = sentAt + delay + (jitter > 0 ? random.next() * jitter : 0);
      if (random.chance(reorder)) {
        this.counters.reordered++;
        this.#hold({ flight, places: random.between(1, reorderBy) }, at + REORDER_HOLD);
      } else {
        this.#sim.schedule(flight, at);
        if (this.#held.length > 0) this.#overtake(at);
      }
    }
  }

  #hold(held: Held, atMost: number): void {
    this.#held.push(held);
    this.#sim.at(atMost, (now) => {
      const index = this.#held.indexOf(held);
      if (index < 0) return;
      this.#held.splice(index, 1);
      this.#sim.schedule(held.flight, now);
    });
  }

  /** One more packet has passed those held back; the ones with no place left follow it. */
  #overtake(at: number): void {
    this.#held = this.#held.filter((held) => {
      if (--held.places > 0) return true;
      this.#sim.schedule(held.flight, at);
      return false;
    });
  }

  /** @returns When the packet has left; -1 if the queue is full. */
  #queue(length: number, rate: number, queue: number, now: number): number {
    if (rate === Infinity) return now;
    while (this.#departures.length > 0 && this.#departures[0]! <= now) this.#departures.shift();
    if (this.#departures.length > queue) return -1;
    this.#lineFreeAt = Math.max(now, this.#lineFreeAt) + length * 8000 / rate;
    this.#departures.push(this.#lineFreeAt);
    return this.#lineFreeAt;
  }

  #flight(buffer: Uint8Array, offset: number, length: number): Flight {
    const flight = this.#flights.pop() ?? new Flight(this.#mtu);
    flight.bytes.set(buffer.subarray(offset, offset + length));
    flight.length = length;
    flight.to = this.other;
    return flight;
  }

  #giveBack(offset: number): number {
    const slot = (offset - LINK_HEADROOM) / this.#slotSize;
    if (!Number.isInteger(slot) || this.#taken[slot] !== 1) {
      throw new Error(`offset ${offset} is not a slot that is out`);
    }
    this.#taken[slot] = 0;
    return slot;
  }
}
