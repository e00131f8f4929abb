import assert from "node:assert/strict";
import { MALFORMED } from "../../../netstack/ipv4.ts";
import { type ChainEnd, HeaderChain, validateIpv6 } from "../../../netstack/ipv6.ts";
import { Random } from "../../sim/random.ts";
import { ipv6Extension } from "../generate.ts";
import { mutateBytes, resize } from "../mutate.ts";
import type { Target } from "../target.ts";
import { concat, get16, set16 } from "../wire.ts";
import { Surrounded } from "./surroundings.ts";

const INPUTS = 500;

export const ipv6: Target = {
  name: "ipv6",
  about: "IPv6 header and the chain of extension headers, against a plain parser",
  run(seed) {
    const random = new Random(seed);
    for (let i = 0; i < INPUTS; i++) tryPacket(random, packet(random));
    return INPUTS;
  },
};

function packet(random: Random): Uint8Array {
  let rest: Uint8Array = random.bytes(random.below(30));
  let next = [6, 17, 58, 59, 0, 44, random.below(256)][random.below(7)]!;
  const extensions = random.chance(0.9) ? random.below(5) : random.below(14);
  for (let i = 0; i < extensions; i++) {
    const extension = ipv6Extension(random, next);
    rest = concat(extension.bytes, rest);
    next = extension.type;
  }
  let bytes = concat(random.bytes(40), rest);
  bytes[0] = 0x60;
  bytes[6] = next;
  set16(bytes, 4, random.chance(0.9) ? rest.length : random.below(200));
  if (random.chance(0.2)) bytes = resize(random, bytes);
  if (random.chance(0.2)) bytes = mutateBytes(random, bytes);
  return bytes;
}

const chain = new HeaderChain();

function tryPacket(random: Random, bytes: Uint8Array): void {
  const packet = new Surrounded(random, bytes);
  const { buffer, offset, length } = packet;
  const total = validateIpv6(buffer, offset, length);
  assert.equal(total, plainValidate(bytes));
  if (total < 0) return;
  const field = offset + 6;
  const end = chain.walk(buffer, buffer[field]!, offset + 40, field, offset + total);
  packet.check();
  const expected = plainWalk(bytes.subarray(0, total));
  assert.equal(end, expected.end);
  if (end === "upper" || end === "fragment") {
    assert.equal(chain.protocol, expected.protocol);
    assert.equal(chain.offset - offset, expected.offset);
    assert.equal(chain.nextHeaderField - offset, expected.field);
  } else if (end !== "drop") assert.equal(chain.pointer - offset, expected.pointer);
}

function plainValidate(bytes: Uint8Array): number {
  if (bytes.length < 40 || bytes[0]! >> 4 !== 6) return MALFORMED;
  const total = 40 + get16(bytes, 4);
  return total <= bytes.length ? total : MALFORMED;
}

export interface Walked {
  end: ChainEnd;
  protocol?: number;
  offset?: number;
  field?: number;
  pointer?: number;
}

/** RFC 8200 §4, header by header. At most eight extensions. */
export function plainWalk(bytes: Uint8Array, at = 40, field = 6, count = 0): Walked {
  const protocol = bytes[field]!;
  if (count > 8 || protocol === 59) return { end: "drop" };
  if (protocol === 44) {
    if (at + 8 > bytes.length) return { end: "drop" };
    return { end: "fragment", protocol, offset: at, field };
  }
  const isOptions = protocol === 60 || (protocol === 0 && count === 0);
  if (!isOptions && protocol !== 43) return { end: "upper", protocol, offset: at, field };
  const header = bytes.subarray(at);
  if (header.length < 8) return { end: "drop" };
  const length = 8 * (header[1]! + 1);
  if (length > header.length) return { end: "drop" };
  if (protocol === 43) {
    if (header[3] !== 0) return { end: "routing", pointer: at + 2 };
  } else {
    for (let i = 2; i < length;) {
      if (header[i] === 0) {
        i++;
        continue;
      }
      if (i + 1 >= length || header[i]! >> 6 === 1) return { end: "drop" };
      if (header[i]! >= 0x80) return { end: "option", pointer: at + i };
      i += 2 + header[i + 1]!;
      if (i > length) return { end: "drop" };
    }
  }
  return plainWalk(bytes, at + length, at, count + 1);
}
