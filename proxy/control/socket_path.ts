/**
 * Where a gateway's control socket is, and what gateways have one.
 *
 * @module
 */

/** Where `wg` looks. */
export const DEFAULT_DIRECTORY = "/var/run/wireguard";

const EXTENSION = ".sock";

/** A name that wg-quick takes for an interface. */
export function isInterfaceName(name: string): boolean {
  return /^[a-zA-Z0-9_=+.-]{1,15}$/.test(name) && name !== "." && name !== "..";
}

/** The name that wg-quick gives to a configuration file's interface; it may be none. */
export function interfaceNameOf(file: string): string {
  return file.replace(/^.*\//, "").replace(/\.conf$/, "");
}

export function socketPath(directory: string, name: string): string {
  return `${directory}/${name}${EXTENSION}`;
}

/** The names for which there is a socket, whether somebody listens there or not. */
export function socketNames(directory: string): string[] {
  try {
    return Array.from(Deno.readDirSync(directory))
      .filter(({ name, isSymlink }) => name.endsWith(EXTENSION) && !isSymlink)
      .map(({ name }) => name.slice(0, -EXTENSION.length))
      .filter(isInterfaceName)
      .sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
