import assert from "node:assert/strict";
import fc from "fast-check";
import { IpAddress } from "../../../netstack/mod.ts";
import { decodeToken, encodeToken, type Token, TokenError } from "../../../proxy/enrol/token.ts";

const key = fc.uint8Array({ minLength: 32, maxLength: 32 });
const place = fc.tuple(
  fc.stringMatching(/^[a-z][a-z0-9-]{0,40}[a-z]$/),
  fc.integer({ min: 1, max: 65535 }),
).map(([host, port]) => `${host}:${port}`);
const url = fc.tuple(fc.constantFrom("tls", "grpc"), place).map(([transport, place]) =>
  `${transport}://${place}`
);
/** At hosts that are endpoints too, and at others. */
const ways = fc.array(place, { minLength: 1, maxLength: 8 }).chain((endpoints) => {
  const same = fc.tuple(
    fc.constantFrom("tls", "grpc"),
    fc.constantFrom(...endpoints),
    fc.integer({ min: 1, max: 65535 }),
  ).map(([transport, endpoint, port]) => `${transport}://${endpoint.replace(/\d+$/, "")}${port}`);
  return fc.array(fc.oneof(same, url), { maxLength: 8 }).chain((fallbacks) =>
    key.map((pin) => ({ endpoints, fallbacks, ...(fallbacks.length > 0 && { hubPin: pin }) }))
  );
});
const token: fc.Arbitrary<Token> = fc.constantFrom(4, 16).chain((size) => {
  const address = fc.uint8Array({ minLength: size, maxLength: size }).map((bytes) =>
    new IpAddress(bytes)
  );
  return fc.record({
    privateKey: key,
    hubKey: key,
    expiresAt: fc.integer({ min: 0, max: 2 ** 32 }).map((seconds) => seconds * 1000),
    isClient: fc.boolean(),
    isCertified: fc.boolean(),
    name: fc.stringMatching(/^[a-z][a-z0-9 ._@-]{0,28}[a-z]$/),
    ways,
    link: address,
    service: fc.record({ address, port: fc.integer({ min: 1, max: 65535 }) }, {
      noNullPrototype: true,
    }),
  }, { noNullPrototype: true }).map(({ ways, ...rest }) => ({ ...rest, ...ways }));
});

const one: Token = {
  privateKey: new Uint8Array(32).fill(7),
  hubKey: new Uint8Array(32).fill(9),
  expiresAt: 1_795_674_339_000,
  isClient: false,
  isCertified: true,
  name: "paris",
  endpoints: ["hub.example.com:51820", "[2001:db8::1]:51820"],
  fallbacks: [],
  link: IpAddress.v4(169, 254, 3, 4),
  service: { address: IpAddress.v4(10, 9, 0, 1), port: 51820 },
};

Deno.test("a token says what it was made of, whatever white space came into it", () => {
  fc.assert(fc.property(token, fc.nat(), (token, at) => {
    const text = encodeToken(token);
    assert.match(text, token.fallbacks.length > 0 ? /^wsk2[\w-]+$/ : /^wsk1[\w-]+$/);
    assert.deepEqual(decodeToken(text), token);
    const cut = at % text.length;
    assert.deepEqual(decodeToken(` ${text.slice(0, cut)}\r\n  ${text.slice(cut)}\n`), token);
  }));
});

const withFallbacks: Token = {
  ...one,
  fallbacks: ["tls://hub.example.com:443", "grpc://[2001:db8::1]:8443", "tls://other.example:443"],
  hubPin: new Uint8Array(32).fill(5),
};

Deno.test("a token that was cut off is told so at every length, and is not shown", () => {
  const text = encodeToken(withFallbacks);
  for (let length = 0; length < text.length; length++) {
    const part = text.slice(0, length);
    assert.throws(() => decodeToken(part), (error) => {
      assert.ok(error instanceof TokenError);
      assert.match(error.message, length === 0 ? /^is empty, / : /^is cut off/, `${length}`);
      assert.ok(length < 8 || !error.message.includes(part.slice(4)));
      return true;
    });
  }
});

