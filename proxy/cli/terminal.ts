/**
 * What a command uses of its process, in one place so that tests can stand in for it.
 *
 * @module
 */

import { fstatSync } from "node:fs";
import { readAtMost } from "../config/read_file.ts";

export interface Terminal {
  out(text: string): void;
  error(text: string): void;
  /**
   * Bytes for standard output, all of them.
   *
   * @returns false if nobody takes them any more.
   */
  write(bytes: Uint8Array): Promise<boolean>;
  /** Standard input to its end, or so many bytes of it. */
  readInput(limit: number): Promise<Uint8Array>;
  /** Whether standard output is a file that every user may read or write. */
  outputIsWorldAccessible(): boolean;
  /** Columns of standard output, if it is a terminal. */
  columns(): number | undefined;
  /** @returns a function that tells whether this process has lost its terminal since. */
  watchHangUp(): () => boolean;
  /** Gives up the permission to call foreign code, for good: the program has it and does not use it. */
  giveUpFfi(): void;
}

/** Before a secret goes to standard output: says, as `wg` does, if others could read it there. */
export function warnOfReaders(terminal: Terminal): void {
  if (terminal.outputIsWorldAccessible()) {
    terminal.error("Warning: writing to world accessible file.\n");
  }
}

export const processTerminal: Terminal = {
  out: (text) => writeAll(Deno.stdout, text),
  error: (text) => writeAll(Deno.stderr, text),
  async write(bytes) {
    try {
      for (let sent = 0; sent < bytes.length;) {
        sent += await Deno.stdout.write(bytes.subarray(sent));
      }
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.BrokenPipe) return false;
      throw error;
    }
  },
  readInput: (limit) => readAtMost(Deno.stdin.readable, limit),
  outputIsWorldAccessible() {
    try {
      const status = fstatSync(1);
      return status.isFile() && (status.mode & 0o007) !== 0;
    } catch {
      return false;
    }
  },
  columns: () => Deno.stdout.isTerminal() ? Deno.consoleSize().columns : undefined,
  watchHangUp() {
    const streams = [Deno.stdin, Deno.stdout, Deno.stderr].filter((stream) => stream.isTerminal());
    return () => streams.length > 0 && streams.every((stream) => !stream.isTerminal());
  },
  giveUpFfi: () => void Deno.permissions.revokeSync({ name: "ffi" }),
};

const encoder = new TextEncoder();

function writeAll(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = encoder.encode(text);
  try {
    for (let sent = 0; sent < bytes.length;) sent += stream.writeSync(bytes.subarray(sent));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error; // `| head`
  }
}
