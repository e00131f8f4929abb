/**
 * Secrets that a configuration leaves to files: `PrivateKeyFile`, `--private-key-file`, systemd's
 * credentials.
 *
 * @module
 */

import { ConfigError } from "./error.ts";
import { findKey } from "./keys.ts";
import type { ConfigSource, Origin } from "./source.ts";
import { ParseFailure, parseKey, shownPath } from "./values.ts";
import { beside } from "./beside.ts";
import type { Read } from "./include.ts";
import { isDescriptor, isStandardInput } from "./descriptor.ts";

/** The credential that is the private key where nothing else says what it is. */
export const PRIVATE_KEY_CREDENTIAL = "wirestack.private-key";

const PRIVATE_KEY = findKey("interface", "PrivateKey")!;

/**
 * Puts secrets in the place of the files that hold them. What is wrong is kept in the source.
 *
 * @param read Of a file's name; throws a ConfigError.
 * @returns the names of the files.
 */
export async function readSecrets(
  source: ConfigSource,
  read: Read,
): Promise<string[]> {
  const credential = credentialFile(PRIVATE_KEY_CREDENTIAL);
  if (credential !== undefined && !source.has(["interface"], PRIVATE_KEY)) {
    source.setFile(["interface"], PRIVATE_KEY, credential, {
      file: credential,
      line: 1,
      name: PRIVATE_KEY.name,
    });
  }
  const files: string[] = [];
  for (const secret of source.secretFiles) {
    const { section, key, origin } = secret;
    const file = secretPath(secret);
    try {
      const text = (await read(file, "a file with a key")).trim(); // most end with a line break
      source.set(section, key, text, origin);
      const parsed = parseKey(text);
      // Said here, where the file's name is known.
      if (parsed instanceof ParseFailure) {
        source.problem([...section, key.field], `${shownPath(file)}: ${parsed.message}`);
      }
      files.push(file);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      source.set(section, key, "", origin);
      source.problem([...section, key.field], error.message);
    }
  }
  return files;
}

/** Where a secret's file is. A plain name is a credential's, if there is one. */
export function secretPath({ file, origin }: { file: string; origin: Origin }): string {
  if (isDescriptor(file)) return file;
  const credential = file.includes("/") ? undefined : credentialFile(file);
  if (credential !== undefined) return credential;
  return "file" in origin && !isStandardInput(origin.file) ? beside(origin.file, file) : file;
}

/** The file of one of systemd's credentials, if there is such a one. */
function credentialFile(name: string): string | undefined {
  const folder = credentialsDirectory();
  if (folder === undefined || name === "") return undefined;
  try {
    return Deno.statSync(`${folder}/${name}`).isFile ? `${folder}/${name}` : undefined;
  } catch {
    return undefined;
  }
}

function credentialsDirectory(): string | undefined {
  const variable = "CREDENTIALS_DIRECTORY";
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  const folder = state === "granted" ? Deno.env.get(variable) : undefined;
  return folder?.startsWith("/") ? folder : undefined;
}
