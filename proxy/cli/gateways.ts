/**
 * Which running gateways a command line means.
 *
 * @module
 */

import { Prefix } from "../../netstack/mod.ts";
import { formOf, parseForm } from "../config/form.ts";
import { ConfigSource, type RawSection } from "../config/source.ts";
import { parsePrefixValue } from "../config/values.ts";
import { ControlClient, ControlError } from "../control/client.ts";
import type { ControlledStats } from "../control/handlers.ts";
import { isAlive } from "../control/server.ts";
import {
  checkDirectory,
  controlDirectories,
  interfaceNameOf,
  isInterfaceName,
  socketNames,
  socketPath,
} from "../control/socket_path.ts";

/** Whether what a command line names a gateway by is its configuration file. */
export function isFileName(target: string): boolean {
  return target.includes("/") || /\.(?:conf|ya?ml|json|env)$/i.test(target);
}

/** @param target The name of a gateway, its configuration file, or its device. */
export async function findGateway(
  target: string,
  directory: string | undefined,
): Promise<ControlClient> {
  const isFile = isFileName(target);
  const name = isFile ? interfaceNameOf(target) : target;
  if (!isInterfaceName(name)) {
    throw new ControlError(
      `${isFile ? "the file's name" : "NAME"}: is no interface's, expected 1 to 15 of ` +
        "a-z A-Z 0-9 _ = + . -",
    );
  }
  const given = directory ?? (isFile ? await directoryOf(target) : undefined);
  const candidates = directoriesFor(given);
  const running = async (name: string) => {
    for (const candidate of candidates) {
      checkDirectory(candidate);
      if (await isAlive(socketPath(candidate, name))) return new ControlClient(candidate, name);
    }
    return undefined;
  };
  const named = await running(name);
  if (named !== undefined) return named;
  const { gatewayOn } = await import("./on_device.ts");
  const other = isFile ? undefined : gatewayOn(name);
  return other !== undefined && await running(other) || new ControlClient(candidates[0]!, name);
}

/**
 * Every running gateway, by name, including those whose control socket this user may not use: the
 * user's own, or, if there is none, root's.
 *
 * @throws {ControlError} if there is none, and some folder may not be looked into.
 */
export async function runningGateways(directory?: string): Promise<ControlClient[]> {
  for (const candidate of directoriesFor(directory)) {
    const names = socketNames(candidate);
    const alive = await Promise.all(names.map((name) => isAlive(socketPath(candidate, name))));
    const running = names.filter((_, i) => alive[i]);
    if (running.length > 0) return running.map((name) => new ControlClient(candidate, name));
  }
  return [];
}

/** The folders in which no gateway was found, for a message. */
export function placesOf(directory: string | undefined): string {
  return directoriesFor(directory).join(" and ");
}

/**
 * The only Wirestack gateway that runs; other programs' interfaces do not count.
 *
 * @param missing What the command line should have said, for the message.
 * @throws {ControlError} unless exactly one runs, and this user may use its control socket.
 */
export async function onlyGateway(
  missing: string,
  directory: string | undefined,
): Promise<ControlClient> {
  const all: ControlClient[] = [];
  let refused: ControlError | undefined;
  for (const client of await runningGateways(directory)) {
    try {
      if (await statsOf(client) !== undefined) all.push(client);
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      refused ??= error;
    }
  }
  if (all.length === 1) return all[0]!;
  if (all.length === 0 && refused !== undefined) throw refused;
  throw new ControlError(
    all.length === 0
      ? `${missing}: missing, and no gateway runs in ${placesOf(directory)}`
      : `${missing}: missing, and several run: ${all.map(({ name }) => name).join(", ")}`,
  );
}

/**
 * The gateway that a command line names, or the only one that runs.
 *
 * @param target As for {@link findGateway}; undefined when the command line names none.
 * @param missing As for {@link onlyGateway}.
 * @throws {ControlError} if there is no such gateway.
 */
export async function gatewayOf(
  target: string | undefined,
  missing: string,
  directory: string | undefined,
): Promise<ControlClient> {
  return target === undefined
    ? await onlyGateway(missing, directory)
    : await findGateway(target, directory);
}

/** What a gateway says about itself. @returns undefined from another program. */
export async function statsOf(client: ControlClient): Promise<ControlledStats | undefined> {
  const answer = await client.ask("wirestack_stats=1");
  const text = answer?.pairs.find(([key]) => key === "stats")?.[1];
  return text === undefined ? undefined : JSON.parse(text);
}

/**
 * The file of the only gateway that runs.
 *
 * @throws {ControlError} if that is none, or has no file.
 */
export async function fileOfOnly(directory: string | undefined): Promise<string> {
  const gateway = await onlyGateway("--config", directory);
  const { configFile } = await statsOf(gateway) ?? {};
  if (configFile) return configFile;
  throw new ControlError(`--config: missing, and ${gateway.name} runs without a file`);
}

/** A gateway that runs with a file. */
export interface Running {
  readonly client: ControlClient;
  readonly stats: ControlledStats;
  /** Prefixes that its peers have, and addresses that are promised. */
  readonly taken: readonly Prefix[];
}

/**
 * The gateway that runs with a file.
 *
 * @param file Its whole path.
 * @throws {ControlError} if one with the file's name runs whose control socket may not be used: it may
 * be that one.
 */
export async function runningFrom(
  file: string,
  directory: string | undefined,
): Promise<Running | undefined> {
  if (directory === "off") return undefined;
  for (const client of await runningGateways(directory)) {
    try {
      const stats = await statsOf(client);
      if (stats?.configFile !== file) continue;
      const { peers, reserved } = stats;
      const taken = [...peers.flatMap(({ allowedIps }) => allowedIps), ...reserved ?? []]
        .map(parsePrefixValue).filter((prefix) => prefix instanceof Prefix);
      return { client, stats, taken };
    } catch (error) {
      if (!(error instanceof ControlError) || client.name === interfaceNameOf(file)) throw error;
    }
  }
  return undefined;
}

/** Where `up` would have its socket in the same environment, unless the command line says it. */
function directoriesFor(given: string | undefined): readonly string[] {
  const directory = given ?? variable("WIRESTACK_CONTROL_DIR");
  return directory === undefined || directory === "off" ? controlDirectories() : [directory];
}

/** @returns undefined for an empty one, and for one that may not be read. */
function variable(name: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Deno.env.get(name) || undefined : undefined;
}

/** Where the file says. A file that cannot be read says nothing. */
async function directoryOf(file: string): Promise<string | undefined> {
  try {
    const source = new ConfigSource();
    await parseForm(source, await Deno.readTextFile(file), file, formOf(file));
    const { controlDir } = source.interface as RawSection;
    return typeof controlDir === "string" && controlDir !== "off" ? controlDir : undefined;
  } catch {
    return undefined;
  }
}
