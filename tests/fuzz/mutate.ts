/**
 * Mutations of IP packets that know the format: they aim at fields, add options, extension headers,
 * fragments and quoting ICMP errors, and mostly make lengths and checksums right again, so that the
 * result gets past the first checks.
 *
 * @module
 */

import type { Random } from "../sim/random.ts";
import { fragment, ipv4Options, ipv6Extension, quote, swap, tcpOptions } from "./generate.ts";
import {
  concat,
  DESTINATION_OPTIONS,
  fixChecksums,
  fixLengths,
  FRAGMENT,
  get16,
  get32,
  HOP_BY_HOP,
  ICMP,
  ICMPV6,
  type Layout,
  layoutOf,
  ROUTING,
  set16,
  set32,
  TCP,
  UDP,
} from "./wire.ts";

const INTERESTING_BYTES = [0, 1, 2, 3, 4, 7, 8, 15, 16, 40, 44, 63, 64, 127, 128, 254, 255];
const INTERESTING_WORDS = [
  0,
  1,
  7,
  8,
  20,
  40,
  48,
  64,
  536,
  1280,
  1500,
  0x7fff,
  0x8000,
  0xfffe,
  0xffff,
];

/**
 * Makes mutants of `seed`, mostly one; several when it is cut into fragments.
 *
 * @param others Whole packets of the same traffic, to splice with and to quote.
 */
export function mutatePacket(
  random: Random,
  seed: Uint8Array,
  others: readonly Uint8Array[],
): Uint8Array[] {
  let bytes: Uint8Array = seed.slice();
  let isWhole = true;
  for (let i = random.between(1, 3); i > 0; i--) {
    const layout = layoutOf(bytes);
    const choice = random.below(20);
    if (choice < 2 || layout === undefined) bytes = mutateBytes(random, bytes);
    else if (choice < 10) mutateTransport(random, bytes, layout);
    else if (choice < 13) mutateIpHeader(random, bytes, layout);
    else if (choice === 13) bytes = addIpOptions(random, bytes, layout);
    else if (choice === 14) bytes = addTcpOptions(random, bytes, layout);
    else if (choice === 15) bytes = quote(random, pick(random, others) ?? bytes);
    else if (choice === 16) bytes = splice(random, bytes, pick(random, others) ?? bytes);
    else if (choice === 17) bytes = resize(random, bytes);
    else if (choice === 18 && isWhole) isWhole = false;
    else bytes = mutateBytes(random, bytes);
  }
  if (random.chance(0.9)) fixLengths(bytes);
  if (random.chance(0.95)) fixChecksums(bytes);
  if (isWhole) return [bytes];
  const layout = layoutOf(bytes);
  return layout === undefined ? [bytes] : fragment(random, bytes, layout);
}

/** Bytes without a notion of what they mean. */
export function mutateBytes(random: Random, bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0) return random.bytes(random.between(1, 60));
  const at = random.below(bytes.length);
  switch (random.below(5)) {
    case 0:
      bytes[at]! ^= 1 << random.below(8);
      return bytes;
    case 1:
      bytes[at] = random.below(256);
      return bytes;
    case 2:
      bytes[at] = INTERESTING_BYTES[random.below(INTERESTING_BYTES.length)]!;
      return bytes;
    case 3:
      set16(bytes, at & ~1, INTERESTING_WORDS[random.below(INTERESTING_WORDS.length)]!);
      return bytes;
    default:
      set32(bytes, at & ~3, random.chance(0.5) ? 0xffffffff : random.uint32());
      return bytes;
  }
}

/** Cut short, or with something behind. */
export function resize(random: Random, bytes: Uint8Array): Uint8Array {
  if (random.chance(0.6)) return bytes.slice(0, random.below(bytes.length + 1));
  return concat(bytes, random.bytes(random.between(1, 64)));
}

export function splice(random: Random, bytes: Uint8Array, other: Uint8Array): Uint8Array {
  const at = random.below(Math.min(bytes.length, other.length) + 1);
  return concat(bytes.subarray(0, at), other.subarray(at));
}

function mutateIpHeader(random: Random, bytes: Uint8Array, layout: Layout): void {
  if (layout.version === 4) {
    const choices = [
      () => bytes[0] = 0x40 | random.below(16),
      () => set16(bytes, 2, near(random, get16(bytes, 2))),
      () => set16(bytes, 4, random.below(4)),
      () => set16(bytes, 6, random.below(8) << 13 | (random.chance(0.5) ? random.below(200) : 0)),
      () => set16(bytes, 6, random.below(0x10000)),
      () => bytes[8] = random.below(4),
      () => bytes[9] = [ICMP, TCP, UDP, 2, 255][random.below(5)]!,
      () => bytes[12 + random.below(8)] = random.below(256),
      () => bytes[12] = [0, 10, 127, 169, 224, 255][random.below(6)]!,
      () => bytes[19] = [0, 1, 2, 255][random.below(4)]!,
      () => swap(bytes, 12, 16, 4),
    ];
    choices[random.below(choices.length)]!();
    return;
  }
  const choices = [
    () => set16(bytes, 4, near(random, get16(bytes, 4))),
    () => bytes[6] = [HOP_BY_HOP, ROUTING, FRAGMENT, 59, DESTINATION_OPTIONS][random.below(5)]!,
    () => bytes[6] = [TCP, UDP, ICMPV6, 255][random.below(4)]!,
    () => bytes[7] = random.below(4),
    () => bytes[8 + random.below(32)] = random.below(256),
    () => bytes[8 + 16 * random.below(2)] = 0xff,
    () => swap(bytes, 8, 24, 16),
  ];
  choices[random.below(choices.length)]!();
}

