/**
 * What flags, the environment and the configuration say of files, before the configuration is loaded.
 *
 * @module
 */

import type { ProcessView } from "../../../ffi/confine/mod.ts";
import { pathBeside } from "../../config/beside.ts";
import { isFile, readText } from "./paths.ts";

/** What the configuration says of files. */
export interface Configured {
  /** Files, and folders of files. */
  readonly paths: readonly string[];
  /** By `section.field`. */
  readonly values: Readonly<Record<string, string>>;
}

export const NOTHING: Configured = { paths: [], values: {} };

/** Among {@link Configured.values}. */
export const CONTROL_DIR = "interface.controlDir";

/** Where a configuration, or the environment, may name files: only then it is parsed here as well. */
const HINTS = /KeyFile|Include|KEY_FILE/i;

/**
 * What the configuration names, which a reload reads again: secrets, included files. One that comes
 * by standard input is not looked at.
 */
export async function configuredFiles(
  view: ProcessView,
  args: readonly string[],
): Promise<Configured> {
  const variables = ["WIRESTACK_PRIVATE_KEY_FILE", "WIRESTACK_PEERS"];
  let found = NOTHING;
  const look = async (file: string | undefined, text: string) => {
    const { namedFiles } = await import("../named_files.ts");
    const form = flag(args, "--format") as Parameters<typeof namedFiles>[2];
    const { paths, values } = await namedFiles(file, text, form, view.environment);
    found = { paths: [...found.paths, ...paths], values: { ...values, ...found.values } };
  };
  for (const file of namedFiles(args).filter((path) => !/^\/(?:dev|proc)\//.test(path))) {
    const text = readText(file);
    const isPlain = !/\.(?:ya?ml|json|env)$/i.test(file) && flag(args, "--format") === undefined;
    if (!isPlain || HINTS.test(text)) await look(file, text);
    else {
      const written = controlFolderIn(text);
      const controlDir = written && pathBeside(file, written);
      if (controlDir) found = { ...found, values: { [CONTROL_DIR]: controlDir, ...found.values } };
    }
  }
  if (variables.some((name) => view.environment(name))) await look(undefined, "");
  return found;
}

/**
 * What settings may name, wherever they stand: in flags, in the environment, in the files of the
 * command line. A quick look, before the configuration's own parser runs: at worst some too many.
 *
 * @param pattern What a value is like, with the part that counts in a group.
 */
export function settings(
  view: ProcessView,
  args: readonly string[],
  configured: Configured,
  names: Readonly<Record<string, string>>,
  pattern = /(.+)/,
): string[] {
  const texts = namedFiles(args).map((file) => [file, readText(file)] as const);
  const values = Object.entries(names).flatMap(([name, key]) => [
    flag(args, name),
    view.environment(variableOf(name)),
    ...Object.entries(configured.values)
      .filter(([path]) => path.toLowerCase().endsWith(`.${key.toLowerCase()}`))
      .map(([, value]) => value),
    // Where the configuration is not parsed here.
    ...texts.flatMap(([file, text]) =>
      Array.from(
        text.matchAll(
          new RegExp(`^[ \\t{"-]*(?:${key}|${variableOf(name)})["' \\t]*[:=][ \\t]*(.+)$`, "gim"),
        ),
        ([, value]) =>
          pathBeside(file, value!.replace(/\s#.*$/, "").replace(/^["' ]+|["', ]+$/g, "").trim()),
      )
    ),
  ]);
  return values.flatMap((value) => pattern.exec(value ?? "")?.[1] ?? []);
}

function variableOf(flag: string): string {
  return `WIRESTACK_${flag.slice(2).toUpperCase().replaceAll("-", "_")}`;
}

/** Arguments that are files, whatever they are for; `--flag=file` too. */
export function namedFiles(args: readonly string[]): string[] {
  return args.map((argument) => argument.replace(/^--?[\w-]+=/, "")).filter(isFile);
}

/** The value of a flag; undefined without it. */
export function flag(args: readonly string[], name: string): string | undefined {
  const index = args.lastIndexOf(name);
  return index < 0
    ? args.findLast((argument) => argument.startsWith(`${name}=`))?.slice(name.length + 1)
    : args[index + 1];
}

/** A quick look, before the configuration's own parser runs: at worst a folder too few or too many. */
function controlFolderIn(text: string): string | undefined {
  return /^[ \t]*ControlDir[ \t]*=[ \t]*([^#\r\n]*[^#\s])/im.exec(text)?.[1];
}
