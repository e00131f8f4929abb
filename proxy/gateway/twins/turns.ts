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

/**
 * Why somebody else holds a prefix from now on. `back`: one that comes before is there, and stays.
 * `first`: it was heard before any other, at the start.
 */
export type Turn = { readonly to: number; readonly why: "lost" | "back" | "first" };

/**
 * Who is to hold a prefix instead of `holder`: the first that is alive if that is lost; one in front of
 * it that has been alive for long enough to be relied on. Undefined: it stays where it is, also when
 * nobody is alive.
 *
 * @param candidates In the order of preference.
 * @param isHeld False: nobody depends on the holder, which was not heard yet. The first that is takes over.
 */
export function nextTurn(
  candidates: readonly Candidate[],
  holder: number,
  now: number,
  isHeld = true,
): Turn | undefined {
  if (candidates[holder]!.standing === "lost") {
    const to = candidates.findIndex(({ standing }) => standing === "alive");
    return to < 0 ? undefined : { to, why: "lost" };
  }
  if (isHeld === false) {
    const to = candidates.findIndex(({ standing }) => standing === "alive");
    if (to >= 0) return { to, why: "first" };
  }
  const to = candidates.findIndex((candidate, i) => i < holder && candidate.isStable(now));
  return to < 0 ? undefined : { to, why: "back" };
}
