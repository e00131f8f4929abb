/**
 * Bounds the memory that is held for the data of all connections together, and shares it between
 * owners: those whom the connections belong to.
 *
 * What connections cost beside their buffers comes off the total first, down to half of it; the rest
 * is the room for buffers. While there is plenty, everybody takes what it can use. From three quarters
 * of the room on there is pressure: the buffers of an owner above its share grow only by what their
 * connections have moved, limits shrink and windows close with them, and what is empty is given back.
 * If a connection that moves data still has too little to work with, others that hold data without
 * moving any are reset (`tcp/relief.ts`). The last eighth is for connections that move data alone, each
 * in proportion to what it has moved. What would exceed the room is refused: a write takes less, a
 * segment is dropped and will be sent again.
 *
 * @module
 */

/** Parts of the room: where it is noticed, where pressure begins, and where it ends. */
const FILLING = 1 / 4;
const PRESSURE = 3 / 4;
const RELIEF = 5 / 8;
/**
 * Above this, a buffer must have been {@link MemoryBudget.earned}; an owner above its share needs
 * that sooner.
 */
const RESERVE = 7 / 8;
/** Above this, an owner above its share gets nothing. */
const LAST = 15 / 16;
/** The least part of the total that is room for buffers. */
const LEAST_ROOM = 1 / 2;
/** The buffer that a connection may have from the reserve, as a fraction of what it has moved. */
const EARNED = 1 / 4;
/**
 * What it may have before it has moved anything, as a fraction of the room: 2,048 of these fit into
 * the reserve.
 */
const AT_ONCE = 1 / 16_384;
/** The most it may have, as a fraction of the room. */
const MOST_EARNED = 1 / 64;
/** A connection that moves data and may not have a buffer of this size is starved, bytes. */
const ENOUGH = 64 << 10;
/** More than any buffer has, bytes. */
const MOST_BUFFER = 1 << 30;
/** Accounts out of use that may stay. */
const UNUSED_KEPT = 16;
/** The least a buffer may always have, bytes, so that every connection moves, however slowly. */
export const LEAST_BUFFER = 2_048;

/** A period of pressure, reported when it begins and when it is over. */
export interface MemoryEpisode {
  readonly isOver: boolean;
  /** Bytes. */
  readonly used: number;
  readonly total: number;
  /** In this period so far. */
  readonly refusals: number;
  readonly resets: number;
}

export interface MemoryBudgetOptions {
  /** Bytes; default: no limit. */
  total?: number;
  /** What a connection costs beside its buffers, wherever, bytes; default 0. */
  perConnection?: number;
  /**
   * How many further connections room is kept for: what the first ones have buffered cannot be taken
   * back when more come. Default 0.
   */
  spareConnections?: number;
  /** Called when a period of pressure begins and when it ends, from within the call that did it. */
  onEpisode?: ((episode: MemoryEpisode) => void) | undefined;
}

export class MemoryBudget {
  /** Bytes. */
  total: number;
  /** What of it buffers may take, bytes. */
  room: number;
  /** Bytes in use by buffers. May exceed the room by what is never refused. */
  used = 0;
  isPressed = false;
  /** Periods of pressure, refusals and resets, since the start. */
  episodes = 0;
  refusals = 0;
  resets = 0;
  readonly #onEpisode: (episode: MemoryEpisode) => void;
  readonly #accounts = new Map<unknown, MemoryAccount>();
  readonly #perConnection: number;
  readonly #spare: number;
  #connections = 0;
  /** Accounts in use. */
  #owners = 0;
  /** Held outside of the stack, bytes. */
  #outside = 0;
  /** A connection that moves data had less than {@link ENOUGH}. */
  #isStarving = false;
  #refusalsBefore = 0;
  #resetsBefore = 0;