Deno.test("a character that is another, or one too many, is noticed", () => {
  const text = encodeToken(withFallbacks);
  fc.assert(fc.property(
    fc.integer({ min: 0, max: text.length - 1 }),
    fc.constantFrom(..."ABCXYZabcxyz0189_-"),
    (at, character) => {
      fc.pre(text[at] !== character);
      const wrong = text.slice(0, at) + character + text.slice(at + 1);
      assert.throws(() => decodeToken(wrong), TokenError);
    },
  ));
  assert.throws(() => decodeToken(`${text}A`), /is 1 characters too long/);
});

Deno.test("a last character with other bits, which tell nothing, is noticed", () => {
  for (const name of ["a", "ab", "abc"]) {
    const text = encodeToken({ ...one, name });
    for (const character of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
      if (text.endsWith(character)) continue;
      assert.throws(() => decodeToken(text.slice(0, -1) + character), /damaged/, name);
    }
  }
});

Deno.test("what is no token, or one of another version, is told apart", () => {
  assert.throws(
    () => decodeToken("hello"),
    /is no token, expected .* which begins with wsk1 or wsk2$/,
  );
  assert.throws(() => decodeToken("wsk3AAAA"), /is of another version/);
  assert.throws(() => decodeToken("wsk1AA AA?AA"), /characters that no token has/);
  assert.throws(() => decodeToken("x".repeat(1 << 20)), TokenError);
  assert.throws(() => decodeToken("wsk1AAAAAAAA"), TokenError);
});

Deno.test("whatever text comes, it is a token or a TokenError", () => {
  fc.assert(fc.property(fc.string({ maxLength: 300 }), fc.boolean(), (text, isPrefixed) => {
    try {
      decodeToken(isPrefixed ? `wsk1${text}` : text);
    } catch (error) {
      assert.ok(error instanceof TokenError, String(error));
    }
  }));
});

Deno.test("somebody's token that would write to the terminal of whoever joins is none", () => {
  const escape = "\x1b]0;owned\x07";
  for (const name of [`paris${escape}`, "a\nb", "../paris", ""]) {
    assert.throws(() => decodeToken(encodeToken({ ...one, name })), TokenError);
  }
  for (const endpoint of [`hub${escape}:51820`, "hub:1\nPostUp = x", "hub", "hub:0"]) {
    assert.throws(() => decodeToken(encodeToken({ ...one, endpoints: [endpoint] })), TokenError);
  }
});

Deno.test("what a token of before holds is read, and what the ways beside UDP cost is little", () => {
  // As the version before this one has printed it.
  const before =
    "wsk1AIcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ" +
    "AGsH0OMEqf4DBAoJAAHKbAVwYXJpcwIVaHViLmV4YW1wbGUuY29tOjUxODIwE1syMDAxOmRiODo6MV06NTE4MjD7TW3F";
  assert.equal(encodeToken(one), before);
  assert.deepEqual(decodeToken(before), one);
  const same = { ...one, fallbacks: ["tls://hub.example.com:443"], hubPin: one.hubKey };
  const two = { ...same, fallbacks: [...same.fallbacks, "grpc://hub.example.com:8443"] };
  assert.ok(encodeToken(same).length - before.length <= 48);
  assert.ok(encodeToken(two).length - encodeToken(same).length <= 4);
});

Deno.test("places of a fallback that are none, or too many, are no token", () => {
  for (const url of ["tls://hub", "tls://hub\x1b:443", "tls://hub.example.com:0"]) {
    assert.throws(
      () => decodeToken(encodeToken({ ...withFallbacks, fallbacks: [url] })),
      TokenError,
      url,
    );
  }
  const wrong = [
    { ...withFallbacks, fallbacks: Array(9).fill("tls://a:1") },
    { ...withFallbacks, fallbacks: ["http://a:1"] },
    { ...withFallbacks, fallbacks: [] },
    { ...one, fallbacks: ["tls://a:1"] },
  ];
  for (const token of wrong) assert.throws(() => encodeToken(token), RangeError);
});

Deno.test("names and endpoints that do not fit are the caller's mistake", () => {
  assert.throws(() => encodeToken({ ...one, endpoints: [] }), RangeError);
  assert.throws(() => encodeToken({ ...one, endpoints: Array(9).fill("a:1") }), RangeError);
  assert.throws(() => encodeToken({ ...one, name: "x".repeat(256) }), RangeError);
});
