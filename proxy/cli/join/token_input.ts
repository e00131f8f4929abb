/**
 * Where a token comes from: an argument, standard input, a file.
 *
 * @module
 */

import { ConfigError } from "../../config/error.ts";
import { decodeToken, MAX_TOKEN_LENGTH, type Token, TokenError } from "../../enrol/token.ts";
import { readText } from "../read.ts";
import type { Terminal } from "../terminal.ts";

const EXPECTED = "a token, as wirestack invite has printed it";
/** With white space around it. */
const MAX_BYTES = 2 * MAX_TOKEN_LENGTH;

/**
 * @param given The argument: a token, `-`, or `@` and a file.
 * @throws {ConfigError} if there is none, or what there is is none.
 */
export async function readToken(
  given: string | undefined,
  file: string | undefined,
  terminal: Terminal,
): Promise<Token> {
  if (given !== undefined && file !== undefined) {
    throw new ConfigError(["TOKEN: given twice, expected it or --token-file"]);
  }
  const path = file ?? (given?.startsWith("@") ? given.slice(1) : undefined);
  if (path !== undefined) return decode(await readText(path, EXPECTED), path);
  if (given === "-") {
    const bytes = await terminal.readInput(MAX_BYTES);
    return decode(new TextDecoder().decode(bytes), "standard input");
  }
  if (given === undefined) {
    throw new ConfigError(["TOKEN: missing, expected it, - for standard input, or --token-file"]);
  }
  const token = decode(given, "TOKEN");
  terminal.error(
    "warning: other users of this machine can see arguments: - or --token-file keep the token from them\n",
  );
  return token;
}

function decode(text: string, where: string): Token {
  try {
    return decodeToken(text);
  } catch (error) {
    if (!(error instanceof TokenError)) throw error;
    throw new ConfigError([`${where}: ${error.message}`]);
  }
}
