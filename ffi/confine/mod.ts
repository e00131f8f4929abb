/**
 * A process that gives up what it does not need: files by Landlock, system calls by seccomp. Apart
 * from ../mod.ts, for it is loaded before everything else.
 *
 * @module
 */

export { type FileAccess, type FileRule } from "./landlock.ts";
export {
  type Confinement,
  confineProcess,
  confineSystemCalls,
  type Needs,
  type ProcessView,
} from "./process.ts";
