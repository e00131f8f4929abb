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

/** An answer, and what follows it if its `errno` is 0. */
export interface ControlStream extends ControlAnswer {
  readonly conn: Deno.UnixConn;
  readonly rest: Uint8Array<ArrayBuffer>;
}

const NEWLINE = 0x0a;
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

  /**
   * Sends a request whose answer is followed by a stream.
   *
   * @returns as {@link ask}; the connection, which is the caller's to close, if there is a stream, and
   * what has come of it already.
   * @throws {ControlError} saying why there is no answer.
   */
  async stream(operation: string, lines: readonly string[]): Promise<ControlStream | undefined> {
    const conn = await this.#connect();
    const timer = setTimeout(() => conn.close(), ANSWER_MS);
    let stream: ControlStream | undefined;
    try {
      const request = new TextEncoder().encode([operation, ...lines, "", ""].join("\n"));
      for (let sent = 0; sent < request.length;) {
        sent += await conn.write(request.subarray(sent));
      }
      const { text, rest } = await readHead(conn);
      const answer = parseAnswer(text);
      // wireguard-go says EINVAL of an operation that it does not know, and closes.
      if (answer !== undefined) stream = { ...answer, conn, rest };
    } catch (error) {
      throw new ControlError(`${this.name}: no answer (${messageOf(error)})`);
    } finally {
      clearTimeout(timer);
      if (stream === undefined || stream.errno !== 0) {
        try {
          conn.close();
        } catch { /* it was too late */ }
      }
    }
    return stream;
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

/** The answer, and the first of what follows it. */
async function readHead(
  conn: Deno.UnixConn,
): Promise<{ readonly text: string; readonly rest: Uint8Array<ArrayBuffer> }> {
  let all = new Uint8Array(0);
  const buffer = new Uint8Array(65536);
  for (let length; (length = await conn.read(buffer)) !== null;) {
    const more = new Uint8Array(all.length + length);
    more.set(all);
    more.set(buffer.subarray(0, length), all.length);
    all = more;
    const end = endOfHead(all);
    if (end >= 0) return { text: decode(all.subarray(0, end)), rest: all.slice(end) };
  }
  return { text: decode(all), rest: new Uint8Array(0) };
}

/** Behind the empty line; -1 without one. */
function endOfHead(bytes: Uint8Array): number {
  for (let at = 0; at + 1 < bytes.length; at++) {
    if (bytes[at] === NEWLINE && bytes[at + 1] === NEWLINE) return at + 2;
  }
  return -1;
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
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
