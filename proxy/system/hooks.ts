/**
 * The commands of a configuration, PreUp, PostUp, PreDown and PostDown: each kind has a limit, and a
 * signal ends what runs.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import { SystemTunnelError } from "./error.ts";
import { startHook } from "./shell.ts";

const log = getLogger(["wirestack", "system"]);

export type HookName = "preUp" | "postUp" | "preDown" | "postDown";

/** What all lines of a kind may take together, ms. */
const HOOK_LIMITS: Readonly<Record<HookName, number>> = {
  preUp: 60_000,
  postUp: 60_000,
  // Less than `wirestack down` and the unit of systemd wait for, with the connections' time between.
  preDown: 20_000,
  postDown: 20_000,
};
/** What is asked to end has so long, ms. */
const KILL_MS = 1_000;

const SIGTERM = 15;
const SIGKILL = 9;

export interface HooksOptions {
  /** Replaces `%i`. */
  readonly device: string;
  readonly lines: Readonly<Record<HookName, readonly string[]>>;
  /** Where a line stands, for messages. */
  label(which: HookName, index: number): string;
  /** Sends a signal to a group of processes; nothing happens if there is none. */
  signal(group: number, signal: number): void;
  /** Default: {@link HOOK_LIMITS}. */
  readonly limitsMs?: Readonly<Record<HookName, number>>;
}

export class Hooks {
  readonly #options: HooksOptions;
  #isInterrupted = false;
  #isGoingDown = false;
  /** Ends the one that runs. */
  #end: ((why: string) => void) | undefined;
  #group: number | undefined;

  constructor(options: HooksOptions) {
    this.#options = options;
  }

  /** @throws {SystemTunnelError} for the first that fails, takes too long, or is interrupted. */
  async up(which: "preUp" | "postUp"): Promise<void> {
    await this.#run(which, (error) => {
      throw error;
    });
  }

  /** What fails is logged, and the next one runs. */
  async down(which: "preDown" | "postDown"): Promise<void> {
    this.#isGoingDown = true;
    await this.#run(which, (error) => log.error("{problem}", { problem: error.message }));
  }

  /**
   * Somebody wants the end: the command that runs ends, and none of the way up begins any more. Those of
   * the way down, which are there for it, do.
   */
  interrupt(): void {
    this.#isInterrupted = true;
    this.#end?.("ended by a signal");
  }

  /** Ends what runs, for this process is about to exit. */
  kill(): void {
    if (this.#group !== undefined) this.#options.signal(this.#group, SIGKILL);
  }

  async #run(which: HookName, failed: (error: SystemTunnelError) => void): Promise<void> {
    const { lines, label, limitsMs = HOOK_LIMITS } = this.#options;
    const limit = limitsMs[which];
    const end = performance.now() + limit;
    for (const [i, line] of lines[which].entries()) {
      const name = label(which, i);
      if (this.#isInterrupted && !this.#isGoingDown) {
        throw new SystemTunnelError(`${name}: not run, for a signal has come`);
      }
      log.info("{hook}", { hook: name });
      const why = await this.#runOne(line, end - performance.now(), limit);
      if (why !== undefined) failed(new SystemTunnelError(`${name}: ${why}`));
    }
  }

  /** @returns why it has not done what it should. */
  async #runOne(line: string, leftMs: number, limitMs: number): Promise<string | undefined> {
    const hook = startHook(line, this.#options.device);
    this.#group = hook.group;
    let why: string | undefined;
    let kill: ReturnType<typeof setTimeout> | undefined;
    const end = this.#end = (reason: string) => {
      if (why !== undefined) return;
      why = reason;
      this.#options.signal(hook.group, SIGTERM);
      kill = setTimeout(() => this.#options.signal(hook.group, SIGKILL), KILL_MS);
    };
    const late = `not done within ${limitMs / 1000} s, and ended`;
    const limit = setTimeout(() => end(late), Math.max(0, leftMs));
    try {
      const code = await hook.status;
      return why ?? (code === 0 ? undefined : `ended with status ${code}, expected 0`);
    } finally {
      clearTimeout(limit);
      clearTimeout(kill);
      this.#end = undefined;
      this.#group = undefined;
    }
  }
}
