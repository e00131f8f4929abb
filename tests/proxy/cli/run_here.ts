/**
 * A command in this process, with a terminal that keeps what is written.
 *
 * @module
 */

import { run } from "../../../proxy/cli/program.ts";
import type { Terminal } from "../../../proxy/cli/terminal.ts";

export interface Result {
  status: number;
  out: string;
  error: string;
}

/** @param terminal What is to be another than that of nobody. */
export async function runHere(
  args: readonly string[],
  input = "",
  terminal: Partial<Terminal> = {},
): Promise<Result> {
  const result = { status: 0, out: "", error: "" };
  result.status = await run(args, {
    out: (text) => result.out += text,
    error: (text) => result.error += text,
    write: () => Promise.resolve(true),
    readInput: () => Promise.resolve(new TextEncoder().encode(input)),
    outputIsWorldAccessible: () => false,
    columns: () => undefined,
    giveUpFfi() {},
    watchHangUp: () => () => false,
    ...terminal,
  });
  return result;
}
