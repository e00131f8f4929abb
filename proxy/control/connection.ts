/**
 * One connection to the control socket: requests one after the other, each answered by lines and an
 * `errno`.
 *
 * `get=1` and `set=1` are WireGuard's. Ours, in the same form: `wirestack_stats=1` is answered by
 * `stats=` and JSON; `wirestack_reload=1` by `warning=`, `change=` and `problem=` lines.
 *
 * @module
 */

import { ConfigError } from "../config/error.ts";
import { getLogger } from "../log/logger.ts";
import { Errno, Refusal } from "./errno.ts";
import { LineReader, ReadFailure } from "./line_reader.ts";
import { SetParser, type SetRequest } from "./uapi_request.ts";

const log = getLogger(["wirestack", "control"]);

/** What requests do. */
export interface ControlHandlers {
  /** The lines of an answer to `get=1`. */
  get(): string;
  /** @returns why nothing was changed, if so. */
  set(request: SetRequest): Refusal | undefined;
  /** Plain values, without a secret. */
  stats(): unknown;
  /** Reads the configuration again. @throws {ConfigError} if nothing was changed. */
  reload(): Promise<ReloadLines>;
}

/** What a reload has to say, a line each. */
export interface ReloadLines {
  readonly warnings: readonly string[];
  readonly changes: readonly string[];
}

/** 16 MiB hold the configuration of some 50,000 peers. */
const LIMITS = { lineBytes: 4096, totalBytes: 16 << 20 };

/** How long a client may take: it has a file descriptor of ours. */
export interface ControlTimeouts {
  /** Between two requests. */
  readonly idleMs: number;
  /** For a request to be complete. */
  readonly requestMs: number;
  /** For an answer to be taken. */
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
      await write(conn, answer ?? `errno=${Errno.EINVAL}\n\n`, answerMs);
      if (answer === undefined) {
        log.warn("a request has an unknown operation, closing its connection");
        break;
      }
    }
  } catch (error) {
    if (error instanceof ReadFailure) {
      log.debug("connection closed: {reason}", { reason: error.message });
      // As wireguard-go does; a client that was too slow does not get it.
      await write(conn, `errno=${Errno.EIO}\n\n`, answerMs).catch(() => {});
    } else log.error("a defect: {error}", { error });
  } finally {
    try {
      conn.close();
    } catch { /* it was, for being late */ }
  }
}

type Answer = { readonly lines: string; readonly refusal?: Refusal };

/** A Map: an object would have `toString` for one. */
const OPERATIONS = new Map<string, (handlers: ControlHandlers) => Answer | Promise<Answer>>([
  ["get=1", (handlers) => ({ lines: handlers.get() })],
  ["wirestack_stats=1", (handlers) => ({ lines: `stats=${JSON.stringify(handlers.stats())}\n` })],
  ["wirestack_reload=1", reload],
]);

/** @returns undefined for an unknown operation. */
async function answerOf(
  operation: string,
  reader: LineReader,
  handlers: ControlHandlers,
): Promise<string | undefined> {
  if (operation === "set=1") return ended("", await readSet(reader, handlers));
  const answer = OPERATIONS.get(operation);
  if (answer === undefined) return undefined;
  const last = await reader.line();
  if (last !== "") {
    return ended("", new Refusal(Errno.EINVAL, `${operation}: expected an empty line behind it`));
  }
  const { lines, refusal } = await answer(handlers);
  return ended(lines, refusal);
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

async function reload(handlers: ControlHandlers): Promise<Answer> {
  try {
    const { warnings, changes } = await handlers.reload();
    return { lines: texts("warning", warnings) + texts("change", changes) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const refusal = new Refusal(Errno.EINVAL, "reload: the configuration stays as it is");
    return { lines: texts("problem", error.problems), refusal };
  }
}

function texts(key: string, values: readonly string[]): string {
  return values.map((value) => `${key}=${encodeURIComponent(value)}\n`).join("");
}

function ended(lines: string, refusal: Refusal | undefined): string {
  if (refusal === undefined) return `${lines}errno=0\n\n`;
  log.warn("{reason}", { reason: refusal.reason });
  return `${lines}errno=${refusal.errno}\n\n`;
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
