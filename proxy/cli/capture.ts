/**
 * `capture`: packets of a running gateway into a file, to standard output, or for Wireshark. The file is
 * written here: the gateway, which may be confined, writes none.
 *
 * @module
 */

import { BlockSplitter } from "../capture/blocks.ts";
import { CaptureError } from "../capture/error.ts";
import { CaptureFile } from "../capture/file.ts";
import { MAX_LENGTH } from "../capture/filter_tokens.ts";
import { Tally } from "../capture/tally.ts";
import { parseRotation } from "../config/capture_values.ts";
import type { CaptureRotation } from "../config/checked.ts";
import { ConfigError } from "../config/error.ts";
import { ParseFailure, parseFile, seconds } from "../config/values.ts";
import { type ControlClient, ControlError, type ControlStream } from "../control/client.ts";
import { gatewayOf } from "./gateways.ts";
import type { Terminal } from "./terminal.ts";

/** The flags. */
export interface CaptureOptions {
  readonly name?: string;
  readonly at?: readonly string[];
  readonly filter?: string;
  readonly snap?: string;
  readonly write?: string;
  readonly listen?: string;
  readonly rotate?: string;
  readonly duration?: string;
  readonly keys?: boolean;
  readonly controlDir?: string;
}

/** How long the rest may take to come, ms. */
const REST_MS = 5_000;
/** Characters of what a gateway says at the end of a capture that others read. */
const MAX_COUNTS = 256;
const MAX_DURATION = 31_536_000;
const KEYS_WARNING =
  "warning: --keys writes the gateway's private key and those of its sessions: " +
  "whoever has the file can read them, and be the gateway\n";

/**
 * @returns the exit status.
 * @throws {ConfigError} for wrong flags.
 * @throws {ControlError} if there is no such gateway.
 */
export async function capture(options: CaptureOptions, terminal: Terminal): Promise<number> {
  const { write, listen, name, controlDir, keys } = options;
  const { rotation, durationMs } = checkFlags(options, terminal);
  const gateway = await gatewayOf(name, "--name", controlDir);
  const stream = await open(gateway, options);
  let sink: Sink;
  try {
    sink = listen !== undefined
      ? toCounts()
      : write === undefined || write === "-"
      ? toOutput(terminal)
      : toFile(new CaptureFile(write, rotation));
  } catch (error) {
    stream.conn.close();
    if (!(error instanceof CaptureError)) throw error;
    terminal.error(`wirestack: --write: ${error.message}\n`);
    return 1;
  }
  if (keys) terminal.error(KEYS_WARNING);
  const said = (wanted: string) =>
    stream.pairs.flatMap(([key, value]) => key === wanted ? [decodeURIComponent(value)] : []);
  const [listening] = said("listening");
  terminal.error(
    listening === undefined
      ? `capturing at ${said("at").join(", ")} of ${gateway.name}, Ctrl-C ends it\n`
      : `wireshark -k -i TCP@${listening}\n`,
  );
  const status = await receive(stream, sink, durationMs, terminal);
  const counts = sink.counts();
  if (counts !== undefined) {
    terminal.error(`${counts.packets} packets, ${counts.lost} were lost\n`);
  }
  return status;
}

