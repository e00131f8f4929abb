/**
 * What comes of a call: its DATA frames are taken out of the connection before HTTP/2 sees them, and its
 * packed bytes out of those, in the memory in which they have come. Everything else is HTTP/2's.
 *
 * @module
 */

import { free } from "../free.ts";
import {
  FIRST_WINDOW,
  Flag,
  FRAME_HEADER_SIZE,
  FrameSplitter,
  FrameType,
  type FrameUser,
  INITIAL_WINDOW_SIZE,
  SETTING_SIZE,
  WINDOW_UPDATE_SIZE,
  writeFrameHeader,
  writeUint32,
} from "./frames.ts";
import { CALL_STREAM, WINDOW } from "./limits.ts";
import { MessageReader } from "./messages.ts";
import type { CallSender } from "./sender.ts";

/** Bytes that have come and that the other side may send again, from which on it is told so. */
const WORTH_A_WINDOW = WINDOW / 4;

export interface ReceiverUser {
  /** Something for HTTP/2, whose memory it is from now on. */
  pass(bytes: Uint8Array): void;
  /** Frames to be sent. */
  write(frames: Uint8Array): void;
  /** Nothing can be read any more. @param why One line. */
  failed(why: string): void;
  /** Whether it is to be read on. */
  setReading(isReading: boolean): void;
}

export class CallReceiver implements FrameUser {
  readonly #user: ReceiverUser;
  readonly #sender: CallSender;
  readonly #splitter: FrameSplitter;
  readonly #reader = new MessageReader();
  /** Undefined before {@link start}. */
  #take: ((packed: Uint8Array) => void) | undefined;
  /** What has come before. */
  #early: Uint8Array[] = [];
  #state: "none" | "open" | "ended" = "none";
  #isReading = true;
  #isOver = false;
  /** Bytes that the other side may still send. */
  #window = FIRST_WINDOW;
  /** Of the frame: what it is, and how much of its payload is padding, or has not come. */
  #type = 0;
  #flags = 0;
  #stream = 0;
  #isPadded = false;
  #padding = 0;
  #left = 0;
  /** A number, or a setting, that has not come as a whole. */
  #value = 0;
  #key = 0;
  #have = 0;
  /** What is looked at, where packed bytes in it end, and whether HTTP/2 has all of it. */
  #own: Uint8Array | undefined;
  #at = 0;
  #isPassed = false;

  /** @param preface Bytes that the other side sends before all frames. */
  constructor(user: ReceiverUser, sender: CallSender, preface: number) {
    this.#user = user;
    this.#sender = sender;
    this.#splitter = new FrameSplitter(this, preface);
  }

