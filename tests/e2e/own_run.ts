/**
 * Commands on a host of the lab with a /run of its own, so that nothing of the machine is touched, and
 * ours among them.
 *
 * @module
 */

import { installation, unprivileged } from "./gateway.ts";
import type { ProcessOptions } from "./process.ts";

/** As udev has it; in a container it may be root's alone. */
const OPEN_DEVICE =
  'mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "$@"';

/** Where an ordinary user without a session has its control sockets: another lab's may be there now. */
const SESSION = "/tmp/wirestack-65534";
const OWN_FOLDERS = `mount --bind "$0" /run &&
  install --directory --mode=700 --owner=65534 --group=65534 "$0-session" ${SESSION} &&
  mount --bind "$0-session" ${SESSION} && exec "$@"`;

/** @param run The folder that is its /run. `ip netns exec` has made a mount namespace already. */
export function withRun(run: string, command: readonly string[]): string[] {
  return ["sh", "-c", OWN_FOLDERS, run, ...command];
}

/**
 * `wirestack …`, with {@link installed}.
 *
 * @param capabilities Of an ordinary user who has these; missing: root.
 */
export function wirestack(
  run: string,
  args: readonly string[],
  capabilities?: string[],
): string[] {
  const wrapper = capabilities === undefined
    ? []
    : ["sh", "-c", OPEN_DEVICE, "sh", ...unprivileged(capabilities)];
  return withRun(run, [...wrapper, "sh", "-c", 'exec "$DENO" task start "$@"', "sh", ...args]);
}

/**
 * What `wirestack` of the sources is started with.
 *
 * @param programs A folder whose programs are found before all others.
 * @param home A folder of {@link ownInstallation}; missing: everybody's.
 */
export async function installed(programs?: string, home?: string): Promise<ProcessOptions> {
  const { root, deno, env } = await installation();
  const folders = [...(programs === undefined ? [] : [programs]), env.PATH, "/usr/sbin", "/sbin"];
  const own: Record<string, string> = home === undefined
    ? {}
    : { DENO_DIR: `${home}/cache`, HOME: home };
  return {
    cwd: `${home ?? root}/source`,
    env: { ...env, ...own, DENO: deno, PATH: folders.join(":") },
  };
}

/** What root has in its own home: neither sources nor packages are for others to read. */
export async function ownInstallation(home: string): Promise<void> {
  const { root } = await installation();
  await Deno.mkdir(home, { mode: 0o700 });
  const { success } = await new Deno.Command("cp", {
    args: ["--recursive", `${root}/source`, `${root}/cache`, home],
  }).output();
  if (!success) throw new Error(`nothing is copied to ${home}`);
}
