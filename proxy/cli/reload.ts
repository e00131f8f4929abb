/**
 * `reload` and `set`: has a running gateway read its configuration again, or changes single values of
 * it.
 *
 * @module
 */

import type { ControlAnswer, ControlClient } from "../control/client.ts";
import { gatewayOf, isFileName } from "./gateways.ts";
import type { Terminal } from "./terminal.ts";
import { textLines, textsOf } from "./texts.ts";

/**
 * @param target The name of a gateway, or its file; missing: the only one that runs. A file is read here
 * if the gateway may not read it any more.
 * @returns the exit status: 2 if the configuration is wrong, and nothing was changed.
 * @throws {ControlError} if there is no such gateway.
 */
export async function reload(
  target: string | undefined,
  directory: string | undefined,
  terminal: Terminal,
): Promise<number> {
  const gateway = await gatewayOf(target, "NAME", directory);
  const operation = "wirestack_reload=1";
  let answer = await gateway.ask(operation);
  const isForbidden = answer?.pairs.some(([key]) => key === "forbidden");
  if (isForbidden && target !== undefined && isFileName(target)) {
    const texts = await textsOf(target);
    if (texts !== undefined) answer = await gateway.ask(operation, textLines(texts));
  }
  return report(gateway, answer, terminal, "reloaded");
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
    terminal.error("SECTION.KEY=VALUE: missing, expected as Proxy.TcpDialTimeout=5\n");
    return 2;
  }
  const lines = settings.map((setting) => `setting=${encodeURIComponent(setting)}`);
  const target = isNamed ? words[0] : undefined;
  const gateway = await gatewayOf(target, "NAME", directory);
  return report(gateway, await gateway.ask("wirestack_set=1", lines), terminal, "set");
}

/** @param done What has happened, in a word. */
function report(
  gateway: ControlClient,
  answer: ControlAnswer | undefined,
  terminal: Terminal,
  done: string,
): number {
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
