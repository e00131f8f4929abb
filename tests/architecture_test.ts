/**
 * The import rules and forbidden names of docs/design.md, the layout of the top level, and what
 * every test file must have.
 *
 * @module
 */

import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { constants } from "node:os";
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
  proto: /^npm:@(?:bufbuild\/protobuf|grpc\/grpc-js)@|^node:buffer$/,
  proxy:
    /^\/(?:wireguard|netstack|ffi|ffi\/(?:confine|netlink|tun))\/mod\.ts$|^\/wireguard\/protocol\.ts$|^\/proto\/relay\.ts$|^\/deno\.json$|^[^/]/,
  "main.ts": /^\/mod\.ts$|^\/proxy\/|^[^/]/,
  "mod.ts": /^\/proxy\/|^\/(?:wireguard|netstack)\/mod\.ts$/,
};

/**
 * What would give the pure layers a clock, randomness or the outside world of their own. `crypto` is
 * a good name for what is handed to them, so the global one is known by its members.
 */
const FORBIDDEN_NAMES =
  /\b(?:Deno|Date|performance|set(?:Timeout|Interval|Immediate)|queueMicrotask|console|process|globalThis|fetch)\b|\bcrypto\.(?:subtle|getRandomValues|randomUUID)\b|\bMath\.random\b/g;

/**
 * The rooms of `proxy/`, from the ground up (docs/design.md): one imports from those before it alone.
 * The files that lie flat stand before all of them.
 */
const ROOMS = [
  ...[
    "log",
    "state",
    "config",
    "certificates",
    "flow",
    "arena",
    "bind",
    "link",
    "engine",
    "target",
    "splice",
    "forward",
  ],
  ...[
    "tunnel",
    "inbound",
    "enrol",
    "gateway",
    "capture",
    "system",
    "watch",
    "control",
    "embed",
    "demo",
    "cli",
  ],
];

/** They take plain option types of their own; `gateway/` translates. */
const WITHOUT_CONFIG = [
  ...["flow", "arena", "bind", "link", "engine", "target", "splice", "forward", "tunnel"],
];

/** What `up` imports when it runs, of a file with WireGuard, UDP and a proxy. */
const STARTING = [
  "/proxy/cli/program.ts",
  "/proxy/cli/commands/up.ts",
  ...lateImports("proxy/cli/commands/up.ts"),
  ...lateImports("proxy/cli/commands/up_options.ts"),
];

/** What a configuration has to ask for. */
const LATE = new RegExp(
  [
    "^/ffi/(?:tun|netlink)/",
    "^/proxy/bind/stream/(?:(?:tls|grpc)/|mod\\.ts$)",
    "^/proxy/(?:certificates|demo|embed)/",
    "^/proxy/gateway/(?:streams|certificate_files)\\.ts$",
    "^/proxy/link/tun\\.ts$",
    "^/proxy/system/(?:tunnel|redirect|masquerade_steps)\\.ts$",
    "^/proxy/watch/(?:status|http_server)\\.ts$",
    "^/proxy/config/yaml\\.ts$",
    "^/proxy/cli/commands/(?!up|tunnel|system_setup|options)",
    "^/proto/",
    "^npm:(?:yaml|qr|@grpc|@peculiar|@bufbuild|@noble/curves)",
  ].join("|"),
);

const MAX_FLAT_FILES = 3;

/**
 * Names that begin as a folder of theirs does and mean something else: the PROXY protocol and its
 * header, and the variables of the environment that name an HTTP proxy.
 */
const PREFIXED = /(?:^|\/)(?:proxy_protocol|proxy_header|proxy_environment)(?:_test)?\.ts$/;

/** What tasks make. */
const UNTRACKED = ["coverage", "dist", "node_modules"];

