import assert from "node:assert/strict";
import { IpAddress, Prefix } from "../../../netstack/mod.ts";
import { memberFromJson, memberToJson } from "../../../proxy/enrol/member_json.ts";
import {
  formatAnswer,
  formatRequest,
  type Grant,
  parseAnswer,
  parseRequest,
} from "../../../proxy/enrol/message.ts";
import { decodeToken, encodeToken, TokenError } from "../../../proxy/enrol/token.ts";

import { Random } from "../../sim/random.ts";
import type { Target } from "../target.ts";

const INPUTS = 100;
const CHARACTERS = 'wsk1-_AZaz09+/= \n\r\t{}[]":,.\\u0000é';

export const enrolment: Target = {
  name: "enrolment",
  about: "tokens, requests, answers and members, mutated: themselves again, or refused in words",
  run(seed) {
    const random = new Random(seed);
    for (let i = 0; i < INPUTS; i++) {
      mutatedToken(random);
      mutatedMessages(random);
      mutatedMember(random);
    }
    return 3 * INPUTS;
  },
};

function mutatedToken(random: Random): void {
  const size = random.chance(0.5) ? 4 : 16;
  const fallbacks = Array.from(
    { length: random.below(9) },
    (_, i) => `${random.chance(0.5) ? "tls" : "grpc"}://hub${i}:${1 + random.below(65_535)}`,
  );
  const text = encodeToken({
    privateKey: random.bytes(32),
    hubKey: random.bytes(32),
    expiresAt: random.below(2 ** 31) * 1000,
    isClient: random.chance(0.5),
    isCertified: random.chance(0.5),
    name: "x".repeat(random.below(65)),
    endpoints: Array.from({ length: 1 + random.below(8) }, (_, i) => `hub${i}:51820`),
    fallbacks,
    ...(fallbacks.length > 0 && { hubPin: random.bytes(32) }),
    link: new IpAddress(random.bytes(size)),
    service: { address: new IpAddress(random.bytes(size)), port: 1 + random.below(65_535) },
  });
  const given = mutate(random, text);
  try {
    const token = decodeToken(given);
    assert.equal(encodeToken(token), given.replace(/\s+/g, ""));
  } catch (error) {
    assert.ok(error instanceof TokenError, `${error}`);
    assert.ok(!error.message.includes(text.slice(8, 40)));
  }
}

function mutatedMessages(random: Random): void {
  const request = parseRequest(mutate(random, formatRequest({ publicKey: random.bytes(32) })));
  if (request !== undefined) assert.equal(request.publicKey.length, 32);
  const answer = parseAnswer(mutate(random, formatAnswer({ grant: grantOf(random) })));
  if (answer === undefined || !("grant" in answer)) return;
  const { endpoints, fallbacks } = answer.grant;
  for (const text of [...endpoints, ...fallbacks.map(({ url }) => url)]) {
    assert.doesNotMatch(text, /[\s#]/, "it would be another line of the file");
  }
  assert.deepEqual(parseAnswer(formatAnswer(answer)), answer);
}

function mutatedMember(random: Random): void {
  const { addresses, allowedIps, subnets, maps } = grantOf(random);
  const value = memberToJson({
    ...{ addresses, allowedIps, subnets, maps },
    tokenKey: random.bytes(32),
    publicKey: random.bytes(32),
    name: "paris",
    isClient: false,
    state: random.chance(0.5) ? "bound" : "used",
    invitedAt: random.below(1e9),
    expiresAt: random.below(1e9),
    link: new IpAddress(random.bytes(4)),
    endpoints: ["hub:51820"],
    fallbacks: [],
  });
  let parsed: unknown;
  try {
    parsed = JSON.parse(mutate(random, JSON.stringify(value)));
  } catch {
    return; // no JSON any more
  }
  try {
    const member = memberFromJson(parsed);
    assert.deepEqual(memberFromJson(memberToJson(member)), member);
  } catch (error) {
    assert.ok(error instanceof TypeError && /^(?:\w+|a member)$/.test(error.message), `${error}`);
  }
}

function grantOf(random: Random): Grant {
  const prefix = () => new Prefix(new IpAddress(random.bytes(4)), random.below(33));
  const to = prefix();
  const from = new Prefix(new IpAddress(random.bytes(4)), to.length);
  return {
    isClient: random.chance(0.5),
    addresses: [new IpAddress(random.bytes(4)), new IpAddress(random.bytes(16))],
    allowedIps: [prefix(), prefix()],
    subnets: [to],
    maps: [{ from, to }],
    endpoints: ["hub.example.com:51820"],
    mtu: 576 + random.below(65_000 - 576),
    fallbacks: [{ url: "tls://hub.example.com:443", pins: [`sha256/${"A".repeat(43)}=`] }],
  };
}

function mutate(random: Random, text: string): string {
  let out = text.slice(0, random.chance(0.2) ? random.below(text.length) : text.length);
  for (let i = random.below(4); i > 0; i--) {
    const at = random.below(out.length + 1);
    const character = CHARACTERS[random.below(CHARACTERS.length)]!;
    out = out.slice(0, at) + character + out.slice(at + (random.chance(0.7) ? 1 : 0));
  }
  return out;
}
