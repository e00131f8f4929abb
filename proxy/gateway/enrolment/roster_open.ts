/**
 * The roster of a hub, opened from the file that it is kept in.
 *
 * @module
 */

import { type MemberChange, MemberLog } from "../../enrol/member_log.ts";
import { Roster } from "../../enrol/roster.ts";
import { memberFile } from "../../enrol/state_file.ts";
import { getLogger } from "../../log/logger.ts";
import { prepareStateDirectory } from "../../state/directory.ts";

const log = getLogger(["wirestack", "enrolment"]);

export interface OpenedRoster {
  /** Undefined: nothing can be kept. */
  readonly roster?: Roster;
  /** What keeps it. */
  readonly keeper?: MemberKeeper;
  /** Why not; empty if it can. */
  readonly problem: string;
}

/** Writes changes down; how often that has failed is counted, and that it does is said once. */
export class MemberKeeper {
  readonly #log: MemberLog;
  #failures = 0;
  #isFailing = false;

  constructor(log: MemberLog) {
    this.#log = log;
  }

  /** Changes that could not be written, tries of the same one again too. */
  get failures(): number {
    return this.#failures;
  }

  /** @throws {Error} of the system; then nothing has changed. */
  write(change: MemberChange): void {
    try {
      this.#log.write(change);
    } catch (error) {
      this.#failures++;
      if (!this.#isFailing) {
        log.error("the state of enrolment cannot be written: {error}", {
          error: (error as Error).message,
        });
      }
      this.#isFailing = true;
      throw error;
    }
    if (this.#isFailing) log.info("the state of enrolment is written again");
    this.#isFailing = false;
  }

  /** @returns when nothing is being written any more. */
  close(): Promise<void> {
    return this.#log.close();
  }
}

/**
 * @param directories The first that can be written to is used.
 * @param publicKey Of the hub.
 * @param now ms since the Unix epoch.
 * @param isHeld As {@link MemberLog.open} has it.
 */
export function openRoster(
  directories: readonly string[],
  publicKey: Uint8Array,
  now: () => number,
  isHeld = false,
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
    const { log: written, members } = MemberLog.open(
      path,
      isHeld,
      (error) =>
        log.warn("the state of enrolment cannot be made shorter: {error}", {
          error: error.message,
        }),
    );
    const keeper = new MemberKeeper(written);
    const roster = new Roster({ members, save: (change) => keeper.write(change), now });
    return { roster, keeper, problem: "" };
  } catch (error) {
    const problem = (error as Error).message;
    log.error("machines that were enrolled are not let in: {error}", { error: problem });
    return { problem };
  }
}
