/**
 * Programs built from published sources, kept in a cache outside of the repository. What is built
 * once is used until its version, or our own source, changes.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { run } from "../../tests/e2e/process.ts";

const GO_SOURCES = fileURLToPath(new URL("./go", import.meta.url));

/** Its program is called wireguard. */
const WIREGUARD_GO = {
  program: "golang.zx2c4.com/wireguard",
  version: "v0.0.0-20260522210424-ecfc5a8d5446",
};

/** A build's longest time; Rust's release builds take minutes. */
const PATIENCE_MS = 15 * 60_000;

/** Where programs are kept: `$WIRESTACK_BENCH_CACHE`, or our directory among the user's caches. */
export function cacheDirectory(): string {
  const caches = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  return Deno.env.get("WIRESTACK_BENCH_CACHE") ?? `${caches}/wirestack-bench`;
}

/**
 * The directory with the programs of our Go module.
 *
 * @throws when it cannot be built, with what the compiler said
 */
export async function buildOurs(): Promise<string> {
  const hash = createHash("sha256");
  for (const path of await filesBelow(GO_SOURCES)) {
    hash.update(path).update(await Deno.readFile(`${GO_SOURCES}/${path}`));
  }
  return await once(`ours-${hash.digest("hex").slice(0, 16)}`, (directory) => ({
    command: ["go", "build", "-o", `${directory}/`, "./load", "./newt"],
    cwd: GO_SOURCES,
  }));
}

/** The directory with a Go program of this module. @throws when it cannot be built */
export async function buildGo(program: string, version: string): Promise<string> {
  const name = program.replaceAll("/", "-");
  return await once(`${name}-${version}`, (directory) => ({
    command: ["go", "install", `${program}@${version}`],
    env: { GOBIN: directory },
  }));
}

/** The directory with a program of this crate. @throws when it cannot be built */
export async function buildRust(crate: string, version: string): Promise<string> {
  const directory = await once(`${crate}-${version}`, (directory) => ({
    command: ["cargo", "install", crate, "--version", version, "--locked", "--root", directory],
  }));
  return `${directory}/bin`;
}

/** The directory with wireguard-go, as `wireguard` and under the name that the lab starts it by. */
export async function buildWireguardGo(): Promise<string> {
  const directory = await buildGo(WIREGUARD_GO.program, WIREGUARD_GO.version);
  await Deno.symlink("wireguard", `${directory}/wireguard-go`).catch((error) => {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  });
  return directory;
}

interface Recipe {
  readonly command: string[];
  readonly cwd?: string;
  readonly env?: Record<string, string>;
}

/** Builds into a directory of the cache, unless that is there. A failed build leaves nothing. */
async function once(name: string, recipe: (directory: string) => Recipe): Promise<string> {
  const directory = `${cacheDirectory()}/${name}`;
  if (await exists(directory)) return directory;
  const partial = `${directory}.partial`;
  await Deno.remove(partial, { recursive: true }).catch(() => {});
  await Deno.mkdir(partial, { recursive: true });
  try {
    const { command, cwd, env } = recipe(partial);
    await finish(command, { cwd, env: { ...Deno.env.toObject(), ...env } });
    await Deno.rename(partial, directory);
  } finally {
    await Deno.remove(partial, { recursive: true }).catch(() => {});
  }
  return directory;
}

async function finish(
  command: string[],
  options: { cwd: string | undefined; env: Record<string, string> },
): Promise<void> {
  let result;
  try {
    result = await run(command, { ...options, timeoutMs: PATIENCE_MS });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new Error(`${command[0]} is not installed`);
    throw error;
  }
  if (result.code !== 0) {
    // The end of what a compiler says is what it failed for.
    const said = result.stderr.trim().split("\n").slice(-3).map((line) => line.trim()).join("; ");
    throw new Error(`${command.slice(0, 3).join(" ")}: ${said}`);
  }
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function filesBelow(directory: string, prefix = ""): Promise<string[]> {
  const files: string[] = [];
  for await (const entry of Deno.readDir(`${directory}/${prefix}`)) {
    const path = prefix + entry.name;
    if (entry.isDirectory) files.push(...await filesBelow(directory, `${path}/`));
    else files.push(path);
  }
  return files.sort();
}
