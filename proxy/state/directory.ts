/**
 * The folder where a gateway keeps state for the next start.
 *
 * @module
 */

const SYSTEM = "/var/lib/wirestack";

/**
 * The folders to try, the first that can be written to. systemd names one (`StateDirectory=`); then the
 * system's, which is root's; then the user's (XDG Base Directory Specification).
 *
 * @param environment Undefined for a variable that is missing, or may not be known.
 */
export function stateDirectories(
  environment: (variable: string) => string | undefined = permittedEnvironment,
): readonly string[] {
  const service = environment("STATE_DIRECTORY")?.split(":")[0];
  if (service?.startsWith("/")) return [service];
  const [user, home] = [environment("XDG_STATE_HOME"), environment("HOME")];
  if (user?.startsWith("/")) return [SYSTEM, `${user}/wirestack`];
  return [SYSTEM, ...home?.startsWith("/") ? [`${home}/.local/state/wirestack`] : []];
}

/**
 * Makes the first of the folders that can be written to.
 *
 * @param problem Called with the reason for each that cannot.
 * @returns undefined if none can.
 */
export function prepareStateDirectory(
  directories: readonly string[],
  problem: (directory: string, error: Error) => void = () => {},
): string | undefined {
  for (const directory of directories) {
    try {
      Deno.mkdirSync(directory, { recursive: true, mode: 0o700 });
      Deno.removeSync(Deno.makeTempFileSync({ dir: directory }));
      return directory;
    } catch (error) {
      problem(directory, error as Error);
    }
  }
  return undefined;
}

/** @returns undefined for a variable that is missing, or that this process may not read. */
export function permittedEnvironment(variable: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  return state === "granted" ? Deno.env.get(variable) : undefined;
}
