/**
 * A plain reader of pcapng, for tests: what `proxy/capture/` writes, block by block.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Capture } from "../../../proxy/capture/capture.ts";

export interface ReadPacket {
  readonly at: string;
  readonly direction: "in" | "out";
  /** Nanoseconds. */
  readonly time: bigint;
  readonly data: Uint8Array;
  readonly original: number;
  readonly comment: string | undefined;
  /** Lost before it. */
  readonly drops: number;
}

export interface ReadStatistics {
  readonly at: string;
  readonly seen: number;
  readonly accepted: number;
  readonly dropped: number;
}

export interface ReadFile {
  readonly interfaces: readonly { readonly name: string; readonly snapLength: number }[];
  readonly packets: readonly ReadPacket[];
  readonly statistics: readonly ReadStatistics[];
  readonly secrets: string;
}

/** Everything that is left of a capture, which must have been stopped. */
export async function drain(capture: Capture): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  for (let piece; (piece = await capture.read()) !== undefined;) pieces.push(piece.slice());
  const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

export function readPcapng(bytes: Uint8Array<ArrayBuffer>): ReadFile {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const interfaces: { name: string; snapLength: number }[] = [];
  const packets: ReadPacket[] = [];
  const statistics: ReadStatistics[] = [];
  let secrets = "";
  for (let at = 0; at < bytes.length;) {
    const type = view.getUint32(at, true);
    const length = view.getUint32(at + 4, true);
    assert.equal(length % 4, 0);
    assert.equal(view.getUint32(at + length - 4, true), length, "the length at both ends");
    const end = at + length - 4;
    if (at === 0) assert.equal(type, 0x0a0d0d0a);
    if (type === 1) {
      assert.equal(view.getUint16(at + 8, true), 101, "raw IP");
      const options = readOptions(bytes, view, at + 16, end);
      interfaces.push({ name: text(options.get(2)), snapLength: view.getUint32(at + 12, true) });
      assert.deepEqual([...options.get(9)!], [9], "nanoseconds");
    } else if (type === 6) {
      const captured = view.getUint32(at + 20, true);
      const options = readOptions(bytes, view, at + 28 + (captured + 3 & ~3), end);
      const drops = options.get(4);
      const comment = options.get(1);
      packets.push({
        at: interfaces[view.getUint32(at + 8, true)]!.name,
        direction: options.get(2)![0] === 1 ? "in" : "out",
        time: timeAt(view, at + 12),
        data: bytes.slice(at + 28, at + 28 + captured),
        original: view.getUint32(at + 24, true),
        comment: comment && text(comment),
        drops: drops === undefined ? 0 : Number(uint64(drops)),
      });
    } else if (type === 5) {
      const options = readOptions(bytes, view, at + 20, end);
      statistics.push({
        at: interfaces[view.getUint32(at + 8, true)]!.name,
        seen: Number(uint64(options.get(4)!)),
        dropped: Number(uint64(options.get(5)!)),
        accepted: Number(uint64(options.get(6)!)),
      });
      assert.equal(uint64(options.get(8)!), uint64(options.get(6)!) - uint64(options.get(5)!));
    } else if (type === 10) {
      assert.equal(view.getUint32(at + 8, true), 0x57474b4c);
      secrets += text(bytes.subarray(at + 16, at + 16 + view.getUint32(at + 12, true)));
    } else assert.equal(type, 0x0a0d0d0a, "a block that nobody wrote");
    at += length;
  }
  return { interfaces, packets, statistics, secrets };
}

function readOptions(bytes: Uint8Array, view: DataView, at: number, end: number) {
  const options = new Map<number, Uint8Array>();
  while (at < end) {
    const code = view.getUint16(at, true);
    const length = view.getUint16(at + 2, true);
    if (code === 0) break;
    options.set(code, bytes.slice(at + 4, at + 4 + length));
    at += 4 + (length + 3 & ~3);
  }
  assert.ok(at <= end, "options end in their block");
  return options;
}

function timeAt(view: DataView, at: number): bigint {
  return BigInt(view.getUint32(at, true)) << 32n | BigInt(view.getUint32(at + 4, true));
}

function uint64(bytes: Uint8Array): bigint {
  return new DataView(bytes.buffer).getBigUint64(0, true);
}

function text(bytes: Uint8Array | undefined): string {
  return new TextDecoder().decode(bytes);
}
