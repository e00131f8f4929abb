/**
 * The command line: `deno task start up wg0.conf`.
 *
 * @module
 */

import { run } from "./proxy/cli/program.ts";

if (import.meta.main) Deno.exit(await run(Deno.args));
