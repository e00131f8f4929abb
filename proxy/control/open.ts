/**
 * Opens the control socket of a gateway that runs from the command line. Where that is not possible
 * the gateway runs without one.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import { ControlServer, NameInUseError } from "./server.ts";
import {
  checkReserved,
  controlDirectory,
  interfaceNameOf,
  isInterfaceName,
} from "./socket_path.ts";

const log = getLogger(["wirestack", "control"]);

export interface ControlOptions {
  /** Default: the user's own, for root where `wg` looks. `off`: no socket. */
  readonly directory?: string;
  /** A valid one. */
  readonly name?: string;
  /** The configuration file, if there is one. */
  readonly file?: string;
}

/** Numbered names tried for a gateway without a name. */
const NUMBERED = 100;

/**
 * Takes the name; requests are not answered yet.
 *
 * @returns undefined after one warning, if there can be no socket.
 * @throws {NameInUseError} if another process has that name.
 * @throws {ConfigError} if no gateway can have it.
 */
export async function openControl(
  options: ControlOptions,
): Promise<ControlServer | undefined> {
  const { directory = controlDirectory(), file } = options;
  if (directory === "off") return undefined;
  const name = options.name ?? (file && interfaceNameOf(file));
  checkReserved(name, file);
  if (name !== undefined && !isInterfaceName(name)) {
    log.warn(
      "no control socket: the file's name is no interface name (1 to 15 of a-z A-Z 0-9 _ = + . -), " +
        "give one with --name",
    );
    return undefined;
  }
  try {
    return name === undefined
      ? await openNumbered(directory)
      : await ControlServer.open(directory, name);
  } catch (error) {
    if (error instanceof NameInUseError) throw error;
    log.warn("no control socket in {directory}: {reason}", {
      directory,
      reason: (error as Error).message,
    });
    return undefined;
  }
}

async function openNumbered(directory: string): Promise<ControlServer> {
  for (let i = 0;; i++) {
    try {
      return await ControlServer.open(directory, `wirestack${i}`);
    } catch (error) {
      if (!(error instanceof NameInUseError) || i === NUMBERED - 1) throw error;
    }
  }
}
