import assert from "node:assert/strict";
import {
  BAD_CHECKSUM,
  checkIpv4Options,
  copyHeaderForFragment,
  decrementTtl,
  ipv4HeaderLength,
  MALFORMED,
  OPTIONS_FINE,
  OPTIONS_MALFORMED,
  OPTIONS_SOURCE_ROUTE,
  validateIpv4,
} from "../../../netstack/ipv4.ts";
import { Random } from "../../sim/random.ts";
import { ipv4Options } from "../generate.ts";
import { mutateBytes, resize } from "../mutate.ts";
import type { Target } from "../target.ts";
import { checksum, concat, get16, set16 } from "../wire.ts";
import { Surrounded } from "./surroundings.ts";

const INPUTS = 500;

export const ipv4: Target = {
  name: "ipv4",
  about: "IPv4 header and options, against a plain parser; headers of later fragments; TTL",
  run(seed) {
    const random = new Random(seed);
    for (let i = 0; i < INPUTS; i++) tryHeader(random, header(random));
    return INPUTS;
  },
};

function header(random: Random): Uint8Array {
  const options = random.chance(0.7)
    ? ipv4Options(random, 4 * random.below(11))
    : new Uint8Array(0);
  let bytes = concat(random.bytes(20), options, random.bytes(random.below(30)));
  bytes[0] = 0x40 | (20 + options.length) >> 2;
  if (random.chance(0.1)) bytes[0] = random.below(256);
  set16(bytes, 2, random.chance(0.8) ? bytes.length : random.below(100));
  if (random.chance(0.2)) bytes = resize(random, bytes);
  if (random.chance(0.1)) bytes = mutateBytes(random, bytes);
  if (random.chance(0.9) && bytes.length >= 20) {
    const length = Math.min(bytes.length, (bytes[0]! & 15) * 4);
    set16(bytes, 10, 0);
    set16(bytes, 10, checksum(bytes, 0, length));
  }
  return bytes;
}

function tryHeader(random: Random, bytes: Uint8Array): void {
  const packet = new Surrounded(random, bytes);
  const { buffer, offset, length } = packet;
  const total = validateIpv4(buffer, offset, length);
  assert.equal(total, plainValidate(bytes));
  packet.check();
  if (total < 0) return;
  const headerLength = ipv4HeaderLength(buffer, offset);
  const options = checkIpv4Options(buffer, offset, headerLength);
  assert.equal(options, plainOptions(bytes.subarray(20, headerLength)));
  packet.check();
  if (options !== OPTIONS_FINE) return;

  const into = new Surrounded(random, new Uint8Array(60));
  const copied = copyHeaderForFragment(buffer, offset, headerLength, into.buffer, into.offset);
  packet.check();
  into.check(true);
  assert.ok(copied >= 20 && copied <= headerLength && copied % 4 === 0);
  const copy = into.buffer.subarray(into.offset, into.offset + copied);
  assert.deepEqual(copy.subarray(20), plainCopied(bytes.subarray(20, headerLength)));
  assert.equal(copy[0], 0x40 | copied / 4);
  assert.deepEqual(copy.subarray(1, 20), bytes.subarray(1, 20));

  if (bytes[8] === 0) return;
  decrementTtl(buffer, offset);
  packet.check(true);
  assert.equal(buffer[offset + 8], bytes[8]! - 1);
  assert.equal(checksum(buffer, offset, headerLength), 0, "the checksum after a hop");
}

/** RFC 791 §3.1, field by field. */
function plainValidate(bytes: Uint8Array): number {
  if (bytes.length < 20 || bytes[0]! >> 4 !== 4) return MALFORMED;
  const headerLength = (bytes[0]! & 15) * 4;
  const total = get16(bytes, 2);
  if (headerLength < 20 || total < headerLength || total > bytes.length) return MALFORMED;
  return checksum(bytes, 0, headerLength) === 0 ? total : BAD_CHECKSUM;
}

/** Options one by one, recursively. */
function plainOptions(options: Uint8Array): number {
  if (options.length === 0 || options[0] === 0) return OPTIONS_FINE;
  if (options[0] === 1) return plainOptions(options.subarray(1));
  const length = options[1];
  if (length === undefined || length < 2 || length > options.length) return OPTIONS_MALFORMED;
  if (options[0] === 131 || options[0] === 137) return OPTIONS_SOURCE_ROUTE;
  return plainOptions(options.subarray(length));
}

/** Those with the copied bit, padded with End of Option List. */
function plainCopied(options: Uint8Array): Uint8Array {
  const kept: number[] = [];
  for (let i = 0; i < options.length && options[i] !== 0;) {
    const length = options[i] === 1 ? 1 : options[i + 1]!;
    if (options[i]! >= 0x80) kept.push(...options.subarray(i, i + length));
    i += length;
  }
  while (kept.length % 4 !== 0) kept.push(0);
  return Uint8Array.from(kept);
}