function checkFlags(
  { write, listen, rotate, duration, keys, filter = "" }: CaptureOptions,
  terminal: Terminal,
): { readonly rotation: CaptureRotation | undefined; readonly durationMs: number | undefined } {
  const problems: string[] = [];
  const parsed = <T>(flag: string, value: T | ParseFailure | undefined): T | undefined => {
    if (!(value instanceof ParseFailure)) return value;
    problems.push(`${flag}: ${value.message}`);
    return undefined;
  };
  if ((write === undefined) === (listen === undefined)) {
    problems.push(
      "--write: expected --write FILE, --write - or --listen tcp:ADDRESS:PORT, one of them",
    );
  }
  if (write === "-" && terminal.columns() !== undefined) {
    problems.push("--write: standard output is a terminal, expected | tshark -r - behind it");
  }
  // The gateway would not take the line that has it.
  if (filter.length > MAX_LENGTH) {
    problems.push(
      `--filter: is ${filter.length} characters long, expected at most ${MAX_LENGTH}`,
    );
  }
  if (write !== undefined && write !== "-") parsed("--write", parseFile(write));
  const rotation = rotate === undefined ? undefined : parsed("--rotate", parseRotation(rotate));
  if (rotate !== undefined && (write === undefined || write === "-")) {
    problems.push("--rotate: has no use without a file, expected --write FILE");
  }
  const durationMs = duration === undefined
    ? undefined
    : parsed("--duration", seconds(0.1, MAX_DURATION)(duration));
  if (keys && listen !== undefined) {
    problems.push("--keys: whoever connects would get them, expected --write FILE");
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return { rotation, durationMs };
}

async function open(
  gateway: ControlClient,
  { at = [], filter, snap, keys, listen }: CaptureOptions,
): Promise<ControlStream> {
  const lines = [
    ...at.map((name) => `at=${encodeURIComponent(name)}`),
    ...Object.entries({ filter, snap, listen }).flatMap(([key, value]) =>
      value === undefined ? [] : [`${key}=${encodeURIComponent(value)}`]
    ),
    ...keys ? ["keys=1"] : [],
  ];
  const stream = await gateway.stream("wirestack_capture=1", lines);
  const [, problem] = stream?.pairs.find(([key]) => key === "problem") ?? [];
  if (problem !== undefined) throw new ConfigError([decodeURIComponent(problem)]);
  if (stream !== undefined && stream.errno === 0) return stream;
  throw new ControlError(`${gateway.name}: cannot capture, it is another program's or too old`);
}

/** Where the bytes go. */
interface Sink {
  /** Of packets, so far; undefined where nobody tells. */
  counts(): { readonly packets: number; readonly lost: number } | undefined;
  /** @returns whether more is wanted. */
  write(bytes: Uint8Array): Promise<boolean>;
  close(): void;
}

function toOutput(terminal: Terminal): Sink {
  const tally = new Tally();
  const splitter = new BlockSplitter();
  return {
    counts: () => tally,
    write(bytes) {
      splitter.push(bytes, (piece, blocks) => tally.note(piece, blocks));
      return terminal.write(bytes);
    },
    close() {},
  };
}

/** Others get the packets; the gateway says how many, at the end. */
function toCounts(): Sink {
  let text = "";
  return {
    counts() {
      const [, packets, lost] = /^packets=(\d+)\nlost=(\d+)\n/.exec(text) ?? [];
      return packets === undefined ? undefined : { packets: Number(packets), lost: Number(lost) };
    },
    write(bytes) {
      if (text.length < MAX_COUNTS) text += new TextDecoder().decode(bytes);
      return Promise.resolve(true);
    },
    close() {},
  };
}

function toFile(file: CaptureFile): Sink {
  return {
    counts: () => file.tally,
    async write(bytes) {
      await file.write(bytes);
      return true;
    },
    close: () => file.close(),
  };
}

/** Until Ctrl-C, the time is over, the gateway ends, or nobody takes what comes. */
async function receive(
  { conn, rest }: ControlStream,
  sink: Sink,
  durationMs: number | undefined,
  terminal: Terminal,
): Promise<number> {
  let restTimer: ReturnType<typeof setTimeout> | undefined;
  const end = () => {
    conn.closeWrite().catch(() => {}); // the gateway then sends what is left
    restTimer ??= setTimeout(() => conn.close(), REST_MS);
  };
  const signals: readonly Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT"]
    : ["SIGINT", "SIGTERM"];
  for (const signal of signals) Deno.addSignalListener(signal, end);
  const timer = durationMs === undefined ? undefined : setTimeout(end, durationMs);
  const buffer = new Uint8Array(256 << 10);
  try {
    let isWanted = rest.length === 0 || await sink.write(rest);
    while (isWanted) {
      const length = await readSome(conn, buffer);
      if (length === null) break;
      isWanted = await sink.write(buffer.subarray(0, length));
    }
    sink.close();
    return 0;
  } catch (error) {
    terminal.error(`wirestack: the capture has ended: ${(error as Error).message}\n`);
    return 1;
  } finally {
    clearTimeout(timer);
    clearTimeout(restTimer);
    for (const signal of signals) Deno.removeSignalListener(signal, end);
    try {
      conn.close();
    } catch { /* it is closed */ }
  }
}

/** @returns null when nothing more comes, whatever has ended it. */
async function readSome(conn: Deno.Conn, buffer: Uint8Array): Promise<number | null> {
  try {
    return await conn.read(buffer);
  } catch {
    return null;
  }
}
