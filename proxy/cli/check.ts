/**
 * `check`: whether a gateway could run with a configuration, and what it amounts to.
 *
 * @module
 */

import { encodeKey } from "../base64.ts";
import { type LoadedConfig, SettingError } from "../config/config.ts";
import { ConfigError } from "../config/error.ts";
import { summarize } from "../config/summary.ts";
import { checkReserved, interfaceNameOf, isInterfaceName } from "../control/socket_path.ts";
import { DEFAULT_NAME } from "./commands/system_setup.ts";
import { isDescriptor } from "./read.ts";
import type { Terminal } from "./terminal.ts";

export interface CheckOptions {
  readonly file?: string;
  /** A valid one. */
  readonly name?: string;
  /** Whether to print every value with the place it comes from. */
  readonly showOrigin?: boolean;
  /** As for `up`. */
  readonly ffi?: boolean;
  /** By --tun: the name of a device, empty for the gateway's own. */
  readonly tun?: string;
}

/** Below it a port may be root's alone. */
const FIRST_FREE_PORT = 1024;

/** @throws {ConfigError} for what `up` would be refused. */
export async function check(
  loaded: LoadedConfig,
  options: CheckOptions,
  terminal: Terminal,
): Promise<void> {
  const { file, name, showOrigin, ffi, tun } = options;
  await tryListening(loaded, ffi, terminal);
  await tryToken(loaded);
  await tryPoints(loaded, tun === undefined ? [] : [deviceName(options)]);
  await tryFilter(loaded);
  const warnings = [...loaded.warnings, ...await tryCertificates(loaded)];
  const isFile = file !== undefined && !isDescriptor(file);
  if (name === undefined && isFile) checkReserved(interfaceNameOf(file), file);
  if (name === undefined && isFile && !isInterfaceName(interfaceNameOf(file))) {
    warnings.push(`${file}: its name is no interface's: no control socket without --name`);
  }
  for (const warning of warnings) terminal.error(`warning: ${warning}\n`);
  if (showOrigin) {
    const { formatOrigins } = await import("./origins.ts");
    terminal.out(formatOrigins(loaded.source));
  }
  terminal.out(`${file ?? loaded.source.place([])}: ok\n${summarize(loaded.config)}\n`);
}

/** Reads the token that the status listener would ask for. */
async function tryToken({ config, source }: LoadedConfig): Promise<void> {
  const file = config.status?.tokenFile;
  if (file === undefined) return;
  const { readToken } = await import("../watch/token_file.ts");
  try {
    readToken(file);
  } catch (error) {
    throw new ConfigError([
      `${source.label(["status", "tokenFile"])}: ${(error as Error).message}`,
    ]);
  }
}

/** Reads the files of certificates as the gateway would. @returns warnings. */
async function tryCertificates({ config, source }: LoadedConfig): Promise<string[]> {
  const isNeeded = config.relay !== undefined || config.peers.some(({ fallbacks }) => fallbacks);
  if (!isNeeded) return [];
  const { checkCertificateFiles } = await import("../gateway/certificate_files.ts");
  const { problems, warnings } = checkCertificateFiles(config);
  const [wrong, doubtful] = [problems, warnings].map((findings) =>
    findings.map(({ path, message }) => `${source.label(path)}: ${message}`)
  );
  if (wrong!.length > 0) throw new ConfigError(wrong!);
  return doubtful!;
}

/** The device that `up --tun` would make. */
function deviceName({ tun, name, file }: CheckOptions): string {
  return tun || name || (file && interfaceNameOf(file)) || DEFAULT_NAME;
}

/** Looks for the places of [Capture] as the gateway would. @param devices Links that are in no file. */
async function tryPoints(
  { config, source }: LoadedConfig,
  devices: readonly string[],
): Promise<void> {
  const { capture, privateKey, proxy, links } = config;
  if (capture === undefined) return;
  const { checkPoint } = await import("../capture/points.ts");
  const { CaptureError } = await import("../capture/error.ts");
  const there = {
    hasWireguard: privateKey !== undefined,
    hasNic2: proxy?.interface === "nic2" && proxy.subnets.length > 0,
    links: [...links.map(({ name }) => name), ...devices],
  };
  try {
    for (const name of capture.at) checkPoint(name, there);
  } catch (error) {
    if (!(error instanceof CaptureError)) throw error;
    throw new ConfigError([`${source.label(["capture", "at"])}: ${error.message}`]);
  }
}

/** Reads the filter of [Capture] as the gateway would. */
async function tryFilter({ config, source }: LoadedConfig): Promise<void> {
  const { filter } = config.capture ?? {};
  if (filter === undefined) return;
  const { parseFilter } = await import("../capture/filter.ts");
  const { FilterError } = await import("../capture/filter_error.ts");
  const isPeer = (name: string) =>
    config.peers.some((peer) =>
      peer.name?.toLowerCase() === name.toLowerCase() || encodeKey(peer.publicKey) === name
    );
  try {
    parseFilter(filter, {
      peer(name) {
        if (!isPeer(name)) throw new Error("unknown, expected a peer's name or public key");
      },
      flow() {
        throw new Error("there is none when a gateway starts");
      },
    });
  } catch (error) {
    if (!(error instanceof FilterError)) throw error;
    throw new ConfigError([`${source.label(["capture", "filter"])}: ${error.message}`]);
  }
}

/**
 * Opens the socket that the gateway would have, where the system may refuse it: its address, its
 * mark, a low port. Whether another port is free is not checked: the gateway itself may be running.
 */
async function tryListening(
  { config, source }: LoadedConfig,
  ffi: boolean | undefined,
  terminal: Terminal,
): Promise<void> {
  const { listenAddress, listenPort = 0, fwMark } = config;
  const isLow = listenPort > 0 && listenPort < FIRST_FREE_PORT;
  const isAsked = ffi === true || fwMark !== undefined || listenAddress !== undefined || isLow;
  if (!isAsked || Deno.permissions.querySync({ name: "net" }).state !== "granted") {
    terminal.giveUpFfi();
    return;
  }
  if (ffi === false) terminal.giveUpFfi();
  const { Gateway } = await import("../gateway/gateway.ts");
  try {
    Gateway.tryListening({ ...config, listenPort: isLow ? listenPort : 0 }, {
      ...(ffi !== undefined && { ffi }),
    });
  } catch (error) {
    if (!(error instanceof SettingError)) {
      throw new ConfigError([`--ffi: ${error instanceof Error ? error.message : error}`]);
    }
    const isOfThePort = error.path[1] === "listenPort";
    if (isOfThePort && !(error.cause instanceof Deno.errors.PermissionDenied)) return;
    throw new ConfigError([`${source.label(error.path)}: ${error.message}`]);
  }
}
