/**
 * What this side sends of a call: its messages, in DATA frames between those that HTTP/2 writes, as far as
 * the other side's windows let them (RFC 9113 §5.2). A message is one frame and one write, in the memory
 * that it was given in, unless it is longer than a frame or a window.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import {
  FIRST_WINDOW,
  FRAME_HEADER_SIZE,
  FrameType,
  MAX_FRAME_SIZE,
  MAX_WINDOW,
  writeFrameHeader,
} from "./frames.ts";
import { CALL_STREAM } from "./limits.ts";
import { messagePrefixSize, writeMessagePrefix } from "./messages.ts";

const NO_WINDOW = "a window that HTTP/2 has not";
/**
 * Frames of what had to wait that may be written and not have left: many times what each holds is kept for
 * it until then, and who opens a window by one byte after the other would have one made for every byte.
 */
const MOST_PIECES = 32;

/** A message, or its rest. */
interface Waiting {
  bytes: Uint8Array;
  readonly left: () => void;
}

export class CallSender {
  readonly #socket: Socket;
  /** Bytes that the other side takes, of the call and of the connection. */
  #stream = FIRST_WINDOW;
  #connection = FIRST_WINDOW;
  #initial = FIRST_WINDOW;
  /** This side's headers have been written. */
  #isOpen = false;
  readonly #waiting: Waiting[] = [];
  /** Frames of what waited that have not left. */
  #pieces = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** This side's headers have been written: only then it may send. */
  open(): void {
    this.#isOpen = true;
    this.#pump();
  }

  /**
   * Sends a message.
   *
   * @param packed What is in it, at most 2 MB: not to be touched until `left` is called.
   * @param room Bytes before `packed` in its memory that may be written to: with enough of them nothing is
   * copied.
   * @param left Called when it has left this process, as far as can be told.
   */
  write(packed: Uint8Array, room: number, left: () => void): void {
    const prefix = messagePrefixSize(packed.length);
    const size = prefix + packed.length;
    const before = FRAME_HEADER_SIZE + prefix;
    const bytes = withRoom(packed, before, room);
    writeMessagePrefix(bytes, FRAME_HEADER_SIZE, packed.length);
    if (this.#waiting.length > 0 || size > this.#limit) {
      this.#waiting.push({ bytes: bytes.subarray(FRAME_HEADER_SIZE), left });
      this.#pump();
      return;
    }
    this.#writeFrame(bytes, left);
  }

  /** @param increment At least 1. @returns what is wrong with it. */
  widen(isCall: boolean, increment: number): string | undefined {
    if (isCall) this.#stream += increment;
    else this.#connection += increment;
    return increment === 0 ? NO_WINDOW : this.#widened();
  }

  /** The other side has another first window of each stream: RFC 9113 §6.9.2. */
  setInitialWindow(size: number): string | undefined {
    this.#stream += size - this.#initial;
    this.#initial = size;
    return size > MAX_WINDOW ? NO_WINDOW : this.#widened();
  }

  /** Forgets what waits. */
  close(): void {
    this.#isOpen = false;
    this.#waiting.length = 0;
  }

  get #limit(): number {
    return this.#isOpen ? Math.min(MAX_FRAME_SIZE, this.#stream, this.#connection) : 0;
  }

  #widened(): string | undefined {
    if (this.#stream > MAX_WINDOW || this.#connection > MAX_WINDOW) return NO_WINDOW;
    this.#pump();
    return undefined;
  }

  #pump(): void {
    while (this.#waiting.length > 0 && this.#pieces < MOST_PIECES) {
      const first = this.#waiting[0]!;
      const size = Math.min(first.bytes.length, this.#limit);
      if (size <= 0) return;
      const frame = new Uint8Array(FRAME_HEADER_SIZE + size);
      frame.set(first.bytes.subarray(0, size), FRAME_HEADER_SIZE);
      first.bytes = first.bytes.subarray(size);
      const isLast = first.bytes.length === 0;
      if (isLast) this.#waiting.shift();
      this.#pieces++;
      this.#writeFrame(frame, () => {
        this.#pieces--;
        if (isLast) first.left();
        this.#pump();
      });
    }
  }

  /** @param frame With room for its header. */
  #writeFrame(frame: Uint8Array, left: () => void): void {
    const size = frame.length - FRAME_HEADER_SIZE;
    this.#stream -= size;
    this.#connection -= size;
    writeFrameHeader(frame, 0, size, FrameType.data, 0, CALL_STREAM);
    this.#socket.write(frame, left);
  }
}

/** `packed` with `size` bytes before it, which are its memory's own if that has them. */
function withRoom(packed: Uint8Array, size: number, room: number): Uint8Array {
  const { buffer, byteOffset, length } = packed;
  if (room >= size) return Buffer.from(buffer as ArrayBuffer, byteOffset - size, size + length);
  const bytes = new Uint8Array(size + length);
  bytes.set(packed, size);
  return bytes;
}
