/**
 * What a tunnel has left behind that did not end by itself: taken back by the next start, or by `down`.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import { restoreFile } from "./dns.ts";
import { SystemTunnelError } from "./error.ts";
import type { LinuxHost } from "./host.ts";
import { recordedBeside, runningBeside } from "./look.ts";
import { isSameNamespace, type NetworkNamespace } from "./namespace.ts";
import { findStates, forget, type FoundState, type RecordedStep, StateFile } from "./state_file.ts";

const log = getLogger(["wirestack", "system"]);

/**
 * Takes back what a device of this name has left in this namespace.
 *
 * @returns how many steps were taken back.
 * @throws {SystemTunnelError} if it runs, or something cannot be taken back.
 */
export function takeBack(
  host: LinuxHost,
  device: string,
  namespace: NetworkNamespace,
  directory?: string,
): number {
  const states = findStates(directory);
  let count = 0;
  for (const found of states) {
    if (found.record.device !== device || found.record.namespace.inode !== namespace.inode) {
      continue;
    }
    if (found.isRunning) {
      throw new SystemTunnelError(
        `${device}: runs already (process ${found.record.pid}), expected wirestack down ${device} first`,
      );
    }
    // The machine has restarted since, or the inode is a later namespace's: the rest went with it.
    if (!isSameNamespace(found.record.namespace, namespace)) {
      forget(found);
      continue;
    }
    count += takeBackOne(host, found, states);
  }
  restoreFile(device); // that outlives the machine
  return count;
}

function takeBackOne(host: LinuxHost, found: FoundState, states: readonly FoundState[]): number {
  for (const problem of found.problems) log.warn("{problem}", { problem });
  const { device, namespace } = found.record;
  const state = StateFile.take(found);
  const others = runningBeside(states, namespace, device);
  const problems = undoSteps(host, found.steps, state, others);
  if (problems.length === 0) {
    state.remove();
    return found.steps.length;
  }
  state[Symbol.dispose]();
  throw new SystemTunnelError(problems.join("\n"));
}

/**
 * The tunnels that run beside this one, as far as it can be known: what can be taken back must not wait
 * for a folder that this user may not read any more.
 *
 * @param known As they were at the start.
 */
export function runningNow(
  directory: string | undefined,
  known: readonly FoundState[],
  namespace: NetworkNamespace,
  device: string,
): FoundState[] {
  return recordedNow(directory, known, namespace, device).filter(({ isRunning }) => isRunning);
}

/** The same, and those that were killed and have left something. */
export function recordedNow(
  directory: string | undefined,
  known: readonly FoundState[],
  namespace: NetworkNamespace,
  device: string,
): FoundState[] {
  let states = known;
  try {
    states = findStates(directory);
  } catch (error) {
    log.warn("{problem}", { problem: (error as Error).message });
  }
  return recordedBeside(states, namespace, device);
}

/**
 * Takes steps back, the last first, whatever becomes of some.
 *
 * @param others Tunnels that run beside: what they need of sysctl stays.
 * @returns a line for each that could not be.
 */
export function undoSteps(
  host: LinuxHost,
  steps: readonly RecordedStep[],
  state: StateFile,
  others: readonly FoundState[],
  resolvConf?: Parameters<LinuxHost["undo"]>[2],
): string[] {
  const isHeld = (key: string) =>
    others.some((other) =>
      other.steps.some(({ undo }) => undo.kind === "sysctl" && undo.key === key)
    );
  return steps.toReversed().flatMap(({ index, title, undo }) => {
    try {
      host.undo(undo, isHeld, resolvConf);
      state.undone(index);
      return [];
    } catch (error) {
      return [`${title}: could not be taken back: ${(error as Error).message}`];
    }
  });
}
