/**
 * `wirestack up --tun` on a host of the lab, with a /run of its own.
 *
 * @module
 */

import type { Host } from "./lab.ts";
import { networkState } from "./network_state.ts";
import { installed, ownInstallation, wirestack, withRun } from "./own_run.ts";
import type { Output, Process } from "./process.ts";

/** Who an ordinary user is. */
const USER = 65534;

export class TunnelHost {
  readonly host: Host;
  /** The configuration's, `wg0.conf` in the folder of this host. */
  readonly file: string;
  /** A folder of programs that come before the system's; empty at first. */
  readonly programs: string;
  /** Of what is started next; missing: the tests' own. */
  umask: string | undefined;
  /** A file that what is started next cannot open; missing: none. */
  hidden: string | undefined;
  readonly #run: string;
  /** Root's, in place of the one that this machine's own gateways have. */
  readonly #state: string;
  readonly #directory: string;
  #home: string | undefined;

  private constructor(host: Host, directory: string) {
    this.host = host;
    this.file = `${directory}/wg0.conf`;
    this.programs = `${directory}/bin`;
    this.#run = `${directory}/run`;
    this.#state = `${directory}/state`;
    this.#directory = directory;
  }

  /** @param directory A new folder. */
  static async create(host: Host, directory: string): Promise<TunnelHost> {
    const tunnel = new TunnelHost(host, directory);
    await Deno.mkdir(`${tunnel.#run}/wireguard`, { recursive: true });
    for (const folder of [tunnel.programs, tunnel.#state]) await Deno.mkdir(folder);
    for (const folder of [directory, tunnel.#run]) await Deno.chmod(folder, 0o755);
    return tunnel;
  }

  /**
   * Starts `wirestack up --tun` as root with the file as it is.
   *
   * @param capabilities Of an ordinary user who has these; missing: root.
   * @returns once it is up, if `isReady`.
   */
  async up(
    args: readonly string[] = [],
    { capabilities, isReady = true }: { capabilities?: string[] | undefined; isReady?: boolean } =
      {},
  ): Promise<Process> {
    if (capabilities !== undefined) await this.giveAway();
    const process = await this.start(["up", "--tun", ...args, this.file], { capabilities });
    if (isReady) await process.line(/CAP_NET_ADMIN alone/);
    return process;
  }

  /**
   * Starts another command of ours that goes on.
   *
   * @param capabilities As for {@link up}.
   * @param env Beside that of the tests.
   */
  async start(
    args: readonly string[],
    { capabilities, env = {} }: {
      capabilities?: string[] | undefined;
      env?: Record<string, string>;
    } = {},
  ): Promise<Process> {
    const home = capabilities === undefined ? this.#home : undefined;
    const options = await installed(this.programs, home);
    return this.host.spawn(
      "wirestack",
      [
        ...this.umask === undefined ? [] : ["sh", "-c", 'umask "$0" && exec "$@"', this.umask],
        ...this.hidden === undefined ? [] : hiding(this.#run, this.hidden),
        ...wirestack(this.#run, args, capabilities),
      ],
      {
        ...options,
        env: {
          ...options.env,
          ...capabilities === undefined && { STATE_DIRECTORY: this.#state },
          ...env,
        },
      },
    );
  }

  /** From now on what root starts is from a place that is root's alone, as its home is. */
  async keepToRoot(): Promise<void> {
    await ownInstallation(this.#home = `${this.#directory}/home`);
  }

  /** Gives the ordinary user the file, and the folder of control sockets. */
  async giveAway(): Promise<void> {
    await this.host.output(["chown", `${USER}:${USER}`, this.file, `${this.#run}/wireguard`]);
  }

  /** Makes /run/wirestack of the ordinary user's, as systemd does for a service. */
  async makeRuntimeDirectory(): Promise<void> {
    await Deno.mkdir(`${this.#run}/wirestack`, { mode: 0o755 });
    await Deno.chown(`${this.#run}/wirestack`, USER, USER);
  }

  /** Runs another command of ours. */
  async wirestack(...args: string[]): Promise<Output> {
    return await this.host.run(wirestack(this.#run, args), await installed(this.programs));
  }

  /** As {@link wirestack}, where the system shows no /dev/net/tun. */
  async withoutDevice(...args: string[]): Promise<Output> {
    const hide = ["sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh"];
    return await this.host.run(
      [...hide, ...wirestack(this.#run, args)],
      await installed(this.programs),
    );
  }

  /** Runs a command with this host's /run. */
  here(command: readonly string[]): Promise<Output> {
    return this.host.run(withRun(this.#run, command));
  }

  /** The process of the tunnel itself. */
  async pid(): Promise<number> {
    const [name] = await names(`${this.#run}/wirestack`);
    const text = await Deno.readTextFile(`${this.#run}/wirestack/${name}`);
    return JSON.parse(text.trim().split("\n")[0]!).pid;
  }

  /** Ends it without a chance to take anything back. */
  async kill(process: Process): Promise<void> {
    Deno.kill(await this.pid(), "SIGKILL");
    await process.exit();
  }

  /**
   * Everything of the host that a tunnel may change.
   *
   * @param settings Of sysctl, a pattern of their names.
   */
  async state(settings: string): Promise<Record<string, unknown>> {
    return {
      ...await networkState(this.host, settings),
      resolvConf: await this.host.output(["cat", "/etc/resolv.conf"]),
      left: await names(`${this.#run}/wirestack`),
      sockets: await names(`${this.#run}/wireguard`),
    };
  }
}

/**
 * A command before another, which then cannot open a file: a device without a driver lies on it.
 *
 * @param folder Where there may be one.
 */
function hiding(folder: string, path: string): string[] {
  const hide = 'mknod "$0" c 0 0 && mount --bind "$0" "$1" && shift && exec "$@"';
  return ["sh", "-c", hide, `${folder}/nothing`, path];
}

/** Who a public host says asks, or undefined if it cannot be reached. */
export async function seenAs(
  from: Host,
  address: string,
  timeoutS = 30,
): Promise<string | undefined> {
  const host = address.includes(":") ? `[${address}]` : address;
  const { code, stdout } = await from.run([
    ...["curl", "--silent", "--max-time", `${timeoutS}`, `http://${host}:8000/who`],
  ]);
  return code === 0 ? stdout.replace(/^::ffff:/, "") : undefined;
}

async function names(directory: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(directory), ({ name }) => name)).sort();
  } catch {
    return [];
  }
}