function mutateTransport(random: Random, bytes: Uint8Array, layout: Layout): void {
  const at = layout.transport;
  if (layout.protocol === TCP) mutateTcp(random, bytes, at);
  else if (layout.protocol === UDP) mutateUdp(random, bytes, at);
  else if (layout.protocol === ICMP || layout.protocol === ICMPV6) mutateIcmp(random, bytes, at);
  else mutateBytes(random, bytes);
}

function mutateTcp(random: Random, bytes: Uint8Array, at: number): void {
  const choices = [
    () => set32(bytes, at + 4, aside(random, get32(bytes, at + 4))),
    () => set32(bytes, at + 4, aside(random, get32(bytes, at + 4))),
    () => set32(bytes, at + 8, aside(random, get32(bytes, at + 8))),
    () => set32(bytes, at + 8, aside(random, get32(bytes, at + 8))),
    () => flipIn(bytes, at + 13, 1 << random.below(6)),
    () => flipIn(bytes, at + 13, 1 << random.below(6)),
    () =>
      setIn(
        bytes,
        at + 13,
        [0x02, 0x12, 0x10, 0x11, 0x04, 0x14, 0x18, 0x03, 0, 0x3f][random.below(10)]!,
      ),
    () => setIn(bytes, at + 12, random.below(16) << 4),
    () => set16(bytes, at + 14, [0, 1, 100, 1000, 0xffff, random.below(0x10000)][random.below(6)]!),
    () => set16(bytes, at + 2 * random.below(2), random.below(0x10000)),
    () => set16(bytes, at + 18, random.below(0x10000)),
    // Timestamps, SACK blocks: whatever the options are, their bodies.
    () => setIn(bytes, at + 20 + random.below(40), random.below(256)),
    () => set32(bytes, at + 24 + 4 * random.below(6), aside(random, get32(bytes, at + 24))),
  ];
  choices[random.below(choices.length)]!();
}

function mutateUdp(random: Random, bytes: Uint8Array, at: number): void {
  const choices = [
    () => set16(bytes, at, random.chance(0.5) ? 0 : random.below(0x10000)),
    () => set16(bytes, at + 2, random.chance(0.5) ? 0 : random.below(0x10000)),
    () => set16(bytes, at + 4, near(random, get16(bytes, at + 4))),
    () => set16(bytes, at + 6, 0),
  ];
  choices[random.below(choices.length)]!();
}

function mutateIcmp(random: Random, bytes: Uint8Array, at: number): void {
  const choices = [
    () =>
      setIn(bytes, at, [0, 1, 2, 3, 4, 5, 8, 11, 12, 128, 129, 133, 135, 137][random.below(14)]!),
    () => setIn(bytes, at + 1, random.below(18)),
    () => set32(bytes, at + 4, [0, 68, 296, 576, 1280, 1499, 0xffff, 0xffffffff][random.below(8)]!),
    () => setIn(bytes, at + 8 + random.below(48), random.below(256)),
    () => set32(bytes, at + 8 + 4 * random.below(12), random.uint32()),
  ];
  choices[random.below(choices.length)]!();
}

/** IPv4 options, or an IPv6 extension header, that may be right or wrong. */
function addIpOptions(random: Random, bytes: Uint8Array, layout: Layout): Uint8Array {
  if (layout.version === 4) {
    const room = (60 - layout.headerLength) >> 2;
    if (room <= 0) return bytes;
    const options = ipv4Options(random, random.between(1, room) * 4);
    const header = bytes.subarray(0, layout.headerLength);
    const out = concat(header, options, bytes.subarray(layout.headerLength));
    out[0] = 0x40 | (layout.headerLength + options.length) >> 2;
    return out;
  }
  const extension = ipv6Extension(random, bytes[6]!);
  const out = concat(bytes.subarray(0, 40), extension.bytes, bytes.subarray(40));
  out[6] = extension.type;
  return out;
}

function addTcpOptions(random: Random, bytes: Uint8Array, layout: Layout): Uint8Array {
  const at = layout.transport;
  if (layout.protocol !== TCP || at + 20 > bytes.length) return mutateBytes(random, bytes);
  const headerLength = bytes[at + 12]! >> 4 << 2;
  const options = tcpOptions(random, random.below(11) * 4, get32(bytes, at + 8));
  const text = bytes.subarray(Math.min(bytes.length, at + Math.max(20, headerLength)));
  const kept = random.chance(0.5) ? bytes.subarray(at + 20, at + headerLength) : new Uint8Array(0);
  const all = concat(kept, options).subarray(0, 40);
  const out = concat(bytes.subarray(0, at + 20), all, text);
  out[at + 12] = (20 + (all.length & ~3)) << 2;
  return out;
}

export function pick<T>(random: Random, from: readonly T[]): T | undefined {
  return from[random.below(from.length)];
}

/** A length close to the right one, or anything. */
function near(random: Random, value: number): number {
  return random.chance(0.6) ? value + random.between(-20, 20) : random.below(0x10000);
}

/** A sequence number not far from `value`, at half the space, or anywhere. */
function aside(random: Random, value: number): number {
  switch (random.below(6)) {
    case 0:
      return value + random.between(-3, 3);
    case 1:
      return value + random.between(-3000, 3000);
    case 2:
      return value + random.between(-100_000, 100_000);
    case 3:
      return value + 0x80000000 + random.between(-2, 2);
    case 4:
      return value - 1;
    default:
      return random.uint32();
  }
}

function setIn(bytes: Uint8Array, at: number, value: number): void {
  if (at < bytes.length) bytes[at] = value;
}

function flipIn(bytes: Uint8Array, at: number, mask: number): void {
  if (at < bytes.length) bytes[at]! ^= mask;
}
