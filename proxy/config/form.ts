/**
 * The forms that a configuration's text has: wg-quick's, YAML, JSON, variables.
 *
 * @module
 */

import { ConfigSource } from "./source.ts";
import { parseConfigFile } from "./file.ts";
import { TreeError } from "./tree.ts";

/** By the suffixes of files, YAML's shorter one aside. */
export type Form = "conf" | "yaml" | "json" | "env";

/** By a file's suffix; wg-quick's for any other. */
export function formOf(file: string): Form {
  const suffix = /\.(ya?ml|json|env)$/i.exec(file)?.[1]?.toLowerCase();
  if (suffix === undefined) return "conf";
  return suffix === "yml" ? "yaml" : suffix as Form;
}

/** A source without values, which places what is missing in a file. */
export function sourceFor(file: string, form: Form = formOf(file)): ConfigSource {
  return new ConfigSource({
    file,
    line: 1,
    ...(form !== "conf" && { name: "" }),
    ...(form === "env" && { isVariable: true as const }),
  });
}

/** For messages: what a configuration's file should be. */
export function expectedFile(form: Form): string {
  const names = { conf: "wg-quick", yaml: "YAML", json: "JSON", env: ".env" };
  return `a ${names[form]} file`;
}

/**
 * Puts a file's values into a source, with their places. Never throws: what is wrong with the file's
 * form is kept in the source, along with whatever could be read.
 *
 * @param file The name to put into messages.
 */
export async function parseForm(
  source: ConfigSource,
  text: string,
  file: string,
  form: Form,
): Promise<void> {
  if (form === "conf") {
    parseConfigFile(text, file, source);
    return;
  }
  if (form === "env") {
    const [{ parseEnvFile }, { applyVariables }] = await Promise.all([
      import("./env_file.ts"),
      import("./variables.ts"),
    ]);
    applyVariables(source, parseEnvFile(text, file, source));
    return;
  }
  const { fillFromTree } = await import("./tree_source.ts");
  try {
    const tree = form === "json"
      ? (await import("./json.ts")).parseJson(text)
      : (await import("./yaml.ts")).parseYaml(text);
    fillFromTree(source, tree, (line, name) => ({ file, line, name }));
  } catch (error) {
    if (!(error instanceof TreeError)) throw error;
    source.problemAt({ file, line: error.line }, `line: ${error.message}`);
    source.isUnreadable = true;
  }
}
