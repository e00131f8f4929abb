/**
 * A process that was started by root, or with capabilities, and keeps next to none.
 *
 * @module
 */

import { type Libc, openLibc } from "./libc.ts";
import { SystemCallError } from "./system.ts";

const CALLS = {
  prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  capget: { parameters: ["buffer", "buffer"], result: "i32" },
  capset: { parameters: ["buffer", "buffer"], result: "i32" },
  // These three of the C library are for all threads, unlike the system's own.
  setgroups: { parameters: ["usize", "buffer"], result: "i32" },
  setresgid: { parameters: ["u32", "u32", "u32"], result: "i32" },
  setresuid: { parameters: ["u32", "u32", "u32"], result: "i32" },
  geteuid: { parameters: [], result: "u32" },
} as const satisfies Deno.ForeignLibraryInterface;

type PrivilegesLibc = Libc<typeof CALLS>;

// <linux/prctl.h>, <linux/capability.h>
const PR_SET_KEEPCAPS = 8;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_RAISE = 2n;
const PR_CAP_AMBIENT_CLEAR_ALL = 4n;
const CAPABILITY_VERSION = 0x20080522;
const CAP_NET_BIND_SERVICE = 10;
const CAP_NET_ADMIN = 12;
const CAP_LAST = 63;

export interface PrivilegesOptions {
  /** Who to become; missing: the user stays. Root alone can become another. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** Whether programs that this process starts have the capability too. */
  readonly forPrograms?: boolean;
  /** Whether CAP_NET_BIND_SERVICE is kept too, as far as there is one: ports below 1024. */
  readonly bindsPorts?: boolean;
}

/**
 * Becomes `user`, if given, on all threads, and gives up every capability but CAP_NET_ADMIN, which only
 * the calling thread, and threads that it starts, keep. Nothing that is executed gets more.
 *
 * Without `user` the other threads keep the capabilities that they have.
 *
 * @throws {SystemCallError} if the system refuses; then some of it may be done.
 */
export function keepNetAdminAlone(
  { user, forPrograms = false, bindsPorts = false }: PrivilegesOptions,
): void {
  const libc = openLibc(CALLS);
  try {
    const { symbols } = libc;
    const check = (result: number, what: string) => {
      if (result !== 0) throw new SystemCallError(what, libc.errno());
    };
    check(symbols.prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n), "no_new_privs");
    for (let capability = 0; capability <= CAP_LAST; capability++) {
      // Fails for those that the kernel does not know, and without CAP_SETPCAP.
      if (capability === CAP_NET_ADMIN || bindsPorts && capability === CAP_NET_BIND_SERVICE) {
        continue;
      }
      symbols.prctl(PR_CAPBSET_DROP, BigInt(capability), 0n, 0n, 0n);
    }
    if (user !== undefined) {
      check(symbols.prctl(PR_SET_KEEPCAPS, 1n, 0n, 0n, 0n), "keep capabilities");
      const { uid, gid } = user;
      check(symbols.setgroups(0n, null), "give up the groups");
      check(symbols.setresgid(gid, gid, gid), `become group ${gid}`);
      check(symbols.setresuid(uid, uid, uid), `become user ${uid}`);
      symbols.prctl(PR_SET_KEEPCAPS, 0n, 0n, 0n, 0n);
    }
    symbols.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0n, 0n, 0n);
    const mask = 1 << CAP_NET_ADMIN | (bindsPorts ? 1 << CAP_NET_BIND_SERVICE : 0);
    const has = capabilities(libc);
    // Effective, permitted, inheritable; then the same of capabilities from 32 on.
    const kept = has.permitted & mask;
    check(setCapabilities(libc, kept, kept, forPrograms ? kept : 0), "give up capabilities");
    if (forPrograms && (kept & 1 << CAP_NET_ADMIN) !== 0) {
      symbols.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, BigInt(CAP_NET_ADMIN), 0n, 0n);
    }
  } finally {
    libc.close();
  }
}

/** Whether the calling thread may administer the network. */
export function hasNetAdmin(): boolean {
  return hasCapability(CAP_NET_ADMIN);
}

/** Whether the calling thread may bind ports below 1024, whatever the system lets others bind. */
export function hasNetBindService(): boolean {
  return hasCapability(CAP_NET_BIND_SERVICE);
}

function hasCapability(capability: number): boolean {
  const libc = openLibc(CALLS);
  try {
    return (capabilities(libc).effective & (1 << capability)) !== 0;
  } finally {
    libc.close();
  }
}

function capabilities({ symbols }: PrivilegesLibc) {
  const data = new Uint32Array(32);
  symbols.capget(header(), new Uint8Array(data.buffer));
  return { effective: data[0]!, permitted: data[1]! };
}

function setCapabilities(
  { symbols }: PrivilegesLibc,
  effective: number,
  permitted: number,
  inheritable: number,
): number {
  const data = new Uint32Array(32);
  data.set([effective, permitted, inheritable, 0, 0, 0]);
  return symbols.capset(header(), new Uint8Array(data.buffer));
}

/** Struct __user_cap_header_struct: version, process (0: this thread). */
function header(): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(32);
  words[0] = CAPABILITY_VERSION;
  return new Uint8Array(words.buffer);
}
