/**
 * The command line: `deno task start up wg0.conf`.
 *
 * @module
 */

import { confineCommand, runsGateway } from "./proxy/cli/confine.ts";
import { denoProblem } from "./proxy/version.ts";

if (import.meta.main) {
  const problem = denoProblem(Deno.version.deno);
  if (problem !== undefined) {
    console.error(`wirestack: ${problem}`);
    Deno.exit(1);
  }
  Deno.exit(await runConfined(Deno.args));
}

/**
 * @param args May be others than this process was started with: if it starts again, it is with these.
 */
async function runConfined(args: readonly string[]): Promise<number> {
  // Before the rest is loaded, for it may start the program again.
  const confinement = await confineCommand(args, import.meta.dirname, loadGateway);
  if (runsGateway(args)) await loadGateway();
  const { run } = await import("./proxy/cli/program.ts");
  return await run(args, undefined, confinement, runConfined);
}

async function loadGateway(): Promise<void> {
  await (await import("./proxy/cli/program.ts")).loadGateway();
}