  /** @throws {RangeError} for a total that is not a positive number of bytes. */
  constructor(options: MemoryBudgetOptions = {}) {
    const { total = Infinity, perConnection = 0, spareConnections = 0, onEpisode = () => {} } =
      options;
    checkTotal(total);
    this.total = total;
    this.#perConnection = perConnection;
    this.#spare = spareConnections;
    this.room = total - this.overhead;
    this.#onEpisode = onEpisode;
  }

  /**
   * Changes the total.
   *
   * @throws {RangeError} as the constructor.
   */
  resize(total: number): void {
    checkTotal(total);
    this.total = total;
    this.#count(0);
  }

  /** What connections cost beside their buffers, as far as it is counted, bytes. */
  get overhead(): number {
    const connections = this.#connections + this.#spare;
    return Math.min(connections * this.#perConnection, (1 - LEAST_ROOM) * this.total);
  }

  /** Owners that hold something or have a connection. */
  get owners(): number {
    return this.#owners;
  }

  /**
   * The account of a new connection; {@link leave} gives it back.
   *
   * @param owner Who it is for, any value: the same value has the same account.
   */
  join(owner: unknown): MemoryAccount {
    const account = this.#account(owner);
    account.members++;
    this.#count(1);
    return account;
  }

  leave(account: MemoryAccount): void {
    account.members--;
    this.#drop(account);
    this.#count(-1);
  }

  /**
   * Takes note of memory outside of the stack: more of it, or, with a negative number, less. It is
   * never refused, but the others make room for it.
   */
  charge(owner: unknown, bytes: number): void {
    this.#outside += bytes;
    const account = this.#account(owner);
    account.charge(bytes);
    this.#drop(account);
  }

  /** What one owner may hold under pressure, bytes. */
  get quota(): number {
    return PRESSURE * this.room / this.#owners;
  }

  /** Whether connections of `account` still have to give way. */
  mustRelieve(account: MemoryAccount): boolean {
    return this.used > RELIEF * this.room &&
      account.used > RELIEF * this.room / this.#owners;
  }

  /** Whether connections have to be reset. Clears what {@link noteMoving} noted. */
  takeAlarm(): boolean {
    const isStarving = this.#isStarving;
    this.#isStarving = false;
    // Buffers alone hardly exceed the room; memory held outside, which is never refused, may.
    return isStarving || this.#outside > 0 && this.used > this.room;
  }

  /** Well before there is pressure: a connection that has moved nothing yet should not hold much. */
  get isFilling(): boolean {
    return this.used >= FILLING * this.room;
  }

  /** Next to nothing is left. */
  get isExhausted(): boolean {
    return this.used >= LAST * this.room;
  }

  /** Only the reserve is left. */
  get isFull(): boolean {
    return this.used >= RESERVE * this.room;
  }

  /**
   * The buffer that a connection may have from the reserve once it has moved `bytes` without a
   * pause.
   */
  earned(bytes: number): number {
    const { room } = this;
    return Math.min(Math.max(EARNED * bytes, AT_ONCE * room), MOST_EARNED * room, MOST_BUFFER);
  }

  /** For accounts: see {@link MemoryAccount.take}. */
  admits(
    account: MemoryAccount,
    bytes: number,
    size: number,
    isPromised: boolean,
    earned: number,
  ): boolean {
    if (this.#isWithin(account, bytes, size, isPromised, earned)) return true;
    this.refusals++;
    return false;
  }

  #isWithin(
    account: MemoryAccount,
    bytes: number,
    size: number,
    isPromised: boolean,
    earned: number,
  ): boolean {
    const { room } = this;
    const after = this.used + bytes;
    if (after > room) return false;
    if (isPromised || after < PRESSURE * room) return true;
    const isAbove = account.used + bytes > this.quota;
    if (!isAbove && after <= RESERVE * room) return true;
    return size <= earned && (!isAbove || after <= LAST * room);
  }

  /** For accounts: one that moves data may have no more than `limit` for a buffer. */
  noteMoving(limit: number): void {
    if (limit < ENOUGH || this.room - this.used < ENOUGH) this.#isStarving = true;
  }

  /** For accounts. */
  add(bytes: number): void {
    this.used += bytes;
    if (!this.isPressed) {
      if (this.used >= PRESSURE * this.room) this.#begin();
    } else if (this.used < RELIEF * this.room) this.#end();
  }

  #count(connections: number): void {
    this.#connections += connections;
    this.room = this.total - this.overhead;
    this.add(0);
  }

