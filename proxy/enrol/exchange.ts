/**
 * One question of a machine's to the hub, over a connection in the tunnel.
 *
 * @module
 */

import { readLine, writeText } from "./line.ts";
import {
  type EnrolAnswer,
  type EnrolRequest,
  formatRequest,
  MAX_ANSWER,
  parseAnswer,
} from "./message.ts";

/** What to say of an answer that is none of those that were asked for. */
export const NOT_UNDERSTOOD = "the hub's answer is not understood, expected one of this version";

/** @returns undefined for what is no answer. @throws {Error} of the connection. */
export async function exchange(
  conn: Pick<Deno.Conn, "read" | "write">,
  request: EnrolRequest,
): Promise<EnrolAnswer | undefined> {
  await writeText(conn, formatRequest(request));
  const line = await readLine(conn, MAX_ANSWER);
  return line === undefined ? undefined : parseAnswer(line);
}
