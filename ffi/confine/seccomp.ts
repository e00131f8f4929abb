/**
 * Gives up rights and system calls: capabilities, no_new_privs and seccomp.
 *
 * @module
 */

import { addressOf, type Libc, store64 } from "../libc.ts";
import { type AllowedCalls, seccompFilter } from "./filter.ts";
import { architecture } from "./syscalls.ts";

export const SECCOMP_CALLS = {
  prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  /** The last is the filter: the kernel does not look at it, but it stays where it is meanwhile. */
  seccomp: {
    name: "syscall",
    parameters: ["i64", "u64", "u64", "buffer", "buffer"],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;

export type SeccompLibc = Libc<typeof SECCOMP_CALLS>;

// <linux/prctl.h>, <linux/seccomp.h>
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAPBSET_DROP = 24;
const CAP_LAST = 63;
const SECCOMP_SET_MODE_FILTER = 1n;
const FILTER_FLAG_TSYNC = 1n << 0n;
/** No speculation mitigation, which up to Linux 5.15 slows the whole program down: V8 has its own. */
const FILTER_FLAG_SPEC_ALLOW = 1n << 2n;

/**
 * Of root's capabilities, <linux/capability.h>, those that a gateway has a use for: files of other
 * users (CHOWN, DAC_OVERRIDE, FOWNER), becoming one (SETGID, SETUID, SETPCAP), low ports, buffers,
 * marks, devices (NET_BIND_SERVICE, NET_ADMIN, NET_RAW), limits (SYS_RESOURCE).
 */
const KEPT_CAPABILITIES = [0, 1, 3, 6, 7, 8, 10, 12, 13, 24];

/**
 * Limits the capabilities of what this thread executes, root's as well: with all of them it could
 * read the kernel's memory in /proc. Does nothing for a user who has none.
 */
export function boundCapabilities({ symbols }: SeccompLibc): void {
  for (let capability = 0; capability <= CAP_LAST; capability++) {
    if (KEPT_CAPABILITIES.includes(capability)) continue;
    symbols.prctl(PR_CAPBSET_DROP, BigInt(capability), 0n, 0n, 0n);
  }
}

/**
 * Neither this thread nor what it executes gets rights from a file's set-user-ID bit or capabilities.
 *
 * @returns whether the kernel does that.
 */
export function setNoNewPrivileges({ symbols }: SeccompLibc): boolean {
  return symbols.prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n) === 0;
}

/**
 * Has the calls of filter.ts fail in every thread of this process, from now on. The calling thread
 * must have no_new_privs; the others get it with the filter.
 *
 * @returns undefined, or why the kernel does not do it.
 */
export function refuseSystemCalls(
  libc: SeccompLibc,
  arch: string,
  allowed: AllowedCalls = {},
): string | undefined {
  const known = architecture(arch);
  if (known === undefined) return `no table of system calls for ${arch}`;
  const filter = seccompFilter(known, allowed);
  // Struct sock_fprog: u16 length in instructions, a pointer.
  const program = new Uint32Array(32);
  program[0] = filter.length / 8;
  store64(program, 2, addressOf(filter));
  let result = -1;
  for (const flags of [FILTER_FLAG_TSYNC | FILTER_FLAG_SPEC_ALLOW, FILTER_FLAG_TSYNC]) {
    result = libc.symbols.seccomp(
      BigInt(known.seccomp),
      SECCOMP_SET_MODE_FILTER,
      flags,
      new Uint8Array(program.buffer),
      filter,
    );
    if (result === 0) return undefined;
  }
  return result > 0 ? `thread ${result} has another filter` : `errno ${libc.errno()}`;
}
