/**
 * What the carriers that others have opened may take together, of all transports: so many, and so many
 * bytes. Somebody alone may have all of it. When it is full, whoever is furthest above an equal share
 * loses the carrier on which nothing was carried for longest; who is above it gets no other.
 *
 * @module
 */

export interface CarrierLimits {
  /** How many. */
  readonly carriers: number;
  /** What they hold. */
  readonly bytes: number;
}

export const DEFAULT_CARRIER_LIMITS: CarrierLimits = { carriers: 4_096, bytes: 512 << 20 };

/** A part of the bytes: from here on the queues of who is above its share are shorter. */
const PRESSURE = 3 / 4;
/** The least that a queue may always have: a few datagrams. */
const LEAST_QUEUE = 16 << 10;
/** Who is above its share gives up a carrier for another one if nothing was carried for so long. */
export const IDLE_MS = 30_000;

/** A carrier, as the budget sees it. */
export interface BudgetedCarrier {
  /** When it has carried a datagram last, or was opened, ms. */
  readonly usedAt: number;
  /** It has to go, for others. */
  evict(): void;
}

export class CarrierBudget {
  #limits: CarrierLimits;
  #carriers = 0;
  #bytes = 0;
  readonly #holders = new Map<string, Holder>();
  #isRelieving = false;

  constructor(limits: CarrierLimits = DEFAULT_CARRIER_LIMITS) {
    this.#limits = limits;
  }

  get limits(): CarrierLimits {
    return this.#limits;
  }

  /** How many there are. */
  get carriers(): number {
    return this.#carriers;
  }

  /** What they hold. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Those who have any. */
  get holders(): number {
    return this.#holders.size;
  }

  /** Other limits count from now on. Who is above them loses carriers as they hold more. */
  setLimits(limits: CarrierLimits): void {
    this.#limits = limits;
  }

  /**
   * Makes room for a carrier, at the cost of others if need be.
   *
   * @param name Whose it is: carriers of one name have one share.
   * @param bytes What it takes by itself.
   * @param now ms, on the clock of {@link BudgetedCarrier.usedAt}.
   * @param most How many of that name there may be.
   * @returns undefined if there is no room.
   */
  take(
    name: string,
    bytes: number,
    carrier: BudgetedCarrier,
    now: number,
    most = Infinity,
  ): CarrierPlace | undefined {
    const holder = this.#holders.get(name) ?? new Holder(name);
    if (holder.places.size >= most) return undefined;
    for (;;) {
      const { carriers, bytes: room } = this.#limits;
      let given: CarrierPlace | undefined;
      if (this.#carriers + 1 > carriers) given = this.#donated(holder, "carriers", 1, now);
      else if (this.#bytes + bytes > room) given = this.#donated(holder, "bytes", bytes, now);
      else break;
      if (given === undefined) return undefined;
      this.#evict(given);
    }
    this.#holders.set(name, holder);
    const place: CarrierPlace = new CarrierPlace(this, holder, carrier, bytes);
    holder.places.add(place);
    holder.rest += bytes;
    this.#carriers++;
    this.charge(place, bytes);
    return place;
  }

  /** For places: one holds more, or, with a negative number, less. */
  charge(place: CarrierPlace, bytes: number): void {
    const { holder } = place;
    holder.bytes += bytes;
    this.#bytes += bytes;
    if (bytes <= 0 || this.#bytes <= this.#limits.bytes || this.#isRelieving) return;
    // Not from within: it may be in the middle of something.
    this.#isRelieving = true;
    queueMicrotask(() => this.#relieve());
  }

  /** For places. */
  give(place: CarrierPlace): void {
    const { holder } = place;
    if (!holder.places.delete(place)) return;
    holder.rest -= place.rest;
    this.#carriers--;
    this.charge(place, -place.bytes);
    if (holder.places.size === 0) this.#holders.delete(holder.name);
  }

  /** For places: what may wait to be sent on each of a holder's carriers, bytes. */
  queueLimit({ bytes, rest, places }: Holder): number {
    if (this.#bytes < PRESSURE * this.#limits.bytes) return Infinity;
    const share = PRESSURE * this.#limits.bytes / this.#holders.size;
    return bytes <= share ? Infinity : Math.max(LEAST_QUEUE, (share - rest) / places.size);
  }

  /** The carrier that has to give way for one more of `taker`'s. */
  #donated(
    taker: Holder,
    what: keyof CarrierLimits,
    more: number,
    now: number,
  ): CarrierPlace | undefined {
    const holders = this.#holders.size + (taker.places.size === 0 ? 1 : 0);
    const own = what === "bytes" ? taker.bytes : taker.places.size;
    const isAbove = own + more > this.#limits[what] / holders;
    if (!isAbove) return this.#greediest(what)?.idlest;
    const { idlest } = taker;
    return idlest !== undefined && now - idlest.usedAt >= IDLE_MS ? idlest : undefined;
  }

  #greediest(what: keyof CarrierLimits): Holder | undefined {
    let found: Holder | undefined;
    let most = 0;
    for (const holder of this.#holders.values()) {
      const has = what === "bytes" ? holder.bytes : holder.places.size;
      if (has <= most) continue;
      found = holder;
      most = has;
    }
    return found;
  }

  #relieve(): void {
    while (this.#bytes > this.#limits.bytes) {
      const place = this.#greediest("bytes")?.idlest;
      if (place === undefined) break;
      this.#evict(place);
    }
    this.#isRelieving = false;
  }

  #evict(place: CarrierPlace): void {
    this.give(place);
    place.carrier.evict();
  }
}

/** Whoever has carriers. */
class Holder {
  readonly name: string;
  readonly places = new Set<CarrierPlace>();
  /** What they hold. */
  bytes = 0;
  /** Of that, what they take by themselves. */
  rest = 0;

  constructor(name: string) {
    this.name = name;
  }

  get idlest(): CarrierPlace | undefined {
    let found: CarrierPlace | undefined;
    for (const place of this.places) {
      if (found === undefined || place.usedAt < found.usedAt) found = place;
    }
    return found;
  }
}

/** What a carrier has of a budget. */
export class CarrierPlace {
  readonly carrier: BudgetedCarrier;
  readonly holder: Holder;
  /** What it takes by itself. */
  readonly rest: number;
  /** What it holds. */
  bytes: number;
  readonly #budget: CarrierBudget;

  /** Use {@link CarrierBudget.take}. */
  constructor(budget: CarrierBudget, holder: Holder, carrier: BudgetedCarrier, bytes: number) {
    this.#budget = budget;
    this.holder = holder;
    this.carrier = carrier;
    this.rest = bytes;
    this.bytes = bytes;
  }

  get usedAt(): number {
    return this.carrier.usedAt;
  }

  /** What may wait to be sent, bytes. */
  get queueLimit(): number {
    return this.#budget.queueLimit(this.holder);
  }

  /** What it holds beside what it takes by itself. */
  get held(): number {
    return this.bytes - this.rest;
  }

  /** @param bytes What {@link held} is now. */
  hold(bytes: number): void {
    if (!this.holder.places.has(this)) return;
    const more = bytes - this.held;
    this.bytes += more;
    this.#budget.charge(this, more);
  }

  /** It is over. */
  give(): void {
    this.#budget.give(this);
  }
}
