/**
 * Asks a gateway for a list.
 *
 * @module
 */

import { type ControlClient, ControlError } from "../control/client.ts";

/**
 * The values of an answer's lines of one key, each read as it comes: there may be a hundred thousand.
 *
 * @throws {ControlError} if there is no answer, or a refusal.
 */
export async function askValues<T>(
  gateway: ControlClient,
  operation: string,
  lines: readonly string[],
  wanted: string,
): Promise<T[]> {
  const values: T[] = [];
  const answer = await gateway.ask(operation, lines, (key, value) => {
    if (key !== wanted) return false;
    values.push(JSON.parse(value));
    return true;
  });
  const { name } = gateway;
  if (answer === undefined) {
    throw new ControlError(`${name}: is no Wirestack gateway, or an older one`);
  }
  const { pairs, errno } = answer;
  const problem = pairs.find(([key]) => key === "problem")?.[1];
  if (problem !== undefined) throw new ControlError(`${name}: ${decodeURIComponent(problem)}`);
  if (errno !== 0) throw new ControlError(`${name}: refused (errno ${errno})`);
  return values;
}
