/**
 * The gateway under test, run as its users run it: as an ordinary user without privileges, by
 * `deno task start`, `deno task start:sandbox` or as the one file `dist/wirestack`.
 *
 * @module
 */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { copyExecutable } from "../executable.ts";
import { preset } from "../preset.ts";
import { type Host, unique } from "./lab.ts";
import { output, type Process } from "./process.ts";

/** How the gateway is started. */
export const SUBJECTS = ["deno task start:sandbox", "deno task start", "dist/wirestack"] as const;
export type Subject = (typeof SUBJECTS)[number];

/** What a test gets that does not say: the one over FFI in `deno task test:ffi`. */
export function defaultSubject(): Subject {
  return preset.ffi ? "deno task start" : "deno task start:sandbox";
}

/** `nobody`, who owns nothing on the machine but what {@link installation} gives it. */
const USER = 65534;

/**
 * Starts `wirestack up` on a host with a configuration file of this text.
 *
 * @param args further arguments, before the file's name
 * @returns once it listens
 */
export async function startGateway(
  host: Host,
  directory: string,
  config: string,
  {
    subject = defaultSubject(),
    command = "up",
    args = [],
    isControlled = false,
    capabilities = [],
  }: {
    subject?: Subject;
    command?: "up" | "hub" | "agent";
    args?: string[];
    /** Whether {@link Gateway.wg} works. */
    isControlled?: boolean;
    /** What the user is allowed all the same: `net_admin`. */
    capabilities?: string[];
  } = {},
): Promise<Gateway> {
  const { root, deno, env } = await installation();
  const file = `${directory}/${host.namespace}.conf`;
  await Deno.writeTextFile(file, config, { mode: 0o600 });
  await Deno.chown(file, USER, USER);
  const state = stateOf(host, directory);
  await Deno.mkdir(state, { recursive: true });
  await Deno.chown(state, USER, USER);
  const control = isControlled ? await controlDirectory(host, directory) : undefined;
  const program = subject === "dist/wirestack"
    ? [await binary()]
    : [deno, "task", subject.slice("deno task ".length)];
  const process = host.spawn("gateway", [
    ...unprivileged(capabilities),
    ...program,
    ...[command, "--log-format", "json", ...args],
    ...control === undefined ? [] : ["--name", control.name, "--control-dir", control.directory],
    file,
  ], { cwd: `${root}/source`, env: { ...env, XDG_STATE_HOME: state } });
  await process.line(/listening/);
  if (control !== undefined) await process.line(/control socket/);
  return new Gateway(process, host, control?.name);
}

/**
 * Starts `wirestack router` on a host, as {@link startGateway} starts a gateway.
 *
 * @param args behind the command
 * @returns once it forwards
 */
export async function startRouter(
  host: Host,
  directory: string,
  args: readonly string[],
  subject: Subject = defaultSubject(),
): Promise<Process> {
  const { root, deno, env } = await installation();
  const state = stateOf(host, directory);
  await Deno.mkdir(state, { recursive: true });
  await Deno.chown(state, USER, USER);
  const program = subject === "dist/wirestack"
    ? [await binary()]
    : [deno, "task", subject.slice("deno task ".length)];
  const process = host.spawn("router", [
    ...unprivileged(),
    ...program,
    ...["router", "--log-format", "json", "--control-dir", "off", ...args],
  ], { cwd: `${root}/source`, env: { ...env, XDG_STATE_HOME: state } });
  await process.line(/forwarding, without WireGuard/);
  return process;
}

/** Takes away what the gateway of `host` has written down of where its peers are. */
export async function forgetEndpoints(host: Host, directory: string): Promise<void> {
  await Deno.remove(`${stateOf(host, directory)}/wirestack`, { recursive: true });
}

/** The folder where a gateway keeps what it writes down: each has its own. */
function stateOf(host: Host, directory: string): string {
  return `${directory}/${host.namespace}-state`;
}

/** A folder of {@link USER}'s for a control socket, and a link to it where `wg` looks. */
async function controlDirectory(host: Host, directory: string) {
  const name = `wst${Deno.pid}ng${unique()}`;
  const own = `${directory}/${name}`;
  await Deno.mkdir(own);
  await Deno.chown(own, USER, USER);
  const link = `/var/run/wireguard/${name}.sock`;
  await Deno.mkdir("/var/run/wireguard", { recursive: true });
  await Deno.symlink(`${own}/${name}.sock`, link);
  host.disposeFile(link);
  return { name, directory: own };
}

