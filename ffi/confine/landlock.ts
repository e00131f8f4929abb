/**
 * Landlock: which files a thread, and whatever it executes, can open. landlock(7).
 *
 * @module
 */

import { Errno, type Libc, store64 } from "../libc.ts";
import { Landlock as Call } from "./syscalls.ts";

export const LANDLOCK_CALLS = {
  landlock_create_ruleset: {
    name: "syscall",
    parameters: ["i64", "buffer", "usize", "u64"],
    result: "i32",
  },
  landlock_add_rule: {
    name: "syscall",
    parameters: ["i64", "i64", "i64", "buffer", "u64"],
    result: "i32",
  },
  landlock_restrict_self: { name: "syscall", parameters: ["i64", "i64", "u64"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

export type LandlockLibc = Libc<typeof LANDLOCK_CALLS>;

// <linux/landlock.h>
const CREATE_RULESET_VERSION = 1n;
const RULE_PATH_BENEATH = 1n;
const SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0;
const SCOPE_SIGNAL = 1 << 1;
const EXECUTE = 1 << 0;
const WRITE_FILE = 1 << 1;
const READ_FILE = 1 << 2;
const READ_DIR = 1 << 3;
const REMOVE_DIR = 1 << 4;
const REMOVE_FILE = 1 << 5;
const MAKE_DIR = 1 << 7;
const MAKE_REG = 1 << 8;
const MAKE_SOCK = 1 << 9;
const REFER = 1 << 13;
const TRUNCATE = 1 << 14;
const IOCTL_DEV = 1 << 15;
/** Which rights there are with each version of the interface; the last is the newest known here. */
const RIGHTS_BY_VERSION = [0, 0x1fff, 0x3fff, 0x7fff, 0x7fff, 0xffff];
/** The rights that a rule for a file, not a folder, can grant. */
const OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
/** The versions that introduced these. */
const NETWORK_VERSION = 4;
const SCOPE_VERSION = 6;

// <bits/fcntl-linux.h>
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;

/** What may be done with a file, or with everything below a folder. */
export type FileAccess = keyof typeof ACCESS;

const ACCESS = {
  read: READ_FILE | READ_DIR,
  /** Started as a program. */
  execute: READ_FILE | EXECUTE,
  /** Files, sockets and folders made, written and removed. */
  write: READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | REMOVE_FILE | REMOVE_DIR | MAKE_REG |
    MAKE_SOCK | MAKE_DIR | REFER,
  /** Files made and written, for logs: none is read, cut off or removed. */
  append: WRITE_FILE | MAKE_REG,
  /** Files made, written and replaced, for captures: none is read. */
  replace: WRITE_FILE | TRUNCATE | REMOVE_FILE | MAKE_REG,
  /** A device, used with its own calls. */
  device: READ_FILE | WRITE_FILE | IOCTL_DEV,
};

export interface FileRule {
  /** A file or folder. Links are followed; what is not there is passed over. */
  readonly path: string;
  readonly access: FileAccess;
}

/**
 * Which version of Landlock this kernel has: 1 and up, 0 for none (before Linux 5.13, or switched
 * off, or refused by a container's own filter).
 */
export function landlockVersion({ symbols }: LandlockLibc): number {
  return Math.max(
    symbols.landlock_create_ruleset(Call.createRuleset, null, 0n, CREATE_RULESET_VERSION),
    0,
  );
}

/**
 * Takes from the calling thread all files but those of the rules, for good; the program that it
 * executes next has no more. Other threads that run already keep what they have. With version 6
 * it also cannot signal processes outside, nor reach their abstract Unix sockets.
 *
 * The thread must have no_new_privs.
 *
 * @param version As {@link landlockVersion} has it, not 0.
 * @returns 0, or the errno of the call that failed.
 */
export function restrictFiles(
  libc: LandlockLibc,
  version: number,
  rules: readonly FileRule[],
): number {
  const { symbols } = libc;
  const rights = RIGHTS_BY_VERSION[Math.min(version, RIGHTS_BY_VERSION.length - 1)]!;
  // Struct landlock_ruleset_attr: u64 handled_access_fs, handled_access_net, scoped.
  const attributes = new Uint32Array(32);
  store64(attributes, 0, rights);
  if (version >= SCOPE_VERSION) store64(attributes, 4, SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL);
  const size = version >= SCOPE_VERSION ? 24n : version >= NETWORK_VERSION ? 16n : 8n;
  const ruleset = symbols.landlock_create_ruleset(
    Call.createRuleset,
    bytesOf(attributes),
    size,
    0n,
  );
  if (ruleset < 0) return libc.errno();
  try {
    for (const rule of rules) {
      const errno = addRule(libc, ruleset, rule, rights);
      if (errno !== 0) return errno;
    }
    return symbols.landlock_restrict_self(Call.restrictSelf, BigInt(ruleset), 0n) === 0
      ? 0
      : libc.errno();
  } finally {
    symbols.close(ruleset);
  }
}

function addRule(libc: LandlockLibc, ruleset: number, rule: FileRule, rights: number): number {
  const { symbols } = libc;
  const fd = symbols.open(cString(rule.path), O_PATH | O_CLOEXEC);
  if (fd < 0) return 0;
  try {
    const access = ACCESS[rule.access] & rights;
    // For a file the rights that only folders have are an error.
    for (const allowed of [access, access & OF_FILES]) {
      // Struct landlock_path_beneath_attr, packed: u64 allowed_access, s32 parent_fd.
      const attributes = new Uint32Array(32);
      store64(attributes, 0, allowed);
      attributes[2] = fd;
      if (
        symbols.landlock_add_rule(
          Call.addRule,
          BigInt(ruleset),
          RULE_PATH_BENEATH,
          bytesOf(attributes),
          0n,
        ) === 0
      ) return 0;
      if (libc.errno() !== Errno.EINVAL) break;
    }
    return libc.errno();
  } finally {
    symbols.close(fd);
  }
}

/** A string as C has it, with a NUL at its end. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  // V8 does not move a typed array of more than 64 bytes.
  const bytes = new Uint8Array(text.length * 3 + 64);
  new TextEncoder().encodeInto(text, bytes);
  return bytes;
}

function bytesOf(words: Uint32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(words.buffer);
}
