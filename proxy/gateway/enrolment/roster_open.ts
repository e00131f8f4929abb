/**
 * The roster of a hub, opened from the file that it is kept in.
 *
 * @module
 */

import { Roster } from "../../enrol/roster.ts";
import { memberFile, readMembers, writeMembers } from "../../enrol/state_file.ts";
import { getLogger } from "../../log/logger.ts";
import { prepareStateDirectory } from "../../state/directory.ts";

const log = getLogger(["wirestack", "enrolment"]);

export interface OpenedRoster {
  /** Undefined: nothing can be kept. */
  readonly roster?: Roster;
  /** Why not; empty if it can. */
  readonly problem: string;
}

/** A change of the roster was not kept, and has not happened. */
export function logNotWritten(error: unknown): void {
  log.error("the state of enrolment cannot be written: {error}", {
    error: (error as Error).message,
  });
}

/**
 * @param directories The first that can be written to is used.
 * @param publicKey Of the hub.
 * @param now ms since the Unix epoch.
 */
export function openRoster(
  directories: readonly string[],
  publicKey: Uint8Array,
  now: () => number,
): OpenedRoster {
  const reasons: string[] = [];
  const directory = prepareStateDirectory(
    directories,
    (directory, error) => reasons.push(`${directory}: ${error.message}`),
  );
  if (directory === undefined) {
    return {
      problem: "nobody can be enrolled without a folder for state, expected a writable one in " +
        `STATE_DIRECTORY, XDG_STATE_HOME or HOME (${reasons.join("; ") || "none is named"})`,
    };
  }
  const path = memberFile(directory, publicKey);
  try {
    const roster = new Roster({
      members: readMembers(path),
      save: (members) => writeMembers(path, members),
      now,
    });
    return { roster, problem: "" };
  } catch (error) {
    const problem = (error as Error).message;
    log.error("machines that were enrolled are not let in: {error}", { error: problem });
    return { problem };
  }
}
