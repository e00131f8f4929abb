/**
 * The log of a gateway that runs from the command line: on standard error, or in a file.
 *
 * @module
 */

import type { LogConfig } from "../config/checked.ts";
import { SettingError } from "../config/error.ts";
import type { LineFile, LineTrouble } from "../log/line_file.ts";
import { configureLog } from "../log/log.ts";
import { openLineFile, OutputError } from "../log/outputs.ts";

export class CommandLog {
  readonly #writeError: (line: string) => void;
  readonly #output: string;
  /** Missing: standard error, which is written to at once. Its last words must be out at an exit. */
  readonly #file: LineFile | undefined;

  /**
   * Replaces any earlier configuration of LogTape.
   *
   * @param writeError Takes a line for standard error.
   * @throws {SettingError} if the file cannot be opened.
   */
  constructor(config: LogConfig, writeError: (line: string) => void) {
    this.#writeError = writeError;
    this.#output = config.output;
    this.#file = config.output === "stderr" ? undefined : this.#open();
    this.apply(config);
  }

  /** Level and form; where it goes stays as it was. */
  apply({ level, format }: LogConfig): void {
    const file = this.#file;
    configureLog({
      level,
      format,
      write: file === undefined ? this.#writeError : (line) => file.write(line),
    });
  }

  /** The file has another name now, and one of its name is to be made. */
  reopen(): void {
    this.#file?.reopen();
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }

  #open(): LineFile {
    try {
      return openLineFile(this.#output, (trouble) => this.#tell(trouble));
    } catch (error) {
      if (!(error instanceof OutputError)) throw error;
      throw new SettingError(["log", "output"], error.message, { cause: error });
    }
  }

  /** On standard error: the log itself is what is in trouble. */
  #tell({ error, lost }: LineTrouble): void {
    const what = error === undefined
      ? `is written again, ${lost === 0 ? "no line was lost" : `lines were lost: ${lost}`}`
      : `cannot be written: ${error.message}`;
    this.#writeError(`${new Date().toISOString()} warning log: ${this.#output} ${what}\n`);
  }
}
