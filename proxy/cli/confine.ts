/**
 * When a gateway over FFI confines itself. Deno's permissions bind no program that may call the C
 * library; this does (docs/security.md).
 *
 * Loaded before everything else, for the program may start again: it imports next to nothing.
 *
 * @module
 */

import { type Confinement, confineProcess } from "../../ffi/confine/mod.ts";
import { prepareStateDirectory } from "../state/directory.ts";
import { keepCompiled } from "./confine/compiled.ts";
import { fileRules, stateFolders } from "./confine/file_rules.ts";
import { configuredFiles } from "./confine/settings.ts";

export type { Confinement };

/**
 * Confines the process of `up` over FFI. The first time, on a system with Landlock, the program
 * starts again instead of returning.
 *
 * @param args Without the name of the program.
 * @param folder Where the program's own files are; undefined if it has none.
 * @param load Loads what the command needs, for the runtime to keep it compiled.
 * @returns what was given up; undefined if this command is not to be confined, or has no FFI.
 */
export async function confineCommand(
  args: readonly string[],
  folder: string | undefined,
  load?: () => Promise<void>,
): Promise<Confinement | undefined> {
  if (!isToBeConfined(args) || Deno.build.os !== "linux") return undefined;
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return undefined;
  try {
    return await confineProcess(async (view) => {
      prepareStateDirectory(stateFolders(view)); // no rule without a folder
      const again = load !== undefined && !view.isAgain && await keepCompiled(view, folder, load);
      return { files: fileRules(view, args, folder, await configuredFiles(view, args)), again };
    }, { given: Deno.args, next: args });
  } catch (error) { // No C library, so no FFI either, which the gateway reports.
    return { landlock: 0, seccomp: false, problems: [(error as Error).message] };
  }
}

/**
 * In one line.
 *
 * @param isWanted False: asked to leave it.
 */
export function describeConfinement(given: Confinement | undefined, isWanted = true): string {
  if (given === undefined) return `not confined${isWanted ? "" : " (--no-confine)"}`;
  const { landlock, seccomp, problems } = given;
  const parts = [
    ...landlock > 0 ? [`files by Landlock ${landlock}`] : [],
    ...seccomp ? ["system calls by seccomp"] : [],
  ];
  const confined = parts.length > 0 ? `confined: ${parts.join(", ")}` : "not confined";
  return [confined, ...problems].join("; ");
}

/** Commands that run a gateway. */
const RUNNING = ["up", "hub", "agent", "router"];

/** Whether a command line runs a gateway, and does not only ask for help. */
export function runsGateway(args: readonly string[]): boolean {
  const command = args.find((argument) => !argument.startsWith("-"));
  return RUNNING.includes(command ?? "") && !["--help", "-h"].some((flag) => args.includes(flag));
}

/**
 * Whether it may be over FFI, and does not ask to be left alone. One that makes a device of the operating
 * system confines itself when that is done.
 */
export function isToBeConfined(args: readonly string[]): boolean {
  if (args.some((argument) => /^--tun(?:=|$)/.test(argument))) return false;
  const isLeftAlone = ["--no-ffi", "--no-confine"].some((flag) => args.includes(flag));
  return runsGateway(args) && !isLeftAlone;
}
