/**
 * Why a confined gateway may not read a file that its configuration names now.
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
 * @throws {ConfigError} with a line more, if the kernel has refused a file.
 */
export async function loadConfined<T>(
  load: () => Promise<T>,
  confinement: Confinement | undefined,
): Promise<T> {
  try {
    return await load();
  } catch (error) {
    const isConfined = confinement !== undefined && confinement.landlock > 0;
    if (!(error instanceof ConfigError) || !isConfined) throw error;
    if (!/: permission denied,| may not be read,/.test(error.message)) throw error;
    throw new ConfigError([...error.problems, HINT]);
  }
}