  #begin(): void {
    this.isPressed = true;
    this.episodes++;
    this.#refusalsBefore = this.refusals;
    this.#resetsBefore = this.resets;
    this.#tell(false);
  }

  #end(): void {
    this.isPressed = false;
    this.#isStarving = false;
    this.#tell(true);
  }

  #tell(isOver: boolean): void {
    this.#onEpisode({
      isOver,
      used: this.used + this.overhead,
      total: this.total,
      refusals: this.refusals - this.#refusalsBefore,
      resets: this.resets - this.#resetsBefore,
    });
  }

  #account(owner: unknown): MemoryAccount {
    let account = this.#accounts.get(owner);
    if (account === undefined) {
      this.#accounts.set(owner, account = new MemoryAccount(this, owner));
    }
    if (!account.isInUse) {
      account.isInUse = true;
      this.#owners++;
    }
    return account;
  }

  #drop(account: MemoryAccount): void {
    if (account.members > 0 || account.used > 0) return;
    account.isInUse = false;
    this.#owners--;
    // Unused accounts are kept for a while: with short connections the same owners soon return.
    if (this.#accounts.size <= 2 * this.#owners + UNUSED_KEPT) return;
    for (const [owner, { isInUse }] of this.#accounts) if (!isInUse) this.#accounts.delete(owner);
  }
}

function checkTotal(total: number): void {
  if (!(total > 0)) throw new RangeError(`a memory budget is a number of bytes, got ${total}`);
}

/** What one owner holds. */
export class MemoryAccount {
  readonly owner: unknown;
  /** Bytes. */
  used = 0;
  /** Connections. */
  members = 0;
  /** For the budget: it holds something or has a connection. */
  isInUse = false;
  readonly #budget: MemoryBudget;

  constructor(budget: MemoryBudget, owner: unknown) {
    this.#budget = budget;
    this.owner = owner;
  }

  /** The most one buffer may have now, bytes: a power of two, or Infinity while there is plenty. */
  get bufferLimit(): number {
    return this.limitAt(this.used, this.#budget.isPressed);
  }

  /** {@link bufferLimit} for the buffer of a connection that has {@link MemoryBudget.earned} that much. */
  limitFor(earned: number): number {
    const limit = this.bufferLimit;
    return earned > limit ? 1 << (31 - Math.clz32(earned)) : limit;
  }

  /** {@link bufferLimit} as it will be: with `used` bytes, under pressure or not. */
  limitAt(used: number, isPressed: boolean): number {
    if (!isPressed) return Infinity;
    const { quota } = this.#budget;
    if (used <= quota) return Infinity;
    const part = Math.min(MOST_BUFFER, quota / Math.max(1, this.members));
    return Math.max(LEAST_BUFFER, 1 << (31 - Math.clz32(part)));
  }

  /** A connection moves data: if it has too little memory, stalled ones have to make room. */
  noteMoving(): void {
    if (this.#budget.isPressed) this.#budget.noteMoving(this.bufferLimit);
  }

  /**
   * Asks for memory.
   *
   * @param bytes How much more.
   * @param size What the buffer will have then.
   * @param isPromised The peer was told that there is room: only the total can refuse it.
   * @param earned What {@link MemoryBudget.earned} says, bytes.
   */
  take(bytes: number, size: number, isPromised: boolean, earned = 0): boolean {
    if (size > LEAST_BUFFER && !this.#budget.admits(this, bytes, size, isPromised, earned)) {
      return false;
    }
    this.charge(bytes);
    return true;
  }

  /** Counts more or less memory; never refused. */
  charge(bytes: number): void {
    this.used += bytes;
    this.#budget.add(bytes);
  }
}
