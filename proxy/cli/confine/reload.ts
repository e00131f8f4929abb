/**
 * Why a gateway that has given something up may not read a file that its configuration names now.
 *
 * @module
 */

import type { Confinement } from "../../../ffi/confine/mod.ts";
import { ConfigError } from "../../config/error.ts";

const HINT =
  "this gateway is confined to the files and folders that its configuration named when " +
  "it started: expected files there, a restart, or --no-confine";

/**
 * Loads a configuration once more.
 *
 * @param user Whom this process has become, if another than who has started it.
 * @throws {ConfigError} with a line more, if the kernel has refused a file.
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
    const hint = user !== undefined
      ? `this gateway is the user ${user} by now: expected files that this one may read, wg syncconf, or a restart`
      : isConfined
      ? HINT
      : undefined;
    const isRefused = /: permission denied,| may not be read,/.test(error.message);
    if (hint === undefined || !isRefused) throw error;
    throw new ConfigError([...error.problems, hint]);
  }
}
