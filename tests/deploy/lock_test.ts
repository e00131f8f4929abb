/**
 * `deno task` fetches everything that `deno.lock` names before it runs anything. So what only builds
 * use is in a lock file beside what uses it.
 */

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SHIPPED = ["main.ts", "mod.ts", "proxy", "proto", "wireguard", "netstack", "ffi"];

/** Small ones, 3 MB together. A compiler is none. */
const OF_TESTS = ["npm:fast-check@4.10.2", "npm:jsqr@1.4.0", "npm:@noble/hashes@2.4.0"];

/** Nobody imports it, but something that ships comes with it, in whatever version: docs/dependencies.md. */
const PINNED = ["npm:@types/node@24.10.1"];

Deno.test("a first `deno task demo` fetches what ships, and little besides", () => {
  const files = SHIPPED.flatMap((path) =>
    path.endsWith(".ts") ? [path] : readdirSync(join(ROOT, path), { recursive: true })
      .map((file) => join(path, String(file))).filter((file) => file.endsWith(".ts"))
  );
  const imported = new Set([...OF_TESTS, ...PINNED]);
  for (const file of files) {
    const text = Deno.readTextFileSync(join(ROOT, file));
    for (
      const [name] of text.matchAll(/(?<=(?:from|import\(|^import)\s*")npm:(?:@[^/"]+\/)?[^/"]+/gm)
    ) {
      imported.add(name);
    }
  }
  const { specifiers, npm } = JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.lock")));
  assert.ok(imported.size > 8);
  const unused = Object.keys(specifiers).filter((name) => !imported.has(name));
  assert.deepEqual(unused, []);
  for (const name of PINNED) {
    const [dependency] = /(?<=^npm:)@?[^@]+/.exec(name)!;
    const versions = Object.keys(npm).filter((key) => key.startsWith(`${dependency}@`));
    assert.deepEqual(versions, [name.slice("npm:".length)], "fetched anyway, once");
    assert.ok(
      Object.values<{ dependencies?: string[] }>(npm).some((entry) =>
        entry.dependencies?.includes(dependency)
      ),
      `${dependency} is pinned for nobody`,
    );
  }
});
