/** The bytes of a call between a connection and its user, without any connection. */

import assert from "node:assert/strict";
import type { Socket } from "node:net";
import fc from "npm:fast-check@4.10.2";
import {
  Flag,
  FRAME_HEADER_SIZE,
  FrameSplitter,
  FrameType,
} from "../../../../../proxy/bind/stream/grpc/frames.ts";
import { WINDOW } from "../../../../../proxy/bind/stream/grpc/limits.ts";
import { CallReceiver } from "../../../../../proxy/bind/stream/grpc/receiver.ts";
import { CallSender } from "../../../../../proxy/bind/stream/grpc/sender.ts";
import { concat } from "../../../../netstack/packets.ts";
import { frame } from "./frame.ts";

const { data, headers, resetStream, settings, windowUpdate } = FrameType;
const PING = 6;

function number(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

const widened = (stream: number, by: number) => frame(windowUpdate, 0, stream, number(by));
const initialWindow = (size: number, flags = 0) =>
  frame(settings, flags, 0, Uint8Array.of(0, 3, 0, 0, 0, 9, 0, 4, ...number(size)));

/** What has been sent, frame by frame. */
class Sent {
  readonly frames: { type: number; stream: number; payload: Uint8Array }[] = [];
  /** Of the frames that have not left. */
  lefts: (() => void)[] = [];
  readonly sender = new CallSender(
    {
      write: (bytes: Uint8Array, left: () => void) => this.#write(bytes, left),
    } as unknown as Socket,
  );
  readonly #splitter = new FrameSplitter({
    begin: (type, _flags, stream) => {
      this.frames.push({ type, stream, payload: new Uint8Array() });
      return true;
    },
    payload: (bytes, from, to) => {
      const frame = this.frames.at(-1)!;
      frame.payload = concat(frame.payload, bytes.subarray(from, to));
    },
    end() {},
    pass() {},
  }, 0);

  /** Payloads of DATA frames, one behind the other. */
  get bytes(): Uint8Array {
    return concat(...this.frames.filter(({ type }) => type === data).map(({ payload }) => payload));
  }

  /** Everything leaves, what is written for that too. */
  leave(): void {
    while (this.lefts.length > 0) for (const left of this.lefts.splice(0)) left();
  }

  #write(bytes: Uint8Array, left: () => void): void {
    this.#splitter.push(bytes);
    this.lefts.push(left);
  }
}

/** The other side of a call that has begun. */
class Received {
  readonly #taken: Uint8Array[] = [];
  readonly #passed: Uint8Array[] = [];
  readonly written: Uint8Array[] = [];
  readonly sent = new Sent();
  problem: string | undefined;
  isReading = true;
  readonly receiver: CallReceiver;

  constructor(preface = 0) {
    this.receiver = new CallReceiver(
      {
        pass: (bytes) => void this.#passed.push(bytes),
        write: (frames) => void this.written.push(frames),
        failed: (why) => this.problem = why,
        setReading: (isReading) => this.isReading = isReading,
      },
      this.sent.sender,
      preface,
    );
  }

