/**
 * `down`: ends a gateway, and takes back what a device has left on this host.
 *
 * @module
 */

import { ControlError } from "../control/client.ts";
import { isAlive } from "../control/server.ts";
import { controlDirectory, interfaceNameOf, socketPath } from "../control/socket_path.ts";
import { Errno, hasNetAdmin, LinuxSystem, SystemCallError } from "../../ffi/mod.ts";
import { SystemTunnelError } from "../system/error.ts";
import { LinuxHost } from "../system/host.ts";
import { takeBack } from "../system/leftovers.ts";
import { holdsLock } from "../system/lock_holder.ts";
import { isSameNamespace, ownNamespace } from "../system/namespace.ts";
import { findStates, type FoundState } from "../system/state_file.ts";
import { findGateway } from "./gateways.ts";
import type { Terminal } from "./terminal.ts";

/** For connections, PreDown, PostDown, and what waits for a slow machine. */
const PATIENCE_MS = 60_000;
const POLL_MS = 50;

/**
 * @param target The name of a gateway or a device, or a gateway's configuration file.
 * @returns the exit status.
 */
export async function down(
  target: string,
  controlDir: string | undefined,
  terminal: Terminal,
): Promise<number> {
  try {
    const isFile = target.includes("/") || /\.(?:conf|ya?ml|json|env)$/i.test(target);
    const name = isFile ? interfaceNameOf(target) : target;
    if (Deno.permissions.querySync({ name: "ffi" }).state === "granted") {
      const found = findState(name);
      if (found !== undefined) return await endDevice(found, controlDir, terminal);
    }
    return await endGateway(target, name, controlDir, terminal);
  } catch (error) {
    if (!(error instanceof SystemTunnelError)) throw error;
    terminal.error(`wirestack: ${error.message}\n`);
    return 1;
  }
}

/** @throws {SystemTunnelError} if it is in another network namespace. */
function findState(name: string): FoundState | undefined {
  const named = findStates().filter(({ record }) =>
    record.device === name || record.gateway === name
  );
  const here = ownNamespace();
  const own = named.find(({ record }) => isSameNamespace(record.namespace, here));
  const other = named.find(({ record, isRunning }) =>
    isRunning || record.namespace.boot === here.boot
  );
  if (own !== undefined || other === undefined) return own;
  throw new SystemTunnelError(
    `${name}: belongs to another network namespace (net:[${other.record.namespace.inode}]), expected ` +
      `wirestack down there${other.isRunning ? `, as by nsenter -n -t ${other.record.pid}` : ""}`,
  );
}

async function endDevice(
  found: FoundState,
  controlDir: string | undefined,
  terminal: Terminal,
): Promise<number> {
  const { device, pid } = found.record;
  if (found.isRunning) {
    terminate(found);
    await gone(found, device, pid);
  }
  const left = findStates().find(({ path }) => path === found.path);
  if (left !== undefined) {
    if (!hasNetAdmin()) {
      throw new SystemTunnelError(
        `${device}: this user may not administer the network, expected root, or CAP_NET_ADMIN`,
      );
    }
    using host = new LinuxHost();
    const count = takeBack(host, device, found.record.namespace);
    const steps = count === 1 ? "1 step" : `${count} steps`;
    terminal.out(`${device}: down, ${steps} of a process that had ended taken back\n`);
    await removeSocket(found.record.gateway, controlDir);
  } else terminal.out(`${device}: down\n`);
  return 0;
}

/** The control socket of a process that was killed: nobody listens there. */
async function removeSocket(gateway: string | undefined, directory = controlDirectory()) {
  if (gateway === undefined || directory === "off") return;
  const path = socketPath(directory, gateway);
  try {
    if (Deno.lstatSync(path).isSocket && !await isAlive(path)) Deno.removeSync(path);
  } catch {
    // It is not there, or not this user's: the next gateway replaces it.
  }
}

/** @throws {SystemTunnelError} if its process is another user's, or is not the one that it names. */
function terminate({ path, record: { device, pid } }: FoundState): void {
  using system = new LinuxSystem();
  const { ino } = Deno.statSync(path);
  // Without /proc/locks nobody could say better; 0 and less are groups of processes, or all of them.
  const locks = system.readText("/proc/locks");
  if (pid <= 0 || locks !== undefined && ino !== null && !holdsLock(locks, pid, ino)) {
    throw new SystemTunnelError(
      `${device}: runs, but not as process ${pid}, which ${path} names: expected the file as it was ` +
        "written; end the process that holds it (fuser says which)",
    );
  }
  try {
    system.terminate(pid);
  } catch (error) {
    if (error instanceof SystemCallError && error.errno === Errno.EPERM) {
      throw new SystemTunnelError(`process ${pid} is another user's, expected that user, or root`);
    }
    // It has ended meanwhile.
  }
}

/** @throws {SystemTunnelError} if it has not ended in time. */
async function gone(found: FoundState, device: string, pid: number): Promise<void> {
  await until(
    () => !findStates().some(({ path, isRunning }) => path === found.path && isRunning),
    `${device}: process ${pid} has not ended`,
  );
}

async function endGateway(
  target: string,
  name: string,
  controlDir: string | undefined,
  terminal: Terminal,
): Promise<number> {
  const client = await findGateway(target, controlDir);
  const answer = await client.ask("wirestack_stop=1");
  if (answer === undefined) {
    throw new ControlError(`${name}: is another program's, expected a gateway of Wirestack`);
  }
  await until(
    async () => !await isAlive(socketPath(client.directory, client.name)),
    `${name}: has not ended`,
  );
  terminal.out(`${name}: down\n`);
  return 0;
}

async function until(condition: () => boolean | Promise<boolean>, problem: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!await condition()) {
    if (performance.now() > deadline) {
      throw new SystemTunnelError(`${problem} within ${PATIENCE_MS / 1000} s`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
