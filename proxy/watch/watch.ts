/**
 * What is to be seen of a gateway from outside, as its configuration has it: the status listener and
 * the access log.
 *
 * @module
 */

import type { GatewayConfig, LogConfig, StatusConfig } from "../config/checked.ts";
import { SettingError } from "../config/error.ts";
import type { Gateway } from "../gateway/gateway.ts";
import type { LineFile, LineTrouble } from "../log/line_file.ts";
import { getLogger } from "../log/logger.ts";
import { openLineFile, OutputError } from "../log/outputs.ts";
import { AccessLog } from "./access_log.ts";
import type { StatusServer } from "./status.ts";

const log = getLogger(["wirestack", "status"]);

type Watched = Pick<GatewayConfig, "status" | "log">;

export class Watch {
  readonly #accessFile: LineFile | undefined;
  readonly #status: StatusServer | undefined;
  #protocols: LogConfig["accessProtocols"];
  #accessLog: AccessLog | undefined;
  #unobserve: () => void = () => {};

  /**
   * Opens what there is to open: what the system refuses is known before the gateway runs.
   *
   * @throws {SettingError}
   */
  static async open({ status, log }: Watched): Promise<Watch> {
    const file = log.access === undefined ? undefined : openAccessFile(log.access);
    try {
      return new Watch(log, file, status && await openStatus(status));
    } catch (error) {
      await file?.close();
      throw error;
    }
  }

  private constructor(
    { accessProtocols }: LogConfig,
    accessFile: LineFile | undefined,
    status: StatusServer | undefined,
  ) {
    this.#protocols = accessProtocols;
    this.#accessFile = accessFile;
    this.#status = status;
  }

  /** The port of the status listener; undefined without one on TCP. */
  get port(): number | undefined {
    return this.#status?.port || undefined;
  }

  /** The gateway runs. */
  begin(gateway: Gateway): void {
    const { engine, proxy: { admission: { table } } } = gateway;
    if (this.#accessFile !== undefined) {
      this.#accessLog = new AccessLog({
        file: this.#accessFile,
        now: () => engine.now(),
        wallClock: () => Date.now(),
      }, this.#protocols);
      this.#unobserve = table.observe(this.#accessLog);
    }
    this.#status?.serve(gateway, this.#accessLog);
  }

  /**
   * Takes over what can change: the token, which is read again, names, numbers, protocols.
   *
   * @param isTrial Whether to read the token's file only.
   * @throws {SettingError} if the token's file is wrong; then the old one goes on.
   */
  apply({ status, log }: Watched, isTrial = false): void {
    if (!isTrial) {
      this.#protocols = log.accessProtocols;
      this.#accessLog?.setProtocols(log.accessProtocols);
    }
    if (status !== undefined) this.#status?.apply(status, isTrial);
  }

  /** The access log has another name now. */
  reopen(): void {
    this.#accessFile?.reopen();
  }

  /** Follows the gateway's own end, for the flows that end with it to have their lines. Idempotent. */
  async close(): Promise<void> {
    this.#status?.close();
    this.#unobserve();
    await this.#accessFile?.close();
  }
}

/** Loads the server only where there is to be one: it is not small. */
async function openStatus(config: StatusConfig): Promise<StatusServer> {
  const { StatusServer } = await import("./status.ts");
  return await StatusServer.open(config);
}

function openAccessFile(output: string): LineFile {
  try {
    return openLineFile(output, (trouble) => tellTrouble(output, trouble));
  } catch (error) {
    if (!(error instanceof OutputError)) throw error;
    throw new SettingError(["log", "access"], error.message, { cause: error });
  }
}

/** Says what became of lines on their way to the access log. */
export function tellTrouble(output: string, { error, lost }: LineTrouble): void {
  if (error !== undefined) {
    log.warn("access log {output}: {error}", { output, error: error.message });
  } else if (lost === 0) {
    log.warn("access log {output}: is written again, no line was lost", { output });
  } else log.warn("access log {output}: lines were lost: {lost}", { output, lost });
}
