/**
 * Waiting for any descriptor, as a TUN device, without a thread: Deno's event loop waits for it, beside
 * all else.
 *
 * @module
 */

import { Socket } from "node:net";
import process from "node:process";
import { EPOLL_CTL_ADD, EPOLLIN } from "./epoll.ts";
import { errorOf, type Libc, openLibc } from "./libc.ts";
import { AF_UNIX } from "./sockaddr.ts";
import { SOCK_STREAM } from "./socket.ts";
import { turns, type Waiting } from "./turns.ts";

const CALLS = {
  close: { parameters: ["i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  dup3: { parameters: ["i32", "i32", "i32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  pipe2: { parameters: ["buffer", "i32"], result: "i32" },
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32" },
  socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  wait: { name: "poll", parameters: ["buffer", "usize", "i32"], result: "i32", nonblocking: true },
  read: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
} as const;

type WaitLibc = Libc<typeof CALLS>;

// <bits/fcntl-linux.h>, <poll.h>
const F_DUPFD_CLOEXEC = 1030;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const POLLIN = 0x1;
/** More than 64 bytes are never on V8's own heap, so they are not moved under the kernel's hands. */
const OFF_HEAP = 128;
/** How long the trick below has to show that it works, ms. */
const TRIAL_MS = 2_000;
/**
 * Turns of the event loop after which everything that had arrived is handed on, whatever else is ready:
 * the runtime asks the system after 61 tasks.
 */
const TURNS = 64;

/**
 * Waits until a descriptor is readable. {@link wait} is to be called in the same turn of the event loop
 * as a read that found nothing: an event from before that is lost.
 *
 * At first a thread of the runtime's waits, at some 50 µs of CPU a wake. What replaces it, at 6 µs where
 * wakes follow each other at once, is a trick with a stream: to Deno a stream is a descriptor number, and
 * its epoll instance goes on watching the open file that had this number when the stream was made, even
 * when the number is made to name another file (epoll(7), questions and answers, 6). Here that other file
 * is a socket with one byte to read, the token: it is written before each wait, and Deno reads it when the
 * watched file becomes readable. No documentation promises this, so it is tried out first, on a descriptor
 * that is made readable on purpose. Where wakes are frequent {@link Turns} waits in place of both.
 */
export class DescriptorWait implements Waiting {
  readonly fd: number;
  readonly #libc: WaitLibc = openLibc(CALLS);
  /** Readable once this is closed, to end the thread's wait. */
  readonly #end: number;
  /** Two of struct pollfd: int fd, short events, short revents. */
  readonly #polled = new Uint8Array(OFF_HEAP);
  /** What {@link turns} knows it by; below zero if it does not. */
  #number = -1;
  /** Whether waiting by a stream does, as far as is known. */
  #works = false;
  #stream: TokenStream | undefined;
  #thread: Promise<void> | undefined;
  #onReadable: (() => void) | undefined;
  readonly #trial: Promise<void>;
  #isClosed = false;
  readonly #woken = () => {
    if (this.#number >= 0) turns.woken();
    this.wake();
  };

  /**
   * @param works Whether waiting by a stream does, or that it will be known; for tests.
   * @throws {Error} with the system's `code`, if that gives no descriptor.
   */
  constructor(fd: number, works: boolean | Promise<boolean> = tried ?? tryStreams()) {
    const { symbols } = this.#libc;
    this.fd = fd;
    this.#end = symbols.eventfd(0, O_NONBLOCK | O_CLOEXEC);
    if (this.#end < 0) {
      const error = errorOf(this.#libc.errno(), "no eventfd");
      this.#libc.close();
      throw error;
    }
    new Int32Array(this.#polled.buffer).set([fd, POLLIN, this.#end, POLLIN]);
    if (works === true) this.#onWorks();
    this.#trial = works === true ? Promise.resolve() : this.#openWhenTried(works);
  }

  /** Whether a thread waits. */
  get isOnThread(): boolean {
    return this.#stream === undefined;
  }

  /** Resolves when the trick has shown whether it works here. */
  get tried(): Promise<void> {
    return this.#trial;
  }

  get isWaiting(): boolean {
    return this.#onReadable !== undefined;
  }

  /** Calls `onReadable` once the descriptor may be readable, or this is closed; the last one it was given. */
  wait(onReadable: () => void): void {
    const isWaiting = this.#onReadable !== undefined;
    this.#onReadable = onReadable;
    if (isWaiting) return;
    if (this.#isClosed) queueMicrotask(() => this.wake());
    else if (this.#number < 0 || !turns.waits(this.#number)) this.#await();
  }

  /** For {@link turns}. */
  wake(): void {
    const onReadable = this.#onReadable;
    if (onReadable === undefined) return;
    this.#onReadable = undefined;
    if (this.#number >= 0) turns.wakes();
    onReadable();
  }

  /** For {@link turns}. */
  arm(): void {
    if (this.#stream === undefined || this.#stream.isClosed) this.#await();
    else this.#stream.armAgain();
  }

  /** Opens a stream, if there was no descriptor for one before, and no thread waits. */
  retry(): void {
    if (
      this.#works && !this.#isClosed && this.#stream === undefined && this.#thread === undefined
    ) {
      this.#open();
    }
  }

  /** Resolves when nothing waits any more; the descriptor may be closed then, not before. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#forget();
    this.#endThread();
    this.#stream?.close();
    this.wake();
    await this.#trial;
    await this.#thread;
    this.#libc.symbols.close(this.#end);
    this.#libc.close();
  }

  /** Leaves the wait to the runtime. */
  #await(): void {
    // A stream that has failed would end no wait any more.
    if (this.#stream?.isClosed) {
      this.#stream = undefined;
      this.#forget();
    }
    if (this.#stream === undefined) this.#thread ??= this.#waitOnThread();
    else this.#stream.arm();
  }

  /** The waiting is no longer {@link turns}'s. */
  #forget(): void {
    if (this.#number >= 0) turns.remove(this.#number);
    this.#number = -1;
  }

  async #waitOnThread(): Promise<void> {
    // Below zero: interrupted by a signal.
    while (await this.#libc.symbols.wait(this.#polled, 2n, -1) < 0);
    this.#thread = undefined;
    if (!this.#isClosed) {
      this.#libc.symbols.read(this.#end, new Uint8Array(OFF_HEAP), 8n);
      this.retry();
    }
    this.wake();
  }

  #endThread(): void {
    this.#libc.symbols.write(this.#end, new Uint8Array(8).fill(1), 8n);
  }

  async #openWhenTried(works: boolean | Promise<boolean>): Promise<void> {
    if (!await works || this.#isClosed) return;
    this.#onWorks();
    // Ends the thread's wait; the next one is done the new way.
    if (this.#stream !== undefined && this.#thread !== undefined) this.#endThread();
  }

  #onWorks(): void {
    this.#works = true;
    this.#open();
  }

  #open(): void {
    try {
      this.#stream = TokenStream.open(this.#libc, this.fd, this.#woken);
    } catch {
      this.#works = false;
    }
    if (this.#stream !== undefined) this.#number = turns.add(this);
  }
}

/** Whether waiting by a stream works with this runtime; undefined until it has been tried. */
let tried: boolean | undefined;
let trial: Promise<boolean> | undefined;

/**
 * Tries it, once in a process, or once more if there was no descriptor to try it with. What waits is on a
 * thread until then.
 */
export function tryStreams(): Promise<boolean> {
  return trial ??= tryStream().then((works) => {
    if (works === undefined) trial = undefined;
    else tried = works;
    return works ?? false;
  }, () => tried = false);
}

/**
 * Whether a wait for one end of a pipe ends when the other is written to, and not before; undefined for
 * want of descriptors.
 */
async function tryStream(): Promise<boolean | undefined> {
  const libc: WaitLibc = openLibc(CALLS);
  const { symbols } = libc;
  const pipe = new Int32Array(OFF_HEAP / 4);
  if (symbols.pipe2(new Uint8Array(pipe.buffer), O_NONBLOCK | O_CLOEXEC) < 0) {
    libc.close();
    return undefined;
  }
  const [descriptor, other] = [pipe[0]!, pipe[1]!];
  const byte = new Uint8Array(OFF_HEAP);
  let onWake = () => {};
  let stream: TokenStream | undefined;
  try {
    stream = TokenStream.open(libc, descriptor, () => onWake());
    if (stream === undefined) return undefined;
    for (let i = 0; i < 3; i++) {
      let isOver = false;
      const wait = new Promise<void>((resolve) => onWake = resolve).then(() => isOver = true);
      stream.arm();
      for (let turn = 0; turn < 8; turn++) await nextTurn();
      // The first may end at once: a new stream reads by itself.
      if (isOver && i === 0) continue;
      if (isOver) return false;
      symbols.write(other, byte, 1n);
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise((resolve) => timer = setTimeout(resolve, TRIAL_MS));
      await Promise.race([wait, late]);
      clearTimeout(timer);
      // Who has not had a processor meanwhile finds both, the timer first.
      for (let turn = 0; !isOver && turn < TURNS; turn++) await nextTurn();
      if (!isOver) return false;
      symbols.read(descriptor, byte, 1n);
    }
    return true;
  } finally {
    stream?.close();
    symbols.close(descriptor);
    symbols.close(other);
    libc.close();
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Node's own class, which makes a stream of any descriptor that epoll can watch. */
interface PipeHandle {
  /** @returns 0, or an error number. */
  open(fd: number): number;
}

/** One byte that can be read from the descriptor of a stream, and is when a file becomes readable. */
class TokenStream {
  readonly #libc: WaitLibc;
  /**
   * What the stream was made of: an epoll instance that watches the file. It becomes readable for an error
   * on the file as it does for data; the runtime would not read for an error alone.
   */
  readonly #epoll: number;
  /** The number the stream knows; and where the token is written. */
  readonly #number: number;
  readonly #tokens: number;
  readonly #socket: Socket;
  readonly #polled = new Uint8Array(OFF_HEAP);
  /** The token is written, and not read yet. */
  #isArmed = false;
  /**
   * The token was read, and the runtime still reads on: it would find a new one too, and wake for
   * nothing.
   */
  #isReading = false;
  readonly #onTurn = () => {
    setImmediate(this.#onNextTurn);
  };
  readonly #onNextTurn = () => {
    this.#isReading = false;
    if (this.#isWanted) this.armAgain();
  };
  readonly #onReadable: () => void;
  #isWanted = false;
  #isClosed = false;

  private constructor(
    libc: WaitLibc,
    watched: number,
    epoll: number,
    number: number,
    tokens: number,
    onReadable: () => void,
  ) {
    this.#libc = libc;
    this.#onReadable = onReadable;
    this.#epoll = epoll;
    this.#number = number;
    this.#tokens = tokens;
    new Int32Array(this.#polled.buffer).set([watched, POLLIN]);
    const handle = newPipe();
    if (handle === undefined || handle.open(number) !== 0) throw new Error("no stream");
    this.#socket = new Socket(
      {
        handle,
        onread: { buffer: new Uint8Array(OFF_HEAP), callback: () => this.#read() },
      } as unknown as ConstructorParameters<typeof Socket>[0],
    );
    this.#socket.on("error", () => this.close());
    this.#socket.on("close", () => this.close());
  }

  /**
   * @returns undefined where the system gives no descriptor.
   * @throws {Error} where the runtime has no such stream.
   */
  static open(
    libc: WaitLibc,
    watched: number,
    onReadable: () => void,
  ): TokenStream | undefined {
    const { symbols } = libc;
    const event = new Int32Array(OFF_HEAP / 4);
    const bytes = new Uint8Array(event.buffer);
    event[0] = EPOLLIN;
    const epoll = symbols.epoll_create1(O_CLOEXEC);
    const isWatched = epoll >= 0 && symbols.epoll_ctl(epoll, EPOLL_CTL_ADD, watched, bytes) === 0;
    const number = isWatched ? symbols.fcntl(epoll, F_DUPFD_CLOEXEC, 0) : -1;
    const type = SOCK_STREAM | O_NONBLOCK | O_CLOEXEC;
    const hasPair = number >= 0 && symbols.socketpair(AF_UNIX, type, 0, bytes) === 0;
    const [read, write] = hasPair ? [event[0]!, event[1]!] : [-1, -1];
    let stream: TokenStream | undefined;
    try {
      if (!hasPair) return undefined;
      stream = new TokenStream(libc, watched, epoll, number, write, onReadable);
      if (symbols.dup3(read, number, O_CLOEXEC) < 0) throw new Error("no second name");
      stream.#socket.resume();
      return stream;
    } catch (error) {
      stream?.close();
      throw error;
    } finally {
      if (read >= 0) symbols.close(read);
      if (stream === undefined) {
        for (const fd of [epoll, number, write]) if (fd >= 0) symbols.close(fd);
      }
    }
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** `onReadable` is called once, when the file has become readable since. */
  arm(): void {
    this.#isWanted = true;
    if (this.#isArmed || this.#isReading || this.#isClosed) return;
    this.#isArmed = true;
    this.#libc.symbols.write(this.#tokens, TOKEN, 1n);
  }

  /** `onReadable` is called once, when the file is readable. */
  armAgain(): void {
    this.arm();
    // What arrived before the token was written has woken nobody.
    if (this.#isArmed && this.#libc.symbols.poll(this.#polled, 1n, 0) > 0) this.#wake();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { symbols } = this.#libc;
    // The runtime takes the number out of its epoll instance: it must name that file again.
    symbols.dup3(this.#epoll, this.#number, O_CLOEXEC);
    this.#socket.destroy();
    symbols.close(this.#tokens);
    symbols.close(this.#epoll);
    this.#wake();
  }

  /** The token has been read. @returns whether to read on. */
  #read(): boolean {
    this.#isArmed = false;
    this.#isReading = true;
    setImmediate(this.#onTurn);
    this.#wake();
    return true;
  }

  #wake(): void {
    if (!this.#isWanted) return;
    this.#isWanted = false;
    this.#onReadable();
  }
}

const TOKEN = new Uint8Array(1);

/** @returns undefined where the runtime has no such thing. */
function newPipe(): PipeHandle | undefined {
  try {
    const { binding } = process as unknown as {
      binding(name: string): { Pipe: new (type: number) => PipeHandle };
    };
    const { Pipe } = binding("pipe_wrap");
    return new Pipe(0);
  } catch {
    return undefined;
  }
}
