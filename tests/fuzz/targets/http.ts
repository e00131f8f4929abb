import assert from "node:assert/strict";
import { parseHttpHead } from "../../../proxy/watch/http_head.ts";
import { Random } from "../../sim/random.ts";
import type { Target } from "../target.ts";

const INPUTS = 200;
const METHODS = ["GET", "HEAD", "POST", "get", "G T", "(", ""];
const TARGETS = [
  "/",
  "/metrics",
  "/metrics?a=b",
  "http://a.example/x",
  "http://[::1]:1?x",
  "*",
  "",
];
const VERSIONS = ["HTTP/1.1", "HTTP/1.0", "HTTP/2", "HTTP/1.1 ", ""];
const NAMES = ["Host", "host", "Authorization", "Connection", "Content-Length", "X", "Host ", ""];
const VALUES = ["localhost", "Bearer t", "close", "keep-alive, Close", "0", "7", " ", "a\tb", ""];
const ENDS = ["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n ", "\0"];

/** RFC 9112 §3 and §5, with what the parser refuses beyond it: a folded line, and bytes of control. */
const GRAMMAR =
  /^[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^ \r\n]+ HTTP\/1\.[01](\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n]*)*$/;

export const http: Target = {
  name: "http",
  about:
    "heads of HTTP requests, mutated: taken if they follow the grammar and name a host, else not",
  run(seed) {
    const random = new Random(seed);
    for (let i = 0; i < INPUTS; i++) check(head(random));
    return INPUTS;
  },
};

function head(random: Random): string {
  const one = (list: readonly string[]) =>
    list[random.below(random.chance(0.7) ? Math.min(2, list.length) : list.length)]!;
  const version = VERSIONS[random.chance(0.8) ? random.below(2) : random.below(VERSIONS.length)];
  let text = `${one(METHODS)} ${one(TARGETS)} ${version}`;
  for (let n = random.below(6); n > 0; n--) {
    const name = NAMES[random.below(NAMES.length - (random.chance(0.8) ? 2 : 0))];
    const value = VALUES[random.below(VALUES.length)];
    text += `${ENDS[random.below(random.chance(0.8) ? 4 : ENDS.length)]}${name}:${value}`;
  }
  for (let n = random.chance(0.3) ? 1 + random.below(3) : 0; n > 0; n--) {
    const at = random.below(text.length + 1);
    text = text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + 1);
  }
  return text;
}

function check(text: string): void {
  const found = parseHttpHead(text);
  // deno-lint-ignore no-control-regex
  const isClean = GRAMMAR.test(text) && !/[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(text);
  const [line, ...fields] = text.split("\r\n");
  const valuesOf = (name: string) =>
    fields.filter((field) => field.toLowerCase().startsWith(`${name}:`))
      .map((field) => field.slice(name.length + 1).trim());
  const hosts = valuesOf("host");
  assert.equal(
    found !== undefined,
    isClean && (line!.endsWith("1.0") || hosts.length > 0),
    JSON.stringify(text),
  );
  if (found === undefined) return;
  const [method, target] = line!.split(" ");
  assert.equal(found.method, method);
  assert.ok(target!.includes(found.path) || found.path === "/");
  assert.ok(!found.path.includes("?"));
  if (hosts.length !== 1) assert.equal(found.host, undefined);
  else if (!/^http:/i.test(target!)) assert.equal(found.host, hosts[0]);
  const authorizations = valuesOf("authorization");
  assert.equal(
    found.authorization,
    authorizations.length === 1 ? authorizations[0] : undefined,
  );
  if (line!.endsWith("1.0")) assert.equal(found.isLast, true);
}
