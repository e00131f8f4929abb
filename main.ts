/**
 * The command line: `deno task start up wg0.conf`.
 *
 * @module
 */

import { confineCommand } from "./proxy/cli/confine.ts";
import { denoProblem } from "./proxy/version.ts";

if (import.meta.main) {
  const problem = denoProblem(Deno.version.deno);
  if (problem !== undefined) {
    console.error(`wirestack: ${problem}`);
    Deno.exit(1);
  }
  // Before the rest is loaded, for it may start the program again.
  const confinement = await confineCommand(Deno.args, import.meta.dirname, async () => {
    await (await import("./proxy/cli/program.ts")).loadUp();
  });
  const { run } = await import("./proxy/cli/program.ts");
  Deno.exit(await run(Deno.args, undefined, confinement));
}
