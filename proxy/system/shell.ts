/**
 * Programs of this host: the hooks of a configuration, and those that keep its name servers. All by
 * way of /bin/sh, the one program that the tasks permit.
 *
 * @module
 */

import { SystemTunnelError } from "./error.ts";

const SHELL = "/bin/sh";

/**
 * Runs a script of our own.
 *
 * @param args Its `$1`, `$2`, …
 * @throws {SystemTunnelError} with what it said, if it fails.
 */
export function runScript(script: string, args: readonly string[], what: string): string {
  const { code, stdout, stderr } = command({
    args: ["-c", script, "wirestack", ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).outputSync();
  const said = new TextDecoder().decode(stdout);
  if (code === 0) return said;
  const why = `${new TextDecoder().decode(stderr)}${said}`.trim().replace(/\s*\n\s*/g, "; ");
  throw new SystemTunnelError(`${what}: ${why || `status ${code}`}`);
}

/** Whether there is such a program. */
export function hasProgram(name: string): boolean {
  return command({
    args: ["-c", 'command -v "$1"', "wirestack", name],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).outputSync().code === 0;
}

/** By bash where there is one, as wg-quick has it: hooks are written for that. */
const HOOK = 'if command -v bash >/dev/null; then exec bash -c "$1"; fi; exec sh -c "$1"';

/** A command of a configuration that runs. */
export interface RunningHook {
  /** Of processes: it, and what it starts. */
  readonly group: number;
  /** Its exit status, when it has ended. */
  readonly status: Promise<number>;
}

/**
 * Starts a line of PreUp, PostUp, PreDown or PostDown, as this process's user. What it prints goes where
 * ours goes; a terminal's Ctrl-C does not get there.
 *
 * @param device Replaces `%i`.
 */
export function startHook(line: string, device: string): RunningHook {
  const child = command({
    args: ["-c", HOOK, "wirestack", line.replaceAll("%i", device)],
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
    detached: true,
  }).spawn();
  return { group: child.pid, status: child.status.then(({ code }) => code) };
}

function command(options: Deno.CommandOptions): Deno.Command {
  return new Deno.Command(SHELL, options);
}

/**
 * A process that keeps this one's user when this one gives it up, for the little that takes it: one
 * script, fixed from the start, that runs when it is told to, and not at all if this process is killed.
 */
export class Keeper {
  readonly #child: Deno.ChildProcess;

  /** @param env Beside this process's. */
  constructor(script: string, args: readonly string[], env: Record<string, string> = {}) {
    this.#child = command({
      env,
      // Interrupting a terminal interrupts all of its processes: this one waits for us.
      args: ["-c", `trap '' INT HUP TERM; read -r word || exit 0\n${script}`, "wirestack", ...args],
      stdin: "piped",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    this.#child.unref();
  }

  /**
   * Has it run its script, with `input` as standard input. Resolves when that has ended.
   *
   * @param isDone Whether its `$word` is `done`, or else `left`.
   */
  async finish(input = "", isDone = true): Promise<void> {
    this.#child.ref();
    const writer = this.#child.stdin.getWriter();
    try {
      await writer.write(new TextEncoder().encode(`${isDone ? "done" : "left"}\n${input}`));
      await writer.close();
    } catch {
      // It has been killed.
    }
    await this.#child.status;
  }
}