  get taken(): Uint8Array {
    return concat(...this.#taken);
  }

  get passed(): Uint8Array {
    return concat(...this.#passed);
  }

  async start(): Promise<void> {
    this.receiver.start((packed) => void this.#taken.push(packed));
    await Promise.resolve();
  }

  push(...frames: Uint8Array[]): void {
    for (const bytes of frames) this.receiver.received(bytes.slice());
  }
}

const HEADERS = frame(headers, 4, 1, Uint8Array.of(1, 2, 3));
/** A message with `size` packed bytes. */
function message(size: number, fill = 7): Uint8Array {
  const sent = new Sent();
  sent.sender.open();
  sent.sender.widen(true, 1 << 20);
  sent.sender.widen(false, 1 << 20);
  sent.sender.write(new Uint8Array(size).fill(fill), 0, () => {});
  return sent.bytes;
}

Deno.test("a call's data is taken out of the frames of a connection, however they come", async () => {
  const frames = fc.array(
    fc.oneof(
      fc.record({
        type: fc.constant("data" as const),
        size: fc.integer({ min: 0, max: 300 }),
        padding: fc.oneof(fc.constant(undefined), fc.integer({ min: 0, max: 20 })),
      }),
      fc.record({ type: fc.constant("other" as const), size: fc.integer({ min: 0, max: 30 }) }),
      fc.record({ type: fc.constant("window" as const), size: fc.integer({ min: 1, max: 9 }) }),
    ),
    { maxLength: 12 },
  );
  const pieces = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 6 });
  await fc.assert(fc.asyncProperty(frames, pieces, fc.boolean(), async (frames, pieces, ends) => {
    const preface = new TextEncoder().encode("a preface of 24 bytes...");
    const all: Uint8Array[] = [preface, HEADERS];
    const passed: Uint8Array[] = [preface, HEADERS];
    // Messages are cut into frames anywhere.
    const sizes = frames.flatMap((frame) => frame.type === "data" ? [frame.size] : []);
    const messages = concat(...sizes.map((size, i) => message(size + 1, i)));
    const expected = concat(...sizes.map((size, i) => new Uint8Array(size + 1).fill(i)));
    let at = 0;
    for (const one of frames) {
      if (one.type === "data") {
        const isLast = one === frames.findLast(({ type }) => type === "data");
        const part = messages.subarray(at, isLast ? messages.length : at + one.size);
        at += part.length;
        const padded = concat(
          Uint8Array.of(one.padding ?? 0),
          part,
          new Uint8Array(one.padding ?? 0).fill(9),
        );
        const isPadded = one.padding !== undefined;
        all.push(frame(data, isPadded ? Flag.padded : 0, 1, isPadded ? padded : part));
      } else if (one.type === "other") {
        const type = [PING, data, headers][one.size % 3]!;
        const other = frame(type, 0, 3, new Uint8Array(one.size).fill(one.size));
        all.push(other);
        passed.push(other);
      } else {
        all.push(widened(one.size % 2, one.size));
      }
    }
    if (ends) {
      all.push(frame(data, Flag.endStream, 1, new Uint8Array()));
      passed.push(frame(data, Flag.endStream, 1, new Uint8Array()));
    }
    const bytes = concat(...all);
    const received = new Received(preface.length);
    await received.start();
    for (let from = 0, i = 0; from < bytes.length; i++) {
      const to = from + pieces[i % pieces.length]!;
      received.push(bytes.subarray(from, to));
      from = to;
    }
    assert.equal(received.problem, undefined);
    assert.deepEqual(received.taken, expected);
    assert.deepEqual(received.passed, concat(...passed));
    assert.equal(received.receiver.isOpen, !ends);
  }));
});

Deno.test("what comes before anybody takes it waits, and stops the connection", async () => {
  const received = new Received();
  received.push(frame(data, 0, 1, message(50)));
  assert.equal(received.passed.length, FRAME_HEADER_SIZE + message(50).length, "no call yet");
  received.push(HEADERS);
  assert.ok(received.isReading);
  received.push(frame(data, 0, 1, message(60)));
  assert.ok(!received.isReading);
  assert.equal(received.taken.length, 0);
  await received.start();
  assert.ok(received.isReading);
  received.push(frame(data, 0, 1, message(70)));
  assert.equal(received.taken.length, 130);
  received.receiver.setReading(false);
  assert.ok(!received.isReading);
});

Deno.test("the other side may send a megabyte, again and again, and no more than it was let", async () => {
  const received = new Received();
  received.push(HEADERS);
  await received.start();
  const first = [widened(0, WINDOW - 65_535), widened(1, WINDOW - 65_535)];
  assert.deepEqual(received.written, [concat(...first)]);
  const part = frame(data, 0, 1, message(16_000));
  const size = part.length - FRAME_HEADER_SIZE;
  let sent = 0;
  while (sent < 10 << 20) {
    received.push(part);
    sent += size;
  }
  const granted = received.written.slice(1).map((frames) => {
    assert.equal(frames.length, 26);
    const view = new DataView(frames.buffer);
    assert.equal(view.getUint32(9), view.getUint32(22));
    return view.getUint32(9);
  });
  const all = granted.reduce((sum, increment) => sum + increment, 0);
  assert.ok(all <= sent && sent - all < WINDOW / 4, `${sent} ${all}`);
  assert.equal(received.problem, undefined);

  const early = new Received();
  early.push(HEADERS, part, part, part);
  assert.equal(early.problem, undefined);
  early.push(part, part);
  assert.equal(early.problem, "more than the window of HTTP/2");
});

Deno.test("a window that comes before the other side's headers counts", async () => {
  const received = new Received();
  received.push(widened(0, 100_000), widened(1, 100_000), HEADERS);
  assert.deepEqual(received.passed, HEADERS);
  await received.start();
  const { sender } = received.sent;
  sender.open();
  sender.write(new Uint8Array(100_000), 0, () => {});
  assert.equal(received.sent.bytes.length, message(100_000).length);
});

Deno.test("what is wrong with frames of a call is said, once", async () => {
  for (
    const [expected, ...frames] of [
      ["a message longer than allowed", frame(data, 0, 1, Uint8Array.of(0, 9, 9, 9, 9))],
      [
        "a frame of HTTP/2 that is all padding",
        frame(data, Flag.padded, 1, Uint8Array.of(4, 1, 2, 3)),
      ],
      ["a window that HTTP/2 has not", widened(1, 0)],
      ["a window that HTTP/2 has not", widened(0, 2 ** 31 - 1)],
      ["a window that HTTP/2 has not", widened(1, 2 ** 31 - 65_536), widened(1, 1)],
      ["a window that HTTP/2 has not", initialWindow(2 ** 31)],
    ] as const
  ) {
    const received = new Received();
    received.push(HEADERS);
    await received.start();
    received.push(...frames);
    assert.equal(received.problem, expected);
    received.problem = undefined;
    received.push(frame(data, 0, 1, Uint8Array.of(0, 9, 9, 9, 9)), frame(data, 0, 1, message(9)));
    assert.equal(received.problem, undefined);
    assert.equal(received.taken.length, 0);
  }
});

Deno.test("a call that was taken back, or ended, has no data: HTTP/2 says what that means", async () => {
  for (
    const last of [
      frame(resetStream, 0, 1, number(8)),
      frame(headers, 4 | Flag.endStream, 1, Uint8Array.of(1)),
      frame(data, Flag.endStream, 1, message(5)),
    ]
  ) {
    const received = new Received();
    received.push(HEADERS);
    await received.start();
    received.push(last);
    const before = received.taken.length;
    const passed = received.passed.length;
    const more = frame(data, 0, 1, message(50));
    received.push(more);
    assert.ok(!received.receiver.isOpen);
    assert.equal(received.taken.length, before);
    assert.equal(received.passed.length, passed + more.length);
  }
});

Deno.test("a message is one frame, made in place, where there is room for what is before it", () => {
  for (const room of [17, 18, 30]) {
    const { sender, frames, lefts } = new Sent();
    sender.open();
    const memory = new Uint8Array(30 + 16_367).fill(5);
    let left = 0;
    sender.write(memory.subarray(30), room, () => left++);
    assert.equal(frames.length, 1);
    assert.deepEqual(frames[0]!.payload, message(16_367, 5));
    assert.equal(memory[29] === 5, room < 17, `${room}`);
    assert.equal(left, 0);
    lefts[0]!();
    assert.equal(left, 1);
  }
});

Deno.test("no more is sent than the other side's windows let, and nothing before this side's headers", () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 40_000 }), { minLength: 1, maxLength: 8 });
  const steps = fc.array(fc.integer({ min: 1, max: 60_000 }), { maxLength: 20 });
  const initial = fc.constantFrom(65_535, 0, 100, 100_000);
  fc.assert(
    fc.property(sizes, steps, initial, (sizes, steps, initial) => {
      const sent = new Sent();
      const { sender, frames } = sent;
      let left = 0;
      const messages = sizes.map((size, i) => message(size, i));
      sizes.forEach((size, i) => sender.write(new Uint8Array(size).fill(i), 0, () => left++));
      assert.equal(frames.length, 0);
      sender.open();
      assert.ok(sent.bytes.length <= 65_535);
      sender.setInitialWindow(initial);
      const windows = [65_535, Math.max(65_535, initial)];
      // What was sent under the first window counts, though the second may be less.
      let ofStream = initial;
      const all = concat(...messages);
      steps.forEach((step, i) => {
        assert.equal(sender.widen(i % 2 === 1, step), undefined);
        sent.leave();
        windows[i % 2]! += step;
        if (i % 2 === 1) ofStream += step;
        const count = sent.bytes.length;
        assert.ok(count <= Math.min(...windows, Math.max(65_535, ofStream)));
        assert.deepEqual(sent.bytes, all.subarray(0, count));
      });
      sender.widen(true, 1 << 20);
      sender.widen(false, 1 << 20);
      sent.leave();
      assert.deepEqual(sent.bytes, all);
      assert.ok(frames.every(({ payload }) => payload.length <= 16_384));
      assert.equal(left, sizes.length);
    }),
    { numRuns: 30 },
  );
});

Deno.test("who opens the window by one byte after the other gets few frames before they have left", () => {
  const sent = new Sent();
  const { sender, frames } = sent;
  sender.setInitialWindow(0);
  sender.open();
  let left = 0;
  sender.write(new Uint8Array(16_000).fill(5), 0, () => left++);
  for (let i = 0; i < 2_000; i++) sender.widen(true, 1);
  assert.ok(frames.length <= 32, `${frames.length}`);
  sender.widen(true, 1 << 20);
  assert.ok(frames.length <= 32, `${frames.length}`);
  sent.leave();
  assert.equal(left, 1);
  assert.ok(frames.length <= 64, `${frames.length}`);
  assert.deepEqual(sent.bytes, message(16_000, 5));
});