  /** Whether the other side has begun the call, and not ended it. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Hands over packed bytes from now on: what has come before a little later. */
  start(take: (packed: Uint8Array) => void): void {
    if (this.#early.length === 0) this.#begin(take);
    else {
      queueMicrotask(() => {
        for (const packed of this.#early) if (!this.#isOver) take(packed);
        this.#early = [];
        this.#begin(take);
      });
    }
  }

  /** Whether it reads on. What it does not read stays with the system, and so with the sender. */
  setReading(isReading: boolean): void {
    this.#isReading = isReading;
    if (this.#take !== undefined) this.#user.setReading(isReading);
  }

  /** Hands nothing over any more. HTTP/2 still gets what is its own. */
  close(): void {
    this.#isOver = true;
    this.#early = [];
  }

  /** Takes what the connection has read: the memory is the receiver's from now on. */
  received(bytes: Uint8Array): void {
    const { buffer, length } = bytes;
    // What is moved must be nobody else's. And not a Buffer, whose `slice` copies nothing.
    const own = length === buffer.byteLength ? new Uint8Array(buffer) : new Uint8Array(bytes);
    this.#own = own;
    this.#at = 0;
    this.#isPassed = false;
    this.#splitter.push(own);
    this.#own = undefined;
    if (this.#isPassed) return;
    const isMost = this.#at * 2 >= length;
    const packed = isMost ? own.subarray(0, this.#at) : own.slice(0, this.#at);
    if (!isMost) free(own);
    if (packed.length === 0 || this.#isOver) return;
    if (this.#take !== undefined) {
      this.#take(packed);
      this.#widen();
    } else {
      // Nobody has to begin before being let in.
      this.#early.push(packed);
      this.#user.setReading(false);
    }
  }

  begin(type: number, flags: number, stream: number, length: number): boolean {
    this.#type = type;
    this.#flags = flags;
    this.#stream = stream;
    this.#left = length;
    this.#value = this.#have = 0;
    const isCall = stream === CALL_STREAM;
    if (type === FrameType.data) {
      if (!isCall || this.#state !== "open") return false;
      this.#window -= length;
      if (this.#window < 0) this.#fail("more than the window of HTTP/2");
      this.#isPadded = (flags & Flag.padded) !== 0;
      this.#padding = 0;
      return true;
    }
    if (isCall && type === FrameType.headers) {
      this.#state = (flags & Flag.endStream) === 0 ? "open" : "ended";
    } else if (isCall && type === FrameType.resetStream) {
      this.#state = "ended";
    }
    // HTTP/2 has no use for windows of what it does not send, and knows what is wrong with others. One of
    // the call may come before the other side's headers.
    return type === FrameType.windowUpdate && length === WINDOW_UPDATE_SIZE &&
      (stream === 0 || isCall);
  }

  payload(bytes: Uint8Array, from: number, to: number): void {
    if (this.#type === FrameType.data) {
      if (this.#isData) this.#takeData(bytes, from, to);
    } else if (this.#type === FrameType.settings) {
      if ((this.#flags & Flag.ack) === 0) this.#takeSettings(bytes, from, to);
    } else if (this.#type === FrameType.windowUpdate) {
      for (let i = from; i < to; i++) this.#value = this.#value * 256 + bytes[i]!;
    }
  }

  end(): void {
    if (this.#type === FrameType.windowUpdate) {
      if (this.#stream !== 0 && this.#stream !== CALL_STREAM) return;
      this.#check(this.#sender.widen(this.#stream !== 0, this.#value % 2 ** 31));
    } else if (this.#isData && (this.#flags & Flag.endStream) !== 0) {
      this.#state = "ended";
      const frame = new Uint8Array(FRAME_HEADER_SIZE);
      writeFrameHeader(frame, 0, 0, FrameType.data, Flag.endStream, CALL_STREAM);
      this.#user.pass(frame);
    }
  }

  pass(bytes: Uint8Array, from: number, to: number): void {
    const isAll = from === 0 && to === bytes.length;
    if (bytes === this.#own && isAll) this.#isPassed = true;
    this.#user.pass(isAll ? bytes : bytes.slice(from, to));
  }

  #begin(take: (packed: Uint8Array) => void): void {
    this.#take = take;
    this.#widen();
    this.#user.setReading(this.#isReading);
  }

  /** Whether the frame is one of the call's that is taken. */
  get #isData(): boolean {
    return this.#type === FrameType.data && this.#stream === CALL_STREAM && this.#state === "open";
  }

  #takeData(bytes: Uint8Array, from: number, to: number): void {
    this.#left -= to - from;
    if (this.#isPadded) {
      this.#isPadded = false;
      this.#padding = bytes[from++]!;
      if (this.#padding > this.#left + to - from) {
        this.#fail("a frame of HTTP/2 that is all padding");
      }
    }
    if (this.#isOver) return;
    const padding = Math.max(0, this.#padding - this.#left);
    this.#at = this.#reader.take(bytes, from, to - padding, this.#at);
    this.#check(this.#reader.problem);
  }

  #takeSettings(bytes: Uint8Array, from: number, to: number): void {
    for (let i = from; i < to; i++) {
      if (this.#have < 2) this.#key = (this.#key << 8 | bytes[i]!) & 0xffff;
      else this.#value = this.#value * 256 + bytes[i]!;
      if (++this.#have < SETTING_SIZE) continue;
      if (this.#key === INITIAL_WINDOW_SIZE) {
        this.#check(this.#sender.setInitialWindow(this.#value));
      }
      this.#have = this.#value = 0;
    }
  }

  /** Lets the other side send as much as it has sent, if that is worth it. */
  #widen(): void {
    const increment = WINDOW - this.#window;
    if (increment < WORTH_A_WINDOW || this.#isOver) return;
    this.#window = WINDOW;
    const size = FRAME_HEADER_SIZE + WINDOW_UPDATE_SIZE;
    const frames = new Uint8Array(2 * size);
    for (const [i, stream] of [0, CALL_STREAM].entries()) {
      writeFrameHeader(frames, i * size, WINDOW_UPDATE_SIZE, FrameType.windowUpdate, 0, stream);
      writeUint32(frames, i * size + FRAME_HEADER_SIZE, increment);
    }
    this.#user.write(frames);
  }

  #check(problem: string | undefined): void {
    if (problem !== undefined) this.#fail(problem);
  }

  #fail(why: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#user.failed(why);
  }
}
