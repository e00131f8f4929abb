/**
 * Why a gateway that has given something up may not read a file that its configuration names now.
 *
 * @module
 */

import type { Confinement } from "../../../ffi/confine/mod.ts";
import { ConfigError, ForbiddenFilesError } from "../../config/error.ts";

const HINT =
  "this gateway is confined to the files and folders that its configuration named when " +
  "it started: expected files there, a restart, or --no-confine";

/**
 * Loads a configuration once more.
 *
 * @param user Whom this process has become, if another than who has started it.
 * @throws {ConfigError} with a line more, if the kernel has refused a file: a ForbiddenFilesError if another
 * user may read it.
 */
export async function loadConfined<T>(
  load: () => Promise<T>,
  confinement: Confinement | undefined,
  user?: string,
): Promise<T> {
  try {
    return await load();
  } catch (error) {
    const isConfined = confinement !== undefined && confinement.landlock > 0;
    if (!(error instanceof ConfigError)) throw error;
    const isRefused = /: permission denied,| may not be read,/.test(error.message);
    if (!isRefused) throw error;
    if (user !== undefined) {
      throw new ForbiddenFilesError([
        ...error.problems,
        `this gateway is the user ${user} by now: expected files that this one may read, wirestack ` +
        "reload FILE by who may read them, wg syncconf, or a restart",
      ]);
    }
    throw isConfined ? new ConfigError([...error.problems, HINT]) : error;
  }
}
