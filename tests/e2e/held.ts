/**
 * A connection that a client holds and that carries a line there and back every 50 ms.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Host } from "./lab.ts";
import { PORTS } from "./ports.ts";
import type { Process } from "./process.ts";
import { clientCommand } from "./site.ts";

/** From `host` to the echo service of a target. */
export function hold(host: Host, target: string): Process {
  return host.spawn("hold", clientCommand("hold", target, PORTS.echo));
}

/** Ten more echoes. */
export async function moreEchoes(held: Process): Promise<void> {
  const from = held.lines.length;
  for (let count = 0, next = from; count < 10; count++) {
    await held.line(/^echo \d+$/, { from: next, timeoutMs: 90_000 });
    next = held.lines.length;
  }
}

/** What became of it. */
export interface Held {
  readonly echoes: number;
  /** Which of them took longest, from 1. */
  readonly longest: number;
  readonly longestMs: number;
}

/** Ends it. @throws when it broke before */
export async function release(held: Process): Promise<Held> {
  held.endInput();
  assert.equal((await held.exit()).code, 0, String(held));
  return JSON.parse(held.lines.at(-1)!);
}
