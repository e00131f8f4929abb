/**
 * `reload` and `set`: has a running gateway read its configuration again, or changes single values of
 * it.
 *
 * @module
 */

import { gatewayOf } from "./gateways.ts";
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
  return await change(target, directory, terminal, "wirestack_reload=1", [], "reloaded");
}

/**
 * @param words A gateway's name or file, if there is one without `=`, then settings.
 * @returns the exit status: 2 if a setting is wrong, and nothing was changed.
 * @throws {ControlError} if there is no such gateway.
 */
export async function set(
  words: readonly string[],
  directory: string | undefined,
  terminal: Terminal,
): Promise<number> {
  const isNamed = !words[0]!.includes("=");
  const settings = words.slice(isNamed ? 1 : 0);
  if (settings.length === 0) {
    terminal.error("KEY=VALUE: missing, expected as Proxy.TcpDialTimeout=5\n");
    return 2;
  }
  const lines = settings.map((setting) => `setting=${encodeURIComponent(setting)}`);
  const target = isNamed ? words[0] : undefined;
  return await change(target, directory, terminal, "wirestack_set=1", lines, "set");
}

/** @param done What has happened, in a word. */
async function change(
  target: string | undefined,
  directory: string | undefined,
  terminal: Terminal,
  operation: string,
  lines: readonly string[],
  done: string,
): Promise<number> {
  const gateway = await gatewayOf(target, "NAME", directory);
  const answer = await gateway.ask(operation, lines);
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
  terminal.out(`${gateway.name}: ${done}${nothing}\n${changes.join("")}`);
  return 0;
}
