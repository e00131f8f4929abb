/**
 * `reload`: has a running gateway read its configuration again.
 *
 * @module
 */

import { findGateway, onlyGateway } from "./gateways.ts";
import type { Terminal } from "./terminal.ts";

/**
 * @param target The name of a gateway, or its file; missing: the only one that runs.
 * @returns the exit status: 2 if the configuration is wrong, and nothing was changed.
 * @throws {ControlError} if there is no such gateway.
 */
export async function reload(
  target: string | undefined,
  directory: string | undefined,
  terminal: Terminal,
): Promise<number> {
  const gateway = target === undefined
    ? await onlyGateway("NAME", directory)
    : await findGateway(target, directory);
  const answer = await gateway.ask("wirestack_reload=1");
  if (answer === undefined) {
    terminal.error(`wirestack: ${gateway.name}: is no Wirestack gateway, expected one\n`);
    return 1;
  }
  const changes: string[] = [];
  for (const [key, value] of answer.pairs) {
    const text = decodeURIComponent(value);
    if (key === "warning") terminal.error(`warning: ${text}\n`);
    if (key === "problem") terminal.error(`${text}\n`);
    if (key === "change") changes.push(`  ${text}\n`);
  }
  if (answer.errno !== 0) return 2;
  const nothing = changes.length === 0 ? ", nothing has changed" : "";
  terminal.out(`${gateway.name}: reloaded${nothing}\n${changes.join("")}`);
  return 0;
}
