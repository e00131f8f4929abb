/**
 * The client side of the control socket, for the commands that talk to a running gateway.
 *
 * @module
 */

import { ControlError } from "./error.ts";
import { socketPath } from "./socket_path.ts";

export { ControlError } from "./error.ts";

/** An answer: its keys and values in order, and how the request ended. */
export interface ControlAnswer {
  readonly pairs: readonly (readonly [key: string, value: string])[];
  /** 0, or an error number as positive as in errno.h. */
  readonly errno: number;
}

/** For a whole answer. */
const ANSWER_MS = 15_000;

export class ControlClient {
  readonly directory: string;
  readonly name: string;

  constructor(directory: string, name: string) {
    this.directory = directory;
    this.name = name;
  }

  /**
   * Sends a request and awaits its answer.
   *
   * @param operation `get=1`, say.
   * @returns undefined if the program that listens there does not know the operation.
   * @throws {ControlError} saying why there is no answer.
   */
  async ask(operation: string, lines: readonly string[] = []): Promise<ControlAnswer | undefined> {
    const conn = await this.#connect();
    const timer = setTimeout(() => conn.close(), ANSWER_MS);
    try {
      const request = new TextEncoder().encode([operation, ...lines, "", ""].join("\n"));
      for (let sent = 0; sent < request.length;) {
        sent += await conn.write(request.subarray(sent));
      }
      return parseAnswer(await readAnswer(conn));
    } catch (error) {
      throw new ControlError(`${this.name}: no answer (${messageOf(error)})`);
    } finally {
      clearTimeout(timer);
      try {
        conn.close();
      } catch { /* it was too late */ }
    }
  }

  async #connect(): Promise<Deno.UnixConn> {
    const path = socketPath(this.directory, this.name);
    try {
      return await Deno.connect({ transport: "unix", path });
    } catch (error) {
      if (
        error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused
      ) throw new ControlError(`${this.name}: not running (nobody listens at ${path})`);
      if (error instanceof Deno.errors.PermissionDenied) {
        throw new ControlError(`${this.name}: permission denied, expected the user who runs it`);
      }
      throw new ControlError(`${this.name}: ${messageOf(error)}`);
    }
  }
}

async function readAnswer(conn: Deno.UnixConn): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(65536);
  let text = "";
  for (let length; (length = await conn.read(buffer)) !== null;) {
    text += decoder.decode(buffer.subarray(0, length), { stream: true });
    if (text.endsWith("\n\n")) break;
  }
  return text;
}

function parseAnswer(text: string): ControlAnswer | undefined {
  if (text === "") return undefined;
  const pairs = text.trimEnd().split("\n").map((line) => {
    const equals = line.indexOf("=");
    return [line.slice(0, equals), line.slice(equals + 1)] as const;
  });
  const [key, value] = pairs.pop()!;
  if (key !== "errno") throw new Error("the answer is cut off");
  return { pairs, errno: Math.abs(Number(value)) };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
