/**
 * Where a gateway's control socket is, and which gateways have one.
 *
 * @module
 */

import { ConfigError } from "../config/error.ts";
import { permittedEnvironment } from "../state/directory.ts";
import { ControlError } from "./error.ts";

/** Where `wg` looks. Root's. */
export const SYSTEM_DIRECTORY = "/var/run/wireguard";

const EXTENSION = ".sock";

/**
 * Where the sockets of the user who runs this are: for root where `wg` looks, for everybody else
 * `wirestack` in the folder that the system makes for a session, or a folder in `/tmp` that nobody
 * but this user can have prepared.
 */
export function controlDirectory(): string {
  return userDirectory() ?? SYSTEM_DIRECTORY;
}

/** Where commands look: in the user's own folder, then in root's. */
export function controlDirectories(): readonly string[] {
  const own = userDirectory();
  return own === undefined ? [SYSTEM_DIRECTORY] : [own, SYSTEM_DIRECTORY];
}

/** @returns undefined for root, and for a program that may not know who runs it. */
function userDirectory(): string | undefined {
  const uid = ownUid();
  if (!uid) return undefined;
  const session = permittedEnvironment("XDG_RUNTIME_DIR");
  return session?.startsWith("/") ? `${session}/wirestack` : `/tmp/wirestack-${uid}`;
}

/**
 * Makes the folder for sockets if it is missing, but not its parents.
 *
 * @throws {Error} of the system.
 * @throws {ControlError} if it is the user's own and somebody else could have put it there.
 */
export function prepareDirectory(directory: string): void {
  try {
    Deno.mkdirSync(directory, { mode: directory === userDirectory() ? 0o700 : 0o755 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  checkDirectory(directory);
}

/** @throws {ControlError} if a folder is the user's own and somebody else could have put it there. */
export function checkDirectory(directory: string): void {
  const reason = directory === userDirectory() ? whyNotPrivate(directory) : undefined;
  if (reason !== undefined) throw new ControlError(`${directory}: ${reason}`);
}

/** Why a folder may be another user's doing; undefined if it is this user's alone, or not there. */
function whyNotPrivate(directory: string): string | undefined {
  let status: Deno.FileInfo;
  try {
    status = Deno.lstatSync(directory);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  if (!status.isDirectory) return "is no folder, expected one of this user's";
  if (status.uid !== ownUid()) {
    return `belongs to user ${status.uid}, expected user ${ownUid()}`;
  }
  if (((status.mode ?? 0) & 0o077) !== 0) return "is open to other users, expected mode 700";
  return undefined;
}

/** No gateway's: `wirestack show flows` means the flows of a gateway. */
export const RESERVED_NAME = "flows";

/** A name that wg-quick takes for an interface, and a gateway may have. */
export function isInterfaceName(name: string): boolean {
  return /^[a-zA-Z0-9_=+.-]{1,15}$/.test(name) && ![".", "..", RESERVED_NAME].includes(name);
}

/**
 * Refuses the name that no gateway can have.
 *
 * @param file Whose base name it is.
 * @throws {ConfigError} for the user.
 */
export function checkReserved(name: string | undefined, file: string | undefined): void {
  if (name !== RESERVED_NAME) return;
  throw new ConfigError([
    `${file ?? "--name"}: a gateway cannot be called flows, because wirestack show flows ` +
    `shows its flows; expected another name (--name)`,
  ]);
}

/** The name that wg-quick gives to a configuration file's interface, without the suffix; it may be none. */
export function interfaceNameOf(file: string): string {
  return file.replace(/^.*\//, "").replace(/\.(?:conf|ya?ml|json|env)$/, "");
}

export function socketPath(directory: string, name: string): string {
  return `${directory}/${name}${EXTENSION}`;
}

/**
 * The names for which there is a socket, whether somebody listens there or not.
 *
 * @throws {ControlError} if the folder may not be read, or is not to be trusted.
 */
export function socketNames(directory: string): string[] {
  checkDirectory(directory);
  try {
    return Array.from(Deno.readDirSync(directory))
      .filter(({ name, isSymlink }) => name.endsWith(EXTENSION) && !isSymlink)
      .map(({ name }) => name.slice(0, -EXTENSION.length))
      .filter(isInterfaceName)
      .sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new ControlError(`${directory}: permission denied, expected the user whose it is`);
    }
    throw error;
  }
}

/** @returns undefined where there is no such thing, or it may not be known. */
function ownUid(): number | undefined {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "uid" });
  return state === "granted" ? Deno.uid() ?? undefined : undefined;
}
