/**
 * Takes the environment away from whatever is evaluated between this module and a call of
 * {@link restoreEnvironment}. grpc-js looks there, as it is loaded, for some debugging of its own, which
 * this program has no permission to do, and which could print what it should not.
 *
 * @module
 */

import process from "node:process";

const { env } = process;
process.env = {};

export function restoreEnvironment(): void {
  process.env = env;
}
