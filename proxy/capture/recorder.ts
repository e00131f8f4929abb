/**
 * The capture that a configuration asks for, from the start of its gateway to its end: into a file, to
 * standard output, or for whoever connects.
 *
 * @module
 */

import type { CaptureConfig } from "../config/checked.ts";
import { SettingError } from "../config/error.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { getLogger } from "../log/logger.ts";
import type { Capture } from "./capture.ts";
import { type CaptureOptions, Captures } from "./captures.ts";
import { CaptureError } from "./error.ts";
import { CaptureFile, checkPlace, type FileOwner } from "./file.ts";
import { CaptureListener } from "./listener.ts";
import { type CaptureSink, pump, wholly } from "./pump.ts";

const log = getLogger(["wirestack", "capture"]);

export class Recorder {
  readonly #config: CaptureConfig | undefined;
  readonly #user: FileOwner | undefined;
  #file: CaptureFile | undefined;
  #listener: CaptureListener | undefined;
  #captures: Captures | undefined;
  #pumping: Promise<void> | undefined;

  /**
   * Tries the file, opens the port: what the system refuses is known before the gateway runs. A file
   * that is there stays until {@link begin}.
   *
   * @param user Whom this process becomes once the gateway runs. Missing: nobody else.
   * @throws {SettingError}
   */
  constructor(config: CaptureConfig | undefined, user?: FileOwner) {
    this.#config = config;
    this.#user = user;
    if (config === undefined) return;
    const { write, rotate } = config;
    inSettings(() => {
      if (write.to === "file") checkPlace(write.path, rotate, user);
      if (write.to === "tcp") this.#listener = new CaptureListener(write);
    });
  }

  /** The gateway runs. @throws {SettingError} for a filter or point that it does not have. */
  begin(gateway: Gateway): void {
    const captures = Captures.of(gateway);
    this.#captures = captures;
    const config = this.#config;
    if (config === undefined) return;
    const { at, filter, snapLength } = config;
    const options: CaptureOptions = { at, snapLength, ...(filter !== undefined && { filter }) };
    inSettings(() => {
      captures.check(options);
      if (this.#listener !== undefined) {
        this.#listener.serve(captures, options, gateway.proxy.listeners);
      } else {
        const sink = this.#open(config);
        this.#pumping = this.#pump(captures.open(options), sink);
      }
    });
  }

  /** Ends every capture of the gateway, whoever has begun it; what is under way is still written. */
  async close(): Promise<void> {
    this.#listener?.close();
    await this.#captures?.close();
    await this.#pumping;
    this.#file?.close();
  }

  #open({ write, rotate }: CaptureConfig): CaptureSink {
    if (write.to !== "file") return wholly(Deno.stdout);
    return this.#file = new CaptureFile(write.path, rotate, rotate && this.#user);
  }

  async #pump(capture: Capture, sink: CaptureSink): Promise<void> {
    log.info("capturing at {at}", { at: capture.settings.at.join(", ") });
    try {
      await pump(capture, sink);
    } catch (error) {
      log.error("the capture has ended: {error}", { error });
    }
    const { accepted, dropped } = capture.counts;
    log.info("captured {packets} packets, {lost} were lost", {
      packets: accepted - dropped,
      lost: dropped,
    });
  }
}

/** By the keys of [Capture]. */
const FIELDS = {
  at: "at",
  filter: "filter",
  snap: "snapLength",
  keys: "at",
  listen: "write",
  rotate: "rotate",
  write: "write",
} as const;

function inSettings(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof CaptureError)) throw error;
    throw new SettingError(["capture", FIELDS[error.option ?? "write"]], error.message, {
      cause: error,
    });
  }
}
