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
/** A hundred thousand flows take longer than this as a whole. */
const ANSWER_MS = 15_000;

export class ControlClient {
  readonly directory: string;
  readonly name: string;

  readonly #answerMs: number;

  /** @param answerMs For an answer to begin, and for the next of it. */
  constructor(directory: string, name: string, answerMs: number = ANSWER_MS) {
    this.directory = directory;
    this.name = name;
    this.#answerMs = answerMs;
  }

  /**
   * Sends a request and awaits its answer.
   *
   * @param operation `get=1`, say.
   * @param take Called with each pair but the `errno` as it comes, which the answer then has not. True:
   * it was taken.
   * @returns undefined if the program that listens there does not know the operation.
   * @throws {ControlError} saying why there is no answer.
   */
  async ask(
    operation: string,
    lines: readonly string[] = [],
    take: (key: string, value: string) => boolean = () => false,
  ): Promise<ControlAnswer | undefined> {
    const conn = await this.#connect();
    let timer = setTimeout(() => conn.close(), this.#answerMs);
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => conn.close(), this.#answerMs);
    };
    try {
      const request = new TextEncoder().encode([operation, ...lines, "", ""].join("\n"));
      for (let sent = 0; sent < request.length;) {
        sent += await conn.write(request.subarray(sent));
      }
      return await readAnswer(conn, heard, take);
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
    const timer = setTimeout(() => conn.close(), this.#answerMs);
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

/** Line by line: the text of a long answer is nowhere as a whole. */
async function readAnswer(
  conn: Deno.UnixConn,
  heard: () => void,
  take: (key: string, value: string) => boolean,
): Promise<ControlAnswer | undefined> {
  const pairs: (readonly [key: string, value: string])[] = [];
  const add = (line: string) => {
    const [key, value] = pairOf(line);
    if (!take(key, value)) pairs.push([key, value]);
  };
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(65536);
  let begun = "";
  let isEmpty = true;
  for (let length; (length = await conn.read(buffer)) !== null;) {
    heard();
    isEmpty = false;
    const lines = decoder.decode(buffer.subarray(0, length), { stream: true }).split("\n");
    lines[0] = begun + lines[0];
    begun = lines.pop()!;
    const end = lines.indexOf("");
    lines.slice(0, end < 0 ? undefined : end).forEach(add);
    if (end >= 0) return answerOf(pairs);
  }
  if (begun !== "") add(begun);
  return isEmpty ? undefined : answerOf(pairs);
}

function parseAnswer(text: string): ControlAnswer | undefined {
  return text === "" ? undefined : answerOf(text.trimEnd().split("\n").map(pairOf));
}

function pairOf(line: string): [key: string, value: string] {
  const equals = line.indexOf("=");
  return [line.slice(0, equals), line.slice(equals + 1)];
}

function answerOf(all: readonly (readonly [key: string, value: string])[]): ControlAnswer {
  const [key, value] = all.at(-1) ?? [];
  if (key !== "errno") throw new Error("the answer is cut off");
  return { pairs: all.slice(0, -1), errno: Math.abs(Number(value)) };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
