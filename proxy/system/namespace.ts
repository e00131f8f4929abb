/**
 * Which network this process is in, and since when it exists.
 *
 * @module
 */

import { LinuxSystem } from "../../ffi/mod.ts";

/** What a state file belongs to. */
export interface NetworkNamespace {
  /** Inode of the network namespace. Used again by a later one. */
  readonly inode: number;
  /** Never used again until the machine restarts. Missing before Linux 5.14. */
  readonly cookie?: string;
  /** Changes when the machine restarts. */
  readonly boot: string;
}

/** That of this process. @throws {Error} without FFI. */
export function ownNamespace(): NetworkNamespace {
  using system = new LinuxSystem();
  const inode = /\[(\d+)\]/.exec(system.readLink("/proc/self/ns/net") ?? "")?.[1];
  const cookie = system.namespaceCookie();
  return {
    inode: Number(inode ?? 0),
    ...(cookie !== undefined && { cookie }),
    boot: system.readText("/proc/sys/kernel/random/boot_id")?.trim() ?? "",
  };
}

/** Whether what was done in the one is still there, and to be found in the other. */
export function isSameNamespace(a: NetworkNamespace, b: NetworkNamespace): boolean {
  return a.boot === b.boot && a.inode === b.inode && a.cookie === b.cookie;
}
