/**
 * One connection to the control socket: requests one after the other, each answered by lines and an
 * `errno`.
 *
 * `get=1` and `set=1` are WireGuard's; ours are in `operations.ts`.
 *
 * @module
 */

import { Errno } from "../../ffi/mod.ts";
import { getLogger } from "../log/logger.ts";
import { Refusal } from "./refusal.ts";
import { LineReader, ReadFailure } from "./line_reader.ts";
import {
  type Answer,
  type AnswerStream,
  type Arguments,
  type ControlHandlers,
  type Operation,
  OPERATIONS,
} from "./operations.ts";
import { SetParser } from "./uapi_request.ts";

const log = getLogger(["wirestack", "control"]);

/** What is written at once, characters, if there is so much. */
const PIECE_LENGTH = 16_384;

/** 16 MiB hold the configuration of some 50,000 peers. */
const LIMITS = { lineBytes: 4096, totalBytes: 16 << 20 };

/** How long a client may take: it has a file descriptor of ours. */
export interface ControlTimeouts {
  /** Between two requests. */
  readonly idleMs: number;
  /** For a request to be complete. */
  readonly requestMs: number;
  /** For an answer to be taken, or a piece of a long one. */
  readonly answerMs: number;
}

const TIMEOUTS: ControlTimeouts = { idleMs: 30_000, requestMs: 10_000, answerMs: 10_000 };

/** Answers requests until the client leaves or breaks the protocol. Never throws. */
export async function serve(
  conn: Pick<Deno.Conn, "read" | "write" | "close">,
  handlers: ControlHandlers,
  timeouts: ControlTimeouts = TIMEOUTS,
): Promise<void> {
  const { idleMs, requestMs, answerMs } = timeouts;
  const reader = new LineReader(conn, LIMITS);
  try {
    while (true) {
      reader.begin(idleMs);
      const operation = await reader.line();
      if (operation === null) break; // `wg` only tests whether a gateway answers
      reader.begin(requestMs);
      const answer = await answerOf(operation, reader, handlers);
      if (answer?.stream !== undefined) {
        await stream(conn, reader, answer, answer.stream, answerMs);
        break;
      }
      await writeAll(conn, answer ? ended(answer) : [errnoLine(Errno.EINVAL)], answerMs);
      if (answer === undefined) {
        log.warn("a request has an unknown operation, closing its connection");
        break;
      }
    }
  } catch (error) {
    if (error instanceof ReadFailure) {
      log.debug("connection closed: {reason}", { reason: error.message });
      // As wireguard-go does; a client that was too slow does not get it.
      await write(conn, errnoLine(Errno.EIO), answerMs).catch(() => {});
    } else log.error("a defect: {error}", { error });
  } finally {
    try {
      conn.close();
    } catch { /* it was, for being late */ }
  }
}

/** @returns undefined for an unknown operation. */
async function answerOf(
  name: string,
  reader: LineReader,
  handlers: ControlHandlers,
): Promise<Answer | undefined> {
  if (name === "set=1") return { lines: [], ...refusedBy(await readSet(reader, handlers)) };
  const operation = OPERATIONS.get(name);
  if (operation === undefined) return undefined;
  const values = await readArguments(name, operation, reader);
  if (values instanceof Refusal) return { lines: [], refusal: values };
  return await operation.run(handlers, values);
}

/**
 * The answer, and then what follows it: as slowly as the client takes it, until it ends its side and has
 * got the rest, or goes.
 */
async function stream(
  conn: Pick<Deno.Conn, "write" | "close">,
  reader: LineReader,
  answer: Answer,
  { read, stop, close }: AnswerStream,
  limitMs: number,
): Promise<void> {
  try {
    await writeAll(conn, ended(answer), limitMs);
    reader.ended().then(stop, close);
    for (let piece; (piece = await read()) !== undefined;) {
      for (let sent = 0; sent < piece.length;) sent += await conn.write(piece.subarray(sent));
    }
  } catch (error) {
    log.debug("connection closed: {reason}", {
      reason: error instanceof Error ? error.message : String(error),
    });
  } finally {
    close();
  }
}

/** Reads a refused request to its end too, if the operation is one that has arguments. */
async function readArguments(
  name: string,
  { keys }: Operation,
  reader: LineReader,
): Promise<Arguments | Refusal> {
  const values = new Map<string, string[]>();
  let refusal: Refusal | undefined;
  for (let line; (line = await reader.line()) !== "";) {
    const [, key, value] = /^(\w+)=(.*)$/.exec(line ?? "") ?? [];
    const decoded = value === undefined ? undefined : decode(value);
    if (key !== undefined && keys.includes(key) && decoded !== undefined) {
      values.set(key, [...values.get(key) ?? [], decoded]);
      continue;
    }
    const expected = keys.length === 0
      ? "an empty line behind it"
      : `${keys.join(", ")} with a value, percent-encoded, or an empty line behind it`;
    refusal ??= new Refusal(Errno.EINVAL, `${name}: expected ${expected}`);
    if (keys.length === 0 || line === null) break;
  }
  return refusal ?? values;
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** Reads a refused request to its end too, because the next one follows. */
async function readSet(
  reader: LineReader,
  handlers: ControlHandlers,
): Promise<Refusal | undefined> {
  const parser = new SetParser();
  let refusal: Refusal | undefined;
  while (true) {
    const line = (await reader.line())?.replace(/\r$/, "");
    if (line === "") return refusal ?? handlers.set(parser.request);
    if (line === undefined) return refusal ?? new Refusal(Errno.EPROTO, "set=1: ends half-way");
    refusal ??= parser.line(line);
  }
}

function refusedBy(refusal: Refusal | undefined): { readonly refusal?: Refusal } {
  return refusal === undefined ? {} : { refusal };
}

function* ended({ lines, refusal }: Answer): Iterable<string> {
  yield* lines;
  if (refusal?.reason !== undefined) log.warn("{reason}", { reason: refusal.reason });
  yield errnoLine(refusal?.errno ?? 0);
}

/** The end of an answer. Negative as `wireguard-go` writes it: `wg` makes its message of `-errno`. */
function errnoLine(errno: number): string {
  return `errno=${errno === 0 ? 0 : -errno}\n\n`;
}

/**
 * Piece by piece, each made when the one before has been taken; other work gets its turn in between.
 *
 * @param limitMs For a piece.
 */
async function writeAll(
  conn: Pick<Deno.Conn, "write" | "close">,
  pieces: Iterable<string>,
  limitMs: number,
): Promise<void> {
  let pending = "";
  for (const piece of pieces) {
    pending += piece;
    if (piece !== "" && pending.length < PIECE_LENGTH) continue;
    if (pending !== "") await write(conn, pending, limitMs);
    pending = "";
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  await write(conn, pending, limitMs);
}

async function write(
  conn: Pick<Deno.Conn, "write" | "close">,
  text: string,
  limitMs: number,
): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  const timer = setTimeout(() => conn.close(), limitMs);
  try {
    for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
  } catch (error) {
    throw new ReadFailure(error instanceof Error ? error.message : String(error));
  } finally {
    clearTimeout(timer);
    bytes.fill(0);
  }
}
