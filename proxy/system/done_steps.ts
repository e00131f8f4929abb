/**
 * What one process has done to this host, a step at a time: each is written down before it is done, and
 * taken back by the same process, or by the next.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import type { ResolvConf } from "./dns.ts";
import type { LinuxHost } from "./host.ts";
import { recordedNow, runningNow, undoSteps } from "./leftovers.ts";
import { recordedBeside } from "./look.ts";
import type { NetworkNamespace } from "./namespace.ts";
import { findStates, type FoundState, type RecordedStep, StateFile } from "./state_file.ts";
import type { Step } from "./step.ts";

const log = getLogger(["wirestack", "system"]);

export interface DoneStepsOptions {
  readonly host: LinuxHost;
  /** Whose steps they are: a device, or what a redirect is called. */
  readonly device: string;
  /** As the control socket has it. */
  readonly gateway?: string;
  readonly namespace: NetworkNamespace;
  /** Of state files. */
  readonly directory?: string;
}

export class DoneSteps {
  readonly #options: DoneStepsOptions;
  readonly #done: RecordedStep[] = [];
  #state: StateFile | undefined;
  /** Of all tunnels, before this one's first step. */
  #states: readonly FoundState[] = [];
  #resolvConf: ResolvConf | undefined;

  constructor(options: DoneStepsOptions) {
    this.#options = options;
  }

  /** Begins the file that they are written to. @throws {SystemTunnelError} as {@link StateFile.create}. */
  open(): void {
    const { device, gateway, namespace, directory } = this.#options;
    const name = gateway !== undefined && { gateway };
    this.#state = StateFile.create({ device, ...name, pid: Deno.pid, namespace }, directory);
  }

  /** Whether there is that file: steps can be done and taken back. */
  get isOpen(): boolean {
    return this.#state !== undefined;
  }

  /** Of the file. */
  get path(): string {
    return this.#state!.path;
  }

  /** Those that can be taken back. */
  get all(): readonly RecordedStep[] {
    return this.#done;
  }

  /** /etc/resolv.conf, open, if a step has written to it. */
  get resolvConf(): ResolvConf | undefined {
    return this.#resolvConf;
  }

  /** What others have done that run, or were killed, as it is before the first step. @throws {SystemTunnelError} */
  look(): FoundState[] {
    const { namespace, device, directory } = this.#options;
    this.#states = findStates(directory);
    return recordedBeside(this.#states, namespace, device);
  }

  /** The same, as it is now, as far as it can be known. */
  lookAgain(): FoundState[] {
    const { namespace, device, directory } = this.#options;
    return recordedNow(directory, this.#states, namespace, device);
  }

  /** @throws {SystemTunnelError} with the reason. */
  do(step: Step): void {
    const { title, action, undo } = step;
    log.debug("{step}", { step: title });
    if (undo !== undefined) {
      this.#done.push({ index: this.#state!.begin(title, undo), title, undo });
    }
    this.#resolvConf = this.#options.host.perform(title, action) ?? this.#resolvConf;
  }

  /** Takes back one that was done, before the others. @throws {Error} if it cannot be. */
  takeBack(step: RecordedStep): void {
    const problems = this.undo([step]);
    if (problems.length > 0) throw new Error(problems.join());
    this.#done.splice(this.#done.indexOf(step), 1);
  }

  /** Takes steps back, the last first, whatever becomes of some. @returns a line for each that could not be. */
  undo(steps: readonly RecordedStep[]): string[] {
    const { host, namespace, device, directory } = this.#options;
    const others = runningNow(directory, this.#states, namespace, device);
    return undoSteps(host, steps, this.#state!, others, this.#resolvConf);
  }

  /** @param isOver Whether nothing is to be taken back any more: the file goes. Else the next process finds it. */
  close(isOver: boolean): void {
    if (isOver) this.#state!.remove();
    else this.#state![Symbol.dispose]();
  }
}
