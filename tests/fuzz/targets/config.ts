import assert from "node:assert/strict";
import { ConfigError, type GatewayConfig, loadConfig } from "../../../proxy/config/config.ts";
import { KEYS, SECTION_NAMES } from "../../../proxy/config/keys.ts";
import { Random } from "../../sim/random.ts";
import { pick } from "../mutate.ts";
import type { Target } from "../target.ts";

const INPUTS = 40;
/** No message may hold so much of a key. */
const TELLING = 25;

export const config: Target = {
  name: "config",
  about: "wg-quick files, mutated: a configuration, or lines that name the place and no secret",
  run(seed) {
    const random = new Random(seed);
    for (let i = 0; i < INPUTS; i++) tryFile(random);
    return INPUTS;
  },
};

function tryFile(random: Random): void {
  const secrets = Array.from({ length: 3 }, () => random.bytes(32).toBase64());
  let lines = file(random, secrets);
  for (let i = random.below(6); i > 0; i--) lines = mutate(random, lines, secrets);
  const first = load(lines.join("\n"), secrets);
  // Spelling, comments and white space are no part of what a file says.
  const again = load(decorate(random, lines), secrets);
  if (first !== undefined) assert.deepEqual(again, first);
  else assert.equal(again, undefined);
}

function load(text: string, secrets: string[]): GatewayConfig | undefined {
  try {
    const { config, warnings } = loadConfig(text, { file: "wg0.conf" });
    for (const line of warnings) checkLine(line, secrets);
    return config;
  } catch (error) {
    assert.ok(error instanceof ConfigError, error as Error);
    assert.ok(error.problems.length > 0);
    for (const line of error.problems) checkLine(line, secrets);
    return undefined;
  }
}

function checkLine(line: string, secrets: string[]): void {
  assert.match(line, /^wg0\.conf:\d+: (?:\[?\w+\]?): [^\n\r]+$/);
  for (const secret of secrets) {
    for (let i = 0; i + TELLING <= secret.length; i++) {
      assert.ok(!line.includes(secret.slice(i, i + TELLING)), "a key in a message");
    }
  }
}

function file(random: Random, secrets: string[]): string[] {
  const lines = ["[Interface]", `PrivateKey = ${secrets[0]}`, "Address = 10.9.0.1/24, fd09::1/64"];
  const maybe = (line: string) => {
    if (random.chance(0.3)) lines.push(line);
  };
  for (const line of ["ListenPort = 51820", "MTU = 1420", "DNS = 1.1.1.1, example.com"]) {
    maybe(line);
  }
  for (let i = random.below(3); i > 0; i--) {
    lines.push("", "[Peer]", `PublicKey = ${random.bytes(32).toBase64()}`);
    maybe(`PresharedKey = ${secrets[1]}`);
    maybe(`AllowedIPs = 10.9.0.${random.below(256)}/32, 192.168.0.0/16, fd00::/8`);
    maybe("Endpoint = vpn.example.com:51820");
    maybe("Endpoint = [2001:db8::1]:51820");
    maybe("PersistentKeepalive = 25");
  }
  if (random.chance(0.6)) {
    lines.push("[Proxy]", "Subnets = 192.168.1.0/24, fd00::/8");
    maybe("Protocols = tcp, udp");
    maybe("Map = 10.50.0.1/32 -> 127.0.0.1/32");
    maybe("UdpIdleTimeout = 60");
  }
  return lines;
}

const WORDS = [
  ...["", "=", " = ", ",", "#", "->", "[", "]", "[Peer]", "[Interface]", "[Proxy]", "\0", "\u00a0"],
  ...["0", "-1", "65536", "1e9", "0x10", "off", "10.0.0.0/33", "::/129", "::ffff:1.2.3.4", "[::1"],
  ...["999.1.1.1", "127.0.0.1:", "a:b:c", "\u202e", "\ud800", "__proto__", "constructor", "%s"],
];

function mutate(random: Random, lines: string[], secrets: string[]): string[] {
  const out = [...lines];
  const at = random.below(out.length);
  const line = out[at]!;
  const word = random.chance(0.7)
    ? pick(random, WORDS)!
    : random.chance(0.5)
    ? pick(random, KEYS)!.name
    : pick(random, secrets)!;
  const place = random.below(line.length + 1);
  switch (random.below(8)) {
    case 0:
      out.splice(at, 1);
      break;
    case 1:
      out.splice(random.below(out.length), 0, line);
      break;
    case 2:
      out[at] = line.slice(0, place) + word + line.slice(place);
      break;
    case 3:
      out[at] = line.slice(0, place) + line.slice(place + 1 + random.below(5));
      break;
    case 4:
      out.splice(at, 0, `${pick(random, KEYS)!.name} = ${word}`);
      break;
    case 5:
      out.splice(at, 0, `[${pick(random, Object.values(SECTION_NAMES))}]`);
      break;
    case 6:
      out[at] = line.replace(/=.*/, `= ${word}`);
      break;
    default:
      out[at] = line.slice(0, place) +
        String.fromCharCode(random.below(random.chance(0.8) ? 128 : 0x10000)) +
        line.slice(place + 1);
  }
  return out.length > 0 ? out : [""];
}

/** The same file as another person would have written it. */
function decorate(random: Random, lines: string[]): string {
  const end = random.chance(0.5) ? "\r\n" : "\n";
  const out = lines.flatMap((line) => {
    const name = /^[A-Za-z]+(?=\s*=)/.exec(line)?.[0];
    let same = name !== undefined && random.chance(0.5)
      ? name.toUpperCase() + line.slice(name.length)
      : line;
    if (random.chance(0.3)) same = `  ${same}\t`;
    if (random.chance(0.3)) same += " # a comment = here";
    return random.chance(0.2) ? [same, "", "# [Peer]"] : [same];
  });
  return (random.chance(0.3) ? "\ufeff" : "") + out.join(end);
}