/** A gateway that runs. */
export class Gateway {
  readonly process: Process;
  readonly #host: Host;
  readonly #name: string | undefined;

  constructor(process: Process, host: Host, name: string | undefined) {
    this.process = process;
    this.#host = host;
    this.#name = name;
  }

  /** `wg set`: what comes after the interface's name. */
  async set(...args: string[]): Promise<void> {
    await this.#host.output(["wg", "set", this.#name!, ...args]);
  }

  /** One of the figures of `wg show`, without the last line's end. */
  async show(what: string): Promise<string> {
    return (await this.#host.output(["wg", "show", this.#name!, what])).trimEnd();
  }

  /** `wg setconf`. */
  async setconf(text: string): Promise<void> {
    await this.#host.output(["wg", "setconf", this.#name!, "/dev/stdin"], { input: text });
  }

  /** What it logs about itself on SIGUSR2. */
  async stats(): Promise<Stats> {
    const from = this.process.lines.length;
    Deno.kill(this.process.worker, "SIGUSR2");
    const [line] = await this.process.line(/^\{.*"stats".*\}$/, { from });
    return statsOf(JSON.parse(line))!;
  }

  /** What it knows of a peer. */
  async peer(publicKey: string): Promise<PeerFigures> {
    const { peers } = await this.stats();
    return (peers as unknown as PeerFigures[]).find((peer) => peer.publicKey === publicKey)!;
  }

  /** Resident memory in bytes. */
  residentBytes(): number {
    const status = Deno.readTextFileSync(`/proc/${this.process.worker}/status`);
    return Number(status.match(/^VmRSS:\s+(\d+) kB$/m)![1]) * 1024;
  }

  /**
   * The least resident memory within half a minute, in bytes: what V8 keeps once it has collected,
   * which it does when the program has been idle for some 20 s. Before that it is a matter of chance.
   */
  async settledBytes(): Promise<number> {
    let least = Infinity;
    for (let second = 0; second < 30; second++) {
      least = Math.min(least, this.residentBytes());
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
    return least;
  }

  /** As an operator stops it. @returns its exit status */
  async stop(): Promise<number> {
    this.process.signal("SIGTERM");
    return (await this.process.exit()).code;
  }
}

/** As `wg show` has it. */
export interface PeerFigures {
  readonly publicKey: string;
  readonly endpoint: string | null;
  readonly allowedIps: readonly string[];
  readonly receivedBytes: number;
  readonly sentBytes: number;
  readonly lastHandshake: number;
}

/** Numbers by name, nested. */
export interface Stats {
  readonly [name: string]: Stats | number | string | readonly unknown[];
}

/** The object under the key `stats`, wherever a log format puts properties. */
function statsOf(record: Stats): Stats | undefined {
  for (const [name, value] of Object.entries(record)) {
    if (typeof value !== "object" || Array.isArray(value)) continue;
    if (name === "stats") return value as Stats;
    const nested = statsOf(value as Stats);
    if (nested !== undefined) return nested;
  }
  return undefined;
}

/** A command in front of another, which then is {@link USER}'s. */
export function unprivileged(capabilities: string[] = []): string[] {
  const list = capabilities.map((name) => `+${name}`).join(",");
  return [
    "setpriv",
    `--reuid=${USER}`,
    `--regid=${USER}`,
    "--clear-groups",
    "--no-new-privs",
    ...capabilities.length === 0 ? [] : [`--inh-caps=${list}`, `--ambient-caps=${list}`],
    "--",
  ];
}

export interface Installation {
  readonly root: string;
  readonly deno: string;
  readonly env: Record<string, string>;
}

let installed: Promise<Installation> | undefined;
let compiled: Promise<string> | undefined;

/**
 * A copy of the sources, of Deno and of its cache that {@link USER} can read: the originals may lie
 * in root's home. One for all test files of a process, made by the first of them and removed by the
 * last that has it.
 */
export function installation(): Promise<Installation> {
  return installed ??= share();
}

async function share(): Promise<Installation> {
  const root = `${tmpdir()}/wirestack-${Deno.pid}-installation`;
  const users = await join(root);
  {
    using making = await Deno.open(`${root}/making`, { write: true, create: true });
    await making.lock(true);
    if (!existsSync(`${root}/made`)) {
      for (const part of ["source", "cache", "deno"]) { // of one that failed
        await Deno.remove(`${root}/${part}`, { recursive: true }).catch(() => {});
      }
      await install(root);
      await Deno.writeTextFile(`${root}/made`, "");
    }
  }
  const home = await Deno.makeTempDir({ prefix: `wirestack-${Deno.pid}-` });
  await Deno.chown(home, USER, USER);
  globalThis.addEventListener("unload", () => {
    if (users.tryLockSync(true)) {
      // At once out of the way of a file that comes now: it must not find half of it.
      const leaving = Deno.makeTempDirSync({ prefix: `wirestack-${Deno.pid}-` });
      Deno.renameSync(root, `${leaving}/installation`);
      Deno.removeSync(leaving, { recursive: true });
    }
    users.close();
    Deno.removeSync(home, { recursive: true });
  });
  return {
    root,
    deno: `${root}/deno`,
    env: {
      PATH: "/usr/bin:/bin",
      HOME: home,
      DENO_DIR: `${root}/cache`,
      DENO_NO_UPDATE_CHECK: "1",
      NO_COLOR: "1",
    },
  };
}

/** A lock, shared by all that use it: who gets it alone is the last. */
async function join(root: string): Promise<Deno.FsFile> {
  for (;;) {
    await Deno.mkdir(root, { recursive: true, mode: 0o755 });
    try {
      const users = await Deno.open(`${root}/users`, { write: true, create: true });
      await users.lock(false);
      // Another test file may have removed it meanwhile, as the last.
      const there = await Deno.stat(`${root}/users`).catch(() => undefined);
      if (there?.ino === (await users.stat()).ino) return users;
      users.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

async function install(root: string): Promise<void> {
  const source = fileURLToPath(new URL("../..", import.meta.url));
  await Deno.mkdir(`${root}/source`);
  const parts = [
    ...["deno.json", "deno.lock", "main.ts", "mod.ts"],
    ...["deploy", "ffi", "netstack", "proto", "proxy", "wireguard"],
  ];
  await output([
    "cp",
    "--recursive",
    ...parts.map((part) => `${source}${part}`),
    `${root}/source`,
  ]);
  const deno = `${root}/deno`;
  await Deno.link(Deno.execPath(), deno).catch(() => copyExecutable(Deno.execPath(), deno));
  await copyPackages(source, `${root}/cache`);
  await output([deno, "cache", "main.ts"], {
    cwd: `${root}/source`,
    env: { ...Deno.env.toObject(), DENO_DIR: `${root}/cache` },
    timeoutMs: 300_000, // at the start of a run all test files are loaded
  });
  await output(["chown", "--recursive", `${USER}:${USER}`, root]);
}

/** What the program imports, and what makes one file of it: it is here and need not be fetched again. */
async function copyPackages(source: string, cache: string): Promise<void> {
  const info = async (...file: string[]) =>
    JSON.parse(await output([Deno.execPath(), "info", "--json", ...file], { cwd: source }));
  const { denoDir, npmCache } = await info();
  const { npmPackages } = await info("main.ts");
  const packages = Object.values(npmPackages as Record<string, { localPath: string }>)
    .flatMap(({ localPath }) => [localPath, `${dirname(localPath)}/registry.json`]);
  const paths = [...new Set([...packages, `${denoDir}/dl`])]
    .filter((path) => existsSync(path))
    .map((path) => path.slice(denoDir.length + 1));
  assert.ok(npmCache.startsWith(`${denoDir}/`));
  await Deno.mkdir(cache);
  await output(["cp", "--recursive", "--parents", ...paths, cache], { cwd: denoDir });
}

/** `dist/wirestack`, made by `deno task compile` once for each installation. */
function binary(): Promise<string> {
  return compiled ??= (async () => {
    const { root, deno, env } = await installation();
    const path = `${root}/source/dist/wirestack`;
    using making = await Deno.open(`${root}/making`, { write: true });
    await making.lock(true);
    if (existsSync(path)) return path;
    await output([...unprivileged(), deno, "task", "compile"], {
      cwd: `${root}/source`,
      env: { ...Deno.env.toObject(), ...env, PATH: Deno.env.get("PATH")! },
      timeoutMs: 300_000,
    });
    return path;
  })();
}
