/**
 * The program as an ordinary user has it, with the permissions of `deno task start`: in processes of
 * a user who is not root, also when root runs the tests.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";
import { copyExecutable } from "../../executable.ts";
import { within } from "../until.ts";
import config from "../../../deno.json" with { type: "json" };

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
export const IS_ROOT = Deno.build.os !== "windows" && Deno.uid() === 0;
export const USER = IS_ROOT ? 65534 : Deno.build.os === "windows" ? 0 : Deno.uid()!;

/** What a process may take on a busy machine. */
const LIMIT_MS = 300_000;

export const TASKS = ["start", "start:sandbox"] as const;
/** The last is a synonym of the first. */
export type Task = typeof TASKS[number] | "start:ffi";

interface Program {
  readonly deno: string;
  /** Bundled: the sources may lie where this user cannot look. */
  readonly script: string;
  /** Deno's, as a user has one for all that they start. */
  readonly cache: string;
}

let made: Promise<Program> | undefined;

async function makeProgram(): Promise<Program> {
  const folder = await Deno.makeTempDir();
  globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  await Deno.chmod(folder, 0o755);
  const program = `${folder}/program`;
  // In pieces, as the sources are: what is imported late costs a start nothing.
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["bundle", "--quiet", "--platform", "deno", "--code-splitting"],
      ...["--outdir", program, "main.ts"],
    ],
    cwd: ROOT,
  }).output();
  assert.ok(success);
  const [script, cache] = [`${program}/main.js`, `${folder}/cache`];
  await Deno.mkdir(cache);
  await Deno.chown(cache, USER, USER);
  if (!IS_ROOT) return { deno: Deno.execPath(), script, cache };
  const deno = `${folder}/deno`;
  await Deno.link(Deno.execPath(), deno).catch(() => copyExecutable(Deno.execPath(), deno));
  return { deno, script, cache };
}

/** A folder of the user's. */
export class Home implements AsyncDisposable {
  readonly path: string;
  readonly file: string;
  readonly session: string;
  readonly #program: Program;
  readonly #task: Task;
  /** That may still run when a test has failed. */
  readonly #children = new Set<Deno.ChildProcess>();

  private constructor(path: string, program: Program, task: Task) {
    this.path = path;
    this.file = `${path}/wg0.conf`;
    this.session = `${path}/session`;
    this.#program = program;
    this.#task = task;
  }

  static async create(task: Task): Promise<Home> {
    const path = await Deno.makeTempDir();
    const home = new Home(path, await (made ??= makeProgram()), task);
    await Deno.mkdir(home.session, { mode: 0o700 });
    await Deno.writeTextFile(
      home.file,
      `[Interface]\nPrivateKey = ${encodeKey(generatePrivateKey())}\nAddress = 10.9.0.1/24\n` +
        "[Proxy]\nSubnets = 10.50.0.0/16\n",
      { mode: 0o600 },
    );
    for (const entry of ["", "/session", "/wg0.conf"]) {
      await Deno.chown(`${path}${entry}`, USER, USER);
    }
    return home;
  }

  start(...args: string[]): Deno.ChildProcess {
    const [, command] = config.tasks[this.#task].command.split(" && deno run ");
    const [options, more] = command!.split(' "$ROOT/main.ts"');
    const words = options!.replaceAll("$XDG_RUNTIME_DIR", this.session)
      .replaceAll("$HOME", this.path).split(" ");
    const child = new Deno.Command(this.#program.deno, {
      args: [
        "run",
        "--no-config",
        "--unstable-net",
        ...words,
        this.#program.script,
        ...more!.trim() ? [more!.trim()] : [],
        ...args,
      ],
      env: {
        XDG_RUNTIME_DIR: this.session,
        HOME: this.path,
        DENO_DIR: this.#program.cache,
        NO_COLOR: "1",
      },
      clearEnv: true,
      cwd: this.path,
      ...(IS_ROOT && { uid: USER, gid: USER }),
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#children.add(child);
    child.status.then(() => this.#children.delete(child));
    return child;
  }

  async run(...args: string[]) {
    const { code, stdout, stderr } = await within(
      this.start(...args).output(),
      `wirestack ${args.join(" ")} ends`,
      LIMIT_MS,
    );
    const text = new TextDecoder();
    return { status: code, out: text.decode(stdout), error: text.decode(stderr) };
  }

  /** Runs the gateway. @returns once it has logged `text`. */
  up(text: string, ...args: string[]) {
    return this.runs("up", text, ...args);
  }

  /** Runs a command that runs a gateway, as {@link up} does. */
  async runs(command: string, text: string, ...args: string[]) {
    const child = this.start(command, this.file, ...args);
    const lines = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
    let log = "";
    while (!log.includes(text)) {
      const { value, done } = await within(lines.read(), `"${text}", after\n${log}`, LIMIT_MS);
      if (done) assert.fail(`ended before it logged "${text}":\n${log}`);
      log += value;
    }
    return {
      log,
      async stop() {
        child.kill("SIGTERM");
        for (;;) {
          const { value, done } = await within(lines.read(), `its end, after\n${log}`, LIMIT_MS);
          if (done) break;
          log += value;
        }
        await child.stdout.cancel();
        return { status: (await child.status).code, log };
      },
    };
  }

  async [Symbol.asyncDispose]() {
    const left = [...this.#children];
    for (const child of left) child.kill("SIGKILL");
    await Promise.all(left.map(({ status }) => status));
    await Deno.remove(this.path, { recursive: true });
  }
}
