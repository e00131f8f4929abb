/**
 * The import rules and forbidden names of docs/design.md, the layout of the top level, and what
 * every test file must have.
 *
 * @module
 */

import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/**
 * What a folder may import from outside itself: a path from the root starts with a slash, anything
 * else is a package. `tests/`, `bench/` and `deploy/` may import anything.
 */
const IMPORTS: Readonly<Record<string, RegExp>> = {
  wireguard: /^npm:@noble\//,
  netstack: /^(?!)/,
  ffi: /^node:/,
  proxy: /^\/(?:wireguard|netstack|ffi|ffi\/confine)\/mod\.ts$|^\/deno\.json$|^[^/]/,
  "main.ts": /^\/mod\.ts$|^\/proxy\/|^[^/]/,
  "mod.ts": /^\/proxy\/|^\/(?:wireguard|netstack)\/mod\.ts$/,
};

/**
 * What would give the pure layers a clock, randomness or the outside world of their own. `crypto` is
 * a good name for what is handed to them, so the global one is known by its members.
 */
const FORBIDDEN_NAMES =
  /\b(?:Deno|Date|performance|set(?:Timeout|Interval|Immediate)|queueMicrotask|console|process|globalThis|fetch)\b|\bcrypto\.(?:subtle|getRandomValues|randomUUID)\b|\bMath\.random\b/g;

/** What tasks make. */
const UNTRACKED = ["coverage", "dist", "node_modules"];

const TOP_LEVEL = [
  ...["bench", "deploy", "docs", "examples", "ffi", "netstack", "proxy", "tests", "wireguard"],
  ...["CONTRIBUTING.md", "LICENSE", "README.md", "deno.json", "deno.lock", "main.ts", "mod.ts"],
  ...UNTRACKED,
];

for (const [folder, allowed] of Object.entries(IMPORTS)) {
  Deno.test(`${folder} imports only what its layer may`, () => {
    const wrong = sources(folder).flatMap((file) =>
      imports(Deno.readTextFileSync(join(ROOT, file)), file)
        .filter((target) => !target.startsWith(`/${folder}/`) && !allowed.test(target))
        .map((target) => `${file} imports ${target}`)
    );
    assert.deepEqual(wrong, []);
  });
}

Deno.test("packages come from npm alone", () => {
  const remote = TOP_LEVEL.filter((name) => !UNTRACKED.includes(name)).flatMap(sources)
    .flatMap((file) => imports(Deno.readTextFileSync(join(ROOT, file)), file))
    .filter((target) => /^(?:jsr|https?):/.test(target));
  assert.deepEqual(remote, []);
});

Deno.test("what ships names its packages in full, each in one version, so that a program anywhere can import it by path", () => {
  const versions = new Map<string, Set<string>>();
  for (const file of Object.keys(IMPORTS).flatMap(sources)) {
    for (const target of imports(Deno.readTextFileSync(join(ROOT, file)), file)) {
      if (target.startsWith("/") || target.startsWith("node:")) continue;
      const [, name, version] = /^npm:((?:@[^/]+\/)?[^@/]+)@(\d+\.\d+\.\d+)(?:\/|$)/.exec(target) ??
        [];
      assert.ok(name !== undefined, `${file} imports ${target}`);
      versions.set(name, (versions.get(name) ?? new Set()).add(version!));
    }
  }
  assert.deepEqual([...versions].filter(([, all]) => all.size > 1), []);
});

for (const folder of ["wireguard", "netstack"]) {
  Deno.test(`${folder} never names a clock, randomness or the outside world`, () => {
    const wrong: string[] = [];
    for (const file of sources(folder)) {
      const code = withoutCommentsAndStrings(Deno.readTextFileSync(join(ROOT, file)));
      for (const [name] of code.matchAll(FORBIDDEN_NAMES)) wrong.push(`${file} names ${name}`);
    }
    assert.deepEqual(wrong, []);
  });
}

Deno.test("the top level holds what the design names and nothing else", () => {
  const entries = [...Deno.readDirSync(ROOT)].map(({ name }) => name);
  assert.deepEqual(
    entries.filter((name) => !name.startsWith(".") && !TOP_LEVEL.includes(name)),
    [],
  );
});

Deno.test("every test file has tests, none of them empty, singled out or without an assertion", () => {
  const wrong: string[] = [];
  // These two only gather cases.
  const files = sources("tests").filter((file) =>
    /_(?:test|soak)\.ts$|\/cases\//.test(file) && !/\/(?:gateway|netns)_test\.ts$/.test(file)
  );
  for (const file of files) {
    const text = Deno.readTextFileSync(join(ROOT, file));
    const code = withoutCommentsAndStrings(text);
    if (!/\b(?:Deno\.test|\w+Test)\(/.test(code)) wrong.push(`${file}: no test`);
    if (!/\bassert\b|\bfc\.assert\b/.test(code)) wrong.push(`${file}: no assertion`);
    if (/\bDeno\.test\.(?:only|ignore)\b|\bonly:/.test(code)) wrong.push(`${file}: only, ignore`);
    if (/=>\s*\{\s*\}\s*\)?\s*,?\s*\}?\s*\);/.test(testCalls(code))) wrong.push(`${file}: empty`);
  }
  assert.deepEqual(wrong, []);
});

Deno.test("the scanner sees imports and names, and not those in comments and strings", () => {
  const text = `import a from "./a.ts"; export * from './b.ts';
    import type { C } from "npm:c";\nimport "d"; const e = await import("../e.ts");
    type F = import("./f.ts").F; // import g from "./g.ts"; Date
    const h = "import i from './i.ts'; Date"; const j = \`Date \${"Date"}\`; Date;`;
  assert.deepEqual(
    imports(text, "x/y.ts"),
    ["/x/a.ts", "/x/b.ts", "npm:c", "d", "/e.ts", "/x/f.ts"],
  );
  assert.deepEqual(withoutCommentsAndStrings(text).match(FORBIDDEN_NAMES), ["Date"]);
});

/** TypeScript files under a path, relative to the root. None where there is no such folder. */
function sources(path: string): string[] {
  if (path.endsWith(".ts")) return [path];
  if (!statSync(join(ROOT, path), { throwIfNoEntry: false })?.isDirectory()) return [];
  return readdirSync(join(ROOT, path), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts")).map((file) => join(path, file));
}

/** Targets of a file's static, dynamic and type imports and of its re-exports, as in IMPORTS. */
function imports(text: string, file: string): string[] {
  const code = text.replace(COMMENT_OR_STRING, (part) => part.startsWith("/") ? " " : part);
  const statement =
    /(?:^|[;}\n])\s*(?:import|export)\s(?:[^"';]*?\sfrom\s)?\s*["']([^"'\n]+)["']|\bimport\(\s*["']([^"'\n]+)["']/g;
  return [...code.matchAll(statement)].map(([, fixed, dynamic]) => {
    const specifier = fixed ?? dynamic!;
    return specifier.startsWith(".") ? join("/", dirname(file), specifier) : specifier;
  });
}

const COMMENT_OR_STRING =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`/g;

function withoutCommentsAndStrings(text: string): string {
  return text.replace(COMMENT_OR_STRING, (part) => part.startsWith("/") ? " " : '""');
}

/** From each test's registration to the end of its line, where an empty body would be. */
function testCalls(code: string): string {
  return [...code.matchAll(/\b(?:Deno\.test|t\.step|\w+Test)\([^\n]*/g)].join("\n");
}
