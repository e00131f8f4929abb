/**
 * Where lines can go: standard error, standard output, a file that is opened again when it was
 * rotated.
 *
 * @module
 */

import { LineFile, type LineSink, type LineTrouble } from "./line_file.ts";

/** What a configuration calls the streams of this process; anything else is a path. */
export function isStream(output: string): output is "stderr" | "stdout" {
  return output === "stderr" || output === "stdout";
}

/**
 * Opens a file, made if it is missing with mode 640, or a stream.
 *
 * @param onTrouble As in {@link LineFile}.
 * @throws {OutputError} if there can be no such file.
 */
export function openLineFile(output: string, onTrouble: (trouble: LineTrouble) => void): LineFile {
  try {
    return new LineFile({ open: () => openSink(output), onTrouble });
  } catch (error) {
    throw new OutputError(`${output}: ${whyNot(error as Error)}`, { cause: error });
  }
}

/** A file cannot be written to. */
export class OutputError extends Error {
  override readonly name = "OutputError";
}

function openSink(output: string): LineSink {
  if (output === "stderr") return streamOf(Deno.stderr);
  if (output === "stdout") return streamOf(Deno.stdout);
  const kind = kindOf(output);
  // Opening a pipe would wait for its reader.
  if (kind !== undefined) throw new Error(`is ${kind}, expected the path of a file`);
  return Deno.openSync(output, { append: true, create: true, mode: 0o640 });
}

/** The system's own text says the name once more, and not what would do. */
function whyNot(error: Error): string {
  if (error instanceof Deno.errors.NotFound) {
    return "its folder is not there, expected a file in one that is";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "permission denied, expected a file that this user may write to";
  }
  if (error instanceof Deno.errors.NotCapable) {
    return "not covered by --allow-write, expected a plain file";
  }
  return error.message;
}

/** Without `close`: it is the process's. */
function streamOf(stream: LineSink): LineSink {
  return {
    write: (bytes) => stream.write(bytes),
    writeSync: (bytes) => stream.writeSync(bytes),
  };
}

/** What a path is that cannot be a log; undefined if it can be, or is missing. */
function kindOf(path: string): string | undefined {
  try {
    const status = Deno.statSync(path);
    if (status.isDirectory) return "a folder";
    if (status.isFifo) return "a pipe";
    if (status.isSocket) return "a socket";
  } catch {
    // Opening it says why.
  }
  return undefined;
}