const TOP_LEVEL = [
  ...[
    "bench",
    "deploy",
    "docs",
    "examples",
    "ffi",
    "netstack",
    "proto",
    "proxy",
    "tests",
    "wireguard",
  ],
  ...[
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "deno.json",
    "deno.lock",
    "main.ts",
    "mod.ts",
  ],
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

Deno.test("a room of proxy/ imports from the rooms before it alone", () => {
  const wrong: string[] = [];
  for (const file of sources("proxy")) {
    const room = roomOf(`/${file}`);
    const place = ROOMS.indexOf(room);
    if (room !== "" && place < 0) wrong.push(`${file} is in no room of the plan`);
    for (const target of imports(Deno.readTextFileSync(join(ROOT, file)), file)) {
      if (!target.startsWith("/proxy/")) continue;
      const other = roomOf(target);
      const isConfig = other === "config" && WITHOUT_CONFIG.includes(room);
      if (ROOMS.indexOf(other) > place || isConfig) wrong.push(`${file} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("docs/design.md's table has the rooms in their order, and proxy/ has no other folder", () => {
  const page = Deno.readTextFileSync(join(ROOT, "docs/design.md"));
  const [, section] = page.split(/^## The rooms of `proxy\/`$/m);
  const [table] = section!.split(/^## /m);
  const rows = Array.from(table!.matchAll(/^\| (`[^|]*?) +\|/gm), ([, room]) => room!);
  const written = rows.flatMap((row) =>
    Array.from(row.matchAll(/`(\w+)\/`/g), ([, room]) => room!)
  );
  assert.deepEqual(written, ROOMS);
  const folders = readdirSync(join(ROOT, "proxy"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory()).map(({ name }) => name);
  assert.deepEqual(folders.sort(), [...ROOMS].sort());
});

Deno.test("few files lie flat in proxy/", () => {
  const flat = sources("proxy").filter((file) => file.split("/").length === 2);
  assert.ok(flat.length <= MAX_FLAT_FILES, `${flat}`);
});

Deno.test("no file has a prefix that a folder of its path says, in the singular or as it is", () => {
  const prefixed = TOP_LEVEL.filter((name) => !UNTRACKED.includes(name)).flatMap(sources)
    .filter((file) => {
      const [name, ...folders] = file.replace(/_(?:test|soak)\.ts$/, ".ts").split("/").reverse();
      return folders.some((folder) =>
        [folder, folder.replace(/s$/, "")].some((said) => name!.startsWith(`${said}_`))
      );
    });
  assert.deepEqual(prefixed.filter((file) => !PREFIXED.test(file)), []);
});

Deno.test("the numbers of errors have names in one table", () => {
  const numbered = new RegExp(
    `\\b(?:${Object.keys(constants.errno).join("|")})\\b\\s*[:=]\\s*-?\\d`,
  );
  const tables = Object.keys(IMPORTS).flatMap(sources).filter((file) =>
    numbered.test(withoutCommentsAndStrings(Deno.readTextFileSync(join(ROOT, file))))
  );
  assert.deepEqual(tables, ["ffi/libc.ts"]);
});

Deno.test("no two files of the product import each other in a circle", () => {
  const graph = new Map<string, string[]>();
  for (const file of Object.keys(IMPORTS).flatMap(sources)) {
    graph.set(`/${file}`, imports(Deno.readTextFileSync(join(ROOT, file)), file));
  }
  assert.deepEqual(circles(graph), []);
});

Deno.test("what is imported late is named by a literal, which these rules see", () => {
  const wrong = Object.keys(IMPORTS).flatMap(sources).filter((file) =>
    /\bimport\((?!\s*"")/.test(
      withoutCommentsAndStrings(Deno.readTextFileSync(join(ROOT, file))),
    )
  );
  assert.deepEqual(wrong, []);
});

Deno.test("a gateway that is asked for nothing special loads nothing special: each is memory at rest", () => {
  const loaded = loadedBy(["/main.ts", ...STARTING]);
  assert.ok(loaded.has("/proxy/gateway/gateway.ts") && loaded.size > 300, `${loaded.size}`);
  assert.deepEqual([...loaded].filter((target) => LATE.test(target)), []);
});

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

Deno.test("what wireguard and netstack both have to the letter, for neither imports the other, stays so", () => {
  const [one, other] = ["wireguard", "netstack"].map((folder) =>
    Deno.readTextFileSync(join(ROOT, folder, "lookup_cache.ts"))
  );
  assert.equal(one, other);
});

Deno.test("the top level holds what the design names and nothing else", () => {
  const entries = [...Deno.readDirSync(ROOT)].map(({ name }) => name);
  assert.deepEqual(
    entries.filter((name) => !name.startsWith(".") && !TOP_LEVEL.includes(name)),
    [],
  );
});

Deno.test("every test file has tests, none of them empty, singled out or without an assertion", () => {
  const wrong: string[] = [];
  // These only gather cases.
  const files = sources("tests").filter((file) =>
    /_(?:test|soak)\.ts$|\/cases\//.test(file) &&
    !/\/(?:gateway|gateway_traffic|netns)_test\.ts$/.test(file)
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

Deno.test("circles are found, and what only leads to one is not part of it", () => {
  const graph = new Map([
    ["a", ["b"]],
    ["b", ["c", "e"]],
    ["c", ["d"]],
    ["d", ["b"]],
    ["e", ["npm:f"]],
    ["g", ["g"]],
  ]);
  assert.deepEqual(circles(graph).map((circle) => circle.sort()), [["b", "c", "d"], ["g"]]);
});

Deno.test("what is imported late, or for its types alone, is not loaded by who imports it", () => {
  const loaded = loadedBy(["/proxy/gateway/late_streams.ts"]);
  assert.ok(loaded.has("/proxy/bind/stream/carrier_budget.ts"));
  assert.ok(!loaded.has("/proxy/gateway/streams.ts") && !loaded.has("/proxy/config/checked.ts"));
  assert.ok(loadedBy(["/proxy/gateway/streams.ts"]).has("/proxy/bind/stream/tls/client.ts"));
  assert.ok(lateImports("proxy/cli/commands/up.ts").includes("/proxy/gateway/gateway.ts"));
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

/** The room of `/proxy/ROOM/FILE`; empty for a file that lies flat. */
function roomOf(path: string): string {
  const parts = path.split("/");
  return parts.length > 3 ? parts[2]! : "";
}

/** Strongly connected components of more than one file, or of one that imports itself (Tarjan). */
function circles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (file: string) => {
    index.set(file, index.size);
    low.set(file, index.get(file)!);
    stack.push(file);
    for (const target of graph.get(file)!) {
      if (!graph.has(target)) continue;
      if (!index.has(target)) visit(target);
      if (stack.includes(target)) low.set(file, Math.min(low.get(file)!, low.get(target)!));
    }
    if (low.get(file) !== index.get(file)) return;
    const circle = stack.splice(stack.indexOf(file));
    if (circle.length > 1 || graph.get(file)!.includes(file)) found.push(circle);
  };
  for (const file of graph.keys()) if (!index.has(file)) visit(file);
  return found;
}

/** TypeScript files under a path, relative to the root. None where there is no such folder. */
function sources(path: string): string[] {
  if (path.endsWith(".ts")) return [path];
  if (!statSync(join(ROOT, path), { throwIfNoEntry: false })?.isDirectory()) return [];
  return readdirSync(join(ROOT, path), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts")).map((file) => join(path, file));
}

/** What runs when files are imported: they, and what they import but for types, and so on. */
function loadedBy(entries: readonly string[]): Set<string> {
  const loaded = new Set(entries);
  for (const file of loaded) {
    if (!file.startsWith("/") || !file.endsWith(".ts")) continue;
    const text = Deno.readTextFileSync(join(ROOT, file)).replace(COMMENT_OR_STRING, uncommented);
    const values = text.replace(/\b(?:import|export) type\b[^;]*;/g, " ")
      .replace(/\b(?:import|export) \{(?:\s*type [^,}]+,?)+\s*\} from [^;]*;/g, " ")
      .replace(/\bimport\(/g, "late(");
    for (const target of imports(values, file.slice(1))) loaded.add(target);
  }
  return loaded;
}

/** What a file imports when it runs. */
function lateImports(file: string): string[] {
  const text = Deno.readTextFileSync(join(ROOT, file));
  return Array.from(
    text.matchAll(/\bawait import\("([^"]+)"\)|^ {4,6}import\("([^"]+)"\),$/gm),
    ([, one, other]) => join("/", dirname(file), one ?? other!),
  );
}

/** Targets of a file's static, dynamic and type imports and of its re-exports, as in IMPORTS. */
function imports(text: string, file: string): string[] {
  const code = text.replace(COMMENT_OR_STRING, uncommented);
  const statement =
    /(?:^|[;}\n])\s*(?:import|export)\s(?:[^"';]*?\sfrom\s)?\s*["']([^"'\n]+)["']|\bimport\(\s*["']([^"'\n]+)["']/g;
  return [...code.matchAll(statement)].map(([, fixed, dynamic]) => {
    const specifier = fixed ?? dynamic!;
    return specifier.startsWith(".") ? join("/", dirname(file), specifier) : specifier;
  });
}

const COMMENT_OR_STRING =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`/g;

function uncommented(part: string): string {
  return part.startsWith("/") ? " " : part;
}

function withoutCommentsAndStrings(text: string): string {
  return text.replace(COMMENT_OR_STRING, (part) => part.startsWith("/") ? " " : '""');
}

/** From each test's registration to the end of its line, where an empty body would be. */
function testCalls(code: string): string {
  return [...code.matchAll(/\b(?:Deno\.test|t\.step|\w+Test)\([^\n]*/g)].join("\n");
}
