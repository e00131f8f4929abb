/**
 * The flags of V8's that people run a gateway with.
 *
 * @module
 */

import config from "../deno.json" with { type: "json" };

/** What `deno task start` has, as one argument. */
export function v8Flags(): string {
  return /--v8-flags=\S+/.exec(config.tasks.start.command)![0];
}
