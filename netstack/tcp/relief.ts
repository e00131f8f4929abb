/**
 * What connections do about memory pressure: see `memory_budget.ts`.
 *
 * @module
 */

import type { MemoryAccount, MemoryBudget } from "../memory_budget.ts";
import type { Connection } from "./connection.ts";

/** How long a connection must have moved nothing before it is reset for its memory, ms. */
const STALLED_MS = 10_000;
/** The same when nothing at all is left. */
const STALLED_MS_FULL = 5_000;

/**
 * Shrinks buffers, and, if that is not enough, resets connections: of the owner furthest above its
 * share those that have held most for longest without moving a byte.
 *
 * @returns How many were reset.
 */
export function relieve(
  connections: readonly Connection[],
  budget: MemoryBudget,
  now: number,
): number {
  for (const c of connections) {
    c.shrink();
    c.moved(0, now); // what was read since
  }
  if (!budget.takeAlarm()) return 0;
  const stalled = stalledByOwner(connections, now - (budget.isFull ? STALLED_MS_FULL : STALLED_MS));
  let resets = 0;
  for (;;) {
    const account = furthestAbove(stalled.keys());
    if (account === undefined || !budget.mustRelieve(account)) return resets;
    const victims = stalled.get(account)!;
    budget.resets++;
    victims.pop()!.giveWay();
    if (victims.length === 0) stalled.delete(account);
    resets++;
  }
}

/** Those that hold memory and have moved nothing since `since`, the worst last. */
function stalledByOwner(
  connections: readonly Connection[],
  since: number,
): Map<MemoryAccount, Connection[]> {
  const stalled = new Map<MemoryAccount, Connection[]>();
  for (const c of connections) {
    if (c.bufferBytes === 0 || c.movedAt > since) continue;
    const of = stalled.get(c.account);
    if (of === undefined) stalled.set(c.account, [c]);
    else of.push(c);
  }
  // Byte-seconds: the big ones first, and of equals the one that has not moved for longest.
  const now = since;
  const weight = (c: Connection) => c.bufferBytes * (now - c.movedAt + 1);
  for (const of of stalled.values()) of.sort((a, b) => weight(a) - weight(b));
  return stalled;
}

/** All shares are equal, so it is who holds most. */
function furthestAbove(accounts: Iterable<MemoryAccount>): MemoryAccount | undefined {
  let found: MemoryAccount | undefined;
  for (const account of accounts) {
    if (found === undefined || account.used > found.used) found = account;
  }
  return found;
}
