/**
 * Reads DER (X.690), as certificates and lists of revoked ones are written in.
 *
 * @module
 */

export const Tag = {
  Boolean: 0x01,
  Integer: 0x02,
  BitString: 0x03,
  OctetString: 0x04,
  ObjectIdentifier: 0x06,
  UtcTime: 0x17,
  GeneralizedTime: 0x18,
  Sequence: 0x30,
  Set: 0x31,
} as const;

/** One value: its tag, its content, and all of its bytes. */
export interface Der {
  readonly tag: number;
  readonly content: Uint8Array;
  readonly whole: Uint8Array;
}

/**
 * The values that `bytes` is made of, one after the other.
 *
 * @throws {SyntaxError} if it is not made of such.
 */
export function readDer(bytes: Uint8Array): Der[] {
  const values: Der[] = [];
  for (let at = 0; at < bytes.length;) {
    const value = readOne(bytes, at);
    values.push(value);
    at += value.whole.length;
  }
  return values;
}

/** The values inside of one. @throws {SyntaxError} if its content is not made of such. */
export function inside({ content }: Der): Der[] {
  return readDer(content);
}

/** The value at a place. @throws {SyntaxError} if there is none. */
export function at(values: readonly Der[], index: number, tag?: number): Der {
  const value = values[index];
  if (value === undefined || tag !== undefined && value.tag !== tag) {
    throw new SyntaxError(`value ${index} is missing, or of another type`);
  }
  return value;
}

/** An object identifier as it is spoken: `2.5.4.3`. */
export function readObjectIdentifier({ content }: Der): string {
  const numbers: number[] = [];
  let number = 0;
  for (const byte of content) {
    number = number * 128 + (byte & 0x7f);
    if (byte & 0x80) continue;
    numbers.push(number);
    number = 0;
  }
  const first = numbers[0] ?? 0;
  const top = Math.min(2, Math.floor(first / 40));
  return [top, first - 40 * top, ...numbers.slice(1)].join(".");
}

/** UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 has them, in UTC. @throws {SyntaxError} for another. */
export function readTime({ tag, content }: Der): Date {
  const text = String.fromCharCode(...content);
  const isShort = tag === Tag.UtcTime;
  const match = (isShort ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/ : LONG_TIME).exec(text);
  if (match === null) throw new SyntaxError("no time");
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number) as Six;
  const century = isShort ? year < 50 ? 2000 : 1900 : 0;
  return new Date(Date.UTC(century + year, month - 1, day, hour, minute, second));
}

type Six = [number, number, number, number, number, number];
const LONG_TIME = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;

function readOne(bytes: Uint8Array, start: number): Der {
  const tag = bytes[start]!;
  const first = bytes[start + 1];
  if (first === undefined || (tag & 0x1f) === 0x1f) throw new SyntaxError("no value of DER");
  let from = start + 2;
  let length = first;
  if (first & 0x80) {
    const count = first & 0x7f;
    if (count === 0 || count > 4) throw new SyntaxError("a length that DER does not have");
    length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + (bytes[from++] ?? NaN);
  }
  const end = from + length;
  if (!(end <= bytes.length)) throw new SyntaxError("a value is cut off");
  return { tag, content: bytes.subarray(from, end), whole: bytes.subarray(start, end) };
}
