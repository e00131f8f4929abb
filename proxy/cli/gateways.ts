/**
 * Which running gateways a command line means.
 *
 * @module
 */

import { parseConfigFile } from "../config/file.ts";
import type { RawSection } from "../config/source.ts";
import { ControlClient, ControlError } from "../control/client.ts";
import type { ControlledStats } from "../control/handlers.ts";
import { isAlive } from "../control/server.ts";
import {
  DEFAULT_DIRECTORY,
  interfaceNameOf,
  isInterfaceName,
  socketNames,
} from "../control/socket_path.ts";

/** @param target The name of a gateway, or its configuration file. */
export async function findGateway(
  target: string,
  directory: string | undefined,
): Promise<ControlClient> {
  const isFile = target.includes("/") || target.endsWith(".conf");
  const name = isFile ? interfaceNameOf(target) : target;
  if (!isInterfaceName(name)) {
    throw new ControlError(
      `${isFile ? "the file's name" : "NAME"}: is no interface's, expected 1 to 15 of ` +
        "a-z A-Z 0-9 _ = + . -",
    );
  }
  return new ControlClient(directory ?? await directoryOf(isFile ? target : undefined), name);
}

/** Every gateway that runs, by name. */
export async function runningGateways(directory = DEFAULT_DIRECTORY): Promise<ControlClient[]> {
  const names = socketNames(directory);
  const alive = await Promise.all(names.map((name) => isAlive(`${directory}/${name}.sock`)));
  return names.filter((_, i) => alive[i]).map((name) => new ControlClient(directory, name));
}

/**
 * The only Wirestack gateway that runs; other programs' interfaces do not count.
 *
 * @param missing What the command line should have said, for the message.
 * @throws {ControlError} unless exactly one runs.
 */
export async function onlyGateway(
  missing: string,
  directory: string | undefined,
): Promise<ControlClient> {
  const all: ControlClient[] = [];
  for (const client of await runningGateways(directory)) {
    if (await statsOf(client).catch(() => undefined) !== undefined) all.push(client);
  }
  if (all.length === 1) return all[0]!;
  throw new ControlError(
    all.length === 0
      ? `${missing}: missing, and no gateway runs in ${directory ?? DEFAULT_DIRECTORY}`
      : `${missing}: missing, and several run: ${all.map(({ name }) => name).join(", ")}`,
  );
}

/** What a gateway says about itself. @returns undefined from another program. */
export async function statsOf(client: ControlClient): Promise<ControlledStats | undefined> {
  const answer = await client.ask("wirestack_stats=1");
  const text = answer?.pairs.find(([key]) => key === "stats")?.[1];
  return text === undefined ? undefined : JSON.parse(text);
}

/** Where the file says. A file that cannot be read says nothing. */
async function directoryOf(file: string | undefined): Promise<string> {
  if (file === undefined) return DEFAULT_DIRECTORY;
  try {
    const source = parseConfigFile(await Deno.readTextFile(file), file);
    const { controlDir } = source.interface as RawSection;
    return typeof controlDir === "string" && controlDir !== "off" ? controlDir : DEFAULT_DIRECTORY;
  } catch {
    return DEFAULT_DIRECTORY;
  }
}
