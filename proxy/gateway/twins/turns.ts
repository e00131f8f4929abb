/**
 * Whose turn it is to hold a prefix that several speak for.
 *
 * @module
 */

import type { Standing } from "./liveness.ts";

/** As {@link Liveness} says. */
export interface Candidate {
  readonly standing: Standing;
  isStable(now: number): boolean;
}

/** Why somebody else holds a prefix from now on. `back`: one that comes before is there, and stays. */
export type Turn = { readonly to: number; readonly why: "lost" | "back" };

/**
 * Who is to hold a prefix instead of `holder`: the first that is alive if that is lost; one in front of
 * it that has been alive for long enough to be relied on. Undefined: it stays where it is, also when
 * nobody is alive.
 *
 * @param candidates In the order of preference.
 */
export function nextTurn(
  candidates: readonly Candidate[],
  holder: number,
  now: number,
): Turn | undefined {
  if (candidates[holder]!.standing === "lost") {
    const to = candidates.findIndex(({ standing }) => standing === "alive");
    return to < 0 ? undefined : { to, why: "lost" };
  }
  const to = candidates.findIndex((candidate, i) => i < holder && candidate.isStable(now));
  return to < 0 ? undefined : { to, why: "back" };
}
