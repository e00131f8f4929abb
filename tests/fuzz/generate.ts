/**
 * Parts of packets made by chance: options, extension headers, fragments, quoting ICMP errors. Some
 * are right, some are wrong.
 *
 * @module
 */

import type { Random } from "../sim/random.ts";
import {
  concat,
  DESTINATION_OPTIONS,
  fixChecksums,
  fixLengths,
  FRAGMENT,
  HOP_BY_HOP,
  ICMP,
  ICMPV6,
  type Layout,
  layoutOf,
  ROUTING,
  set16,
  set32,
} from "./wire.ts";

/** @param length Bytes, a multiple of four. */
export function ipv4Options(random: Random, length: number): Uint8Array {
  const out = new Uint8Array(length);
  const types = [0, 1, 7, 68, 130, 131, 136, 137, 148, random.below(256)];
  for (let i = 0; i < length;) {
    const type = types[random.below(types.length)]!;
    out[i] = type;
    if (type <= 1 && random.chance(0.95)) {
      i++;
      continue;
    }
    const size = random.chance(0.1) ? random.below(4) : random.between(2, Math.max(2, length - i));
    if (i + 1 < length) out[i + 1] = size;
    for (let j = i + 2; j < Math.min(length, i + size); j++) out[j] = random.below(256);
    i += Math.max(1, size);
  }
  return out;
}

/** One extension header in front of `next`. */
export function ipv6Extension(
  random: Random,
  next: number,
): { type: number; bytes: Uint8Array } {
  const type = [HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, FRAGMENT][random.below(4)]!;
  const units = type === FRAGMENT ? 0 : random.chance(0.8) ? random.below(3) : random.below(8);
  const bytes = new Uint8Array(8 * (units + 1));
  bytes[0] = next;
  bytes[1] = random.chance(0.9) ? units : random.below(256);
  if (type === FRAGMENT) {
    bytes[1] = 0;
    set16(bytes, 2, random.chance(0.4) ? 0 : random.below(64) << 3 | random.below(2));
    set32(bytes, 4, random.below(3));
  } else if (type === ROUTING) {
    bytes[2] = random.below(5);
    bytes[3] = random.chance(0.6) ? 0 : random.below(4);
  } else {
    for (let i = 2; i < bytes.length;) {
      const left = bytes.length - i;
      if (left === 1 || random.chance(0.2)) {
        bytes[i++] = 0;
        continue;
      }
      const size = random.chance(0.05) ? random.below(256) : random.below(left - 1);
      bytes[i] = [
        1,
        1,
        5,
        0x1e,
        0x3e,
        0x40,
        0x80,
        0xc2,
      ][random.chance(0.8) ? random.below(5) : random.below(8)]!;
      bytes[i + 1] = size;
      i += 2 + size;
    }
  }
  return { type, bytes };
}

/** TCP options, right and wrong ones, of `length` bytes. @param near Where SACK blocks lie about. */
export function tcpOptions(random: Random, length: number, near: number): Uint8Array {
  const out = new Uint8Array(length);
  for (let i = 0; i < length;) {
    const kind = [0, 1, 1, 2, 3, 4, 5, 5, 8, 8, random.below(256)][random.below(11)]!;
    if (kind === 0 && random.chance(0.8)) continue;
    const right = kind === 5
      ? 2 + 8 * random.between(1, 4)
      : [1, 1, 4, 3, 2, 10, 2, 2, 10][kind] ?? 2;
    const size = random.chance(0.9) ? right : random.below(42);
    if (kind > 1 && i + size > length && random.chance(0.9)) {
      out[i++] = 1;
      continue;
    }
    out[i] = kind;
    if (kind > 1) {
      if (i + 1 < length) out[i + 1] = size;
      for (let j = i + 2; j < Math.min(length, i + size); j++) out[j] = random.below(256);
      if (kind === 5) {
        for (let j = i + 2; j + 4 <= Math.min(length, i + size); j += 4) {
          set32(out, j, near + random.below(20_000) - 2_000);
        }
      }
    }
    i += kind <= 1 ? 1 : Math.max(1, size);
  }
  return out;
}

/** Cuts a packet into fragments, mostly right ones, some lost, doubled or shifted. */
export function fragment(random: Random, bytes: Uint8Array, layout: Layout): Uint8Array[] {
  const { version, headerLength } = layout;
  const data = bytes.subarray(headerLength);
  const identification = random.below(8);
  const size = 8 * random.between(1, Math.max(1, Math.min(180, data.length >> 4)));
  const out: Uint8Array[] = [];
  for (let start = 0; start < data.length; start += size) {
    const end = Math.min(data.length, start + size);
    const more = end < data.length;
    let at = start;
    if (random.chance(0.03)) at = Math.max(0, at + 8 * random.between(-2, 2));
    const part = data.subarray(start, end);
    const piece = version === 4 ? concat(bytes.subarray(0, headerLength), part) : concat(
      bytes.subarray(0, 40),
      Uint8Array.of(bytes[6]!, 0, 0, 0, 0, 0, 0, identification),
      part,
    );
    if (version === 4) {
      set16(piece, 4, identification);
      set16(piece, 6, (more ? 0x2000 : 0) | at >> 3);
    } else {
      piece[6] = FRAGMENT;
      set16(piece, 42, at | (more ? 1 : 0));
    }
    fixLengths(piece);
    fixChecksums(piece);
    if (random.chance(0.95)) out.push(piece);
    if (random.chance(0.05)) out.push(piece.slice());
  }
  if (random.chance(0.3)) out.reverse();
  return out;
}

/** An ICMP error about `original`, addressed to whoever sent that. */
export function quote(random: Random, original: Uint8Array): Uint8Array {
  const layout = layoutOf(original);
  if (layout === undefined) return original.slice();
  const most = random.chance(0.7) ? 64 : random.below(200);
  const quoted = original.subarray(0, Math.min(original.length, layout.headerLength + most));
  const parameter = [0, 68, 552, 576, 1000, 1280, 1400, 65_535][random.below(8)]!;
  const message = new Uint8Array(8 + quoted.length);
  set32(message, 4, parameter);
  message.set(quoted, 8);
  if (layout.version === 4) {
    message[0] = [3, 3, 3, 11, 12, 4, 5][random.below(7)]!;
    message[1] = message[0] === 3 ? random.below(16) : random.below(3);
    const header = original.slice(0, 20);
    header[0] = 0x45;
    header[9] = ICMP;
    header.fill(0, 4, 8);
    header[8] = 64;
    swap(header, 12, 16, 4);
    return concat(header, message);
  }
  message[0] = [1, 2, 2, 3, 4][random.below(5)]!;
  message[1] = message[0] === 2 ? 0 : random.below(7);
  const header = original.slice(0, 40);
  header[6] = ICMPV6;
  header[7] = 64;
  swap(header, 8, 24, 16);
  return concat(header, message);
}

export function swap(bytes: Uint8Array, a: number, b: number, length: number): void {
  const first = bytes.slice(a, a + length);
  bytes.copyWithin(a, b, b + length);
  bytes.set(first, b);
}
