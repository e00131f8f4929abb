/**
 * The system calls that confining is about, by number: <asm/unistd_64.h> of x86-64 and
 * <asm-generic/unistd.h>, which is ARM64's.
 *
 * @module
 */

/** What differs between the processors that have a table here. */
export interface Architecture {
  /** AUDIT_ARCH_… of <linux/audit.h>. */
  readonly audit: number;
  /** From this number on system calls are of another convention (x32). */
  readonly foreign: number | undefined;
  readonly clone: number;
  readonly clone3: number;
  readonly socket: number;
  readonly ioctl: number;
  readonly seccomp: number;
  /** What a gateway never does. */
  readonly refused: readonly number[];
  /** Those of them that start programs. */
  readonly forPrograms: readonly number[];
}

/** A column of {@link REFUSED}. */
type Column = 0 | 1;

/** Both numbers; -1 where that processor does not have the call. */
type Row = readonly [name: string, x86_64: number, aarch64: number];

/**
 * Everything here is either of no use to a program that forwards packets, or a way out of a
 * confinement that has been used. What confines the other calls are file and network permissions.
 */
const REFUSED: readonly Row[] = [
  // Other programs, and being one
  ["execve", 59, 221],
  ["execveat", 322, 281],
  ["fork", 57, -1],
  ["vfork", 58, -1],
  ["ptrace", 101, 117],
  ["process_vm_readv", 310, 270],
  ["process_vm_writev", 311, 271],
  ["process_madvise", 440, 440],
  ["pidfd_getfd", 438, 438],
  ["kcmp", 312, 272],
  ["migrate_pages", 256, 238],
  ["move_pages", 279, 239],
  ["personality", 135, 92],
  ["uselib", 134, -1],
  // Namespaces and file systems
  ["unshare", 272, 97],
  ["setns", 308, 268],
  ["mount", 165, 40],
  ["umount2", 166, 39],
  ["pivot_root", 155, 41],
  ["chroot", 161, 51],
  ["open_tree", 428, 428],
  ["move_mount", 429, 429],
  ["fsopen", 430, 430],
  ["fsconfig", 431, 431],
  ["fsmount", 432, 432],
  ["fspick", 433, 433],
  ["mount_setattr", 442, 442],
  ["open_tree_attr", 467, 467],
  ["name_to_handle_at", 303, 264],
  ["open_by_handle_at", 304, 265],
  ["mknod", 133, -1],
  ["mknodat", 259, 33],
  ["quotactl", 179, 60],
  ["quotactl_fd", 443, 443],
  ["fanotify_init", 300, 262],
  ["sysfs", 139, -1],
  ["nfsservctl", 180, 42],
  // The kernel itself, and the machine
  ["bpf", 321, 280],
  ["perf_event_open", 298, 241],
  ["userfaultfd", 323, 282],
  ["io_uring_setup", 425, 425],
  ["io_uring_enter", 426, 426],
  ["io_uring_register", 427, 427],
  ["add_key", 248, 217],
  ["request_key", 249, 218],
  ["keyctl", 250, 219],
  ["init_module", 175, 105],
  ["finit_module", 313, 273],
  ["delete_module", 176, 106],
  ["kexec_load", 246, 104],
  ["kexec_file_load", 320, 294],
  ["reboot", 169, 142],
  ["swapon", 167, 224],
  ["swapoff", 168, 225],
  ["acct", 163, 89],
  ["syslog", 103, 116],
  ["vhangup", 153, 58],
  ["sethostname", 170, 161],
  ["setdomainname", 171, 162],
  ["settimeofday", 164, 170],
  ["clock_settime", 227, 112],
  ["clock_adjtime", 305, 266],
  ["adjtimex", 159, 171],
  ["iopl", 172, -1],
  ["ioperm", 173, -1],
  ["modify_ldt", 154, -1],
  ["lookup_dcookie", 212, 18],
  ["_sysctl", 156, -1],
];

/** Those that starting a program takes; `clone` is looked at by itself. */
const FOR_PROGRAMS = ["execve", "execveat", "fork", "vfork"];

function refused(column: Column, rows: readonly Row[] = REFUSED): number[] {
  return rows.map((row) => row[column + 1] as number).filter((number) => number >= 0);
}

function forPrograms(column: Column): number[] {
  return refused(column, REFUSED.filter(([name]) => FOR_PROGRAMS.includes(name)));
}

const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  x86_64: {
    audit: 0xc000003e,
    foreign: 0x4000_0000,
    clone: 56,
    clone3: 435,
    socket: 41,
    ioctl: 16,
    seccomp: 317,
    refused: refused(0),
    forPrograms: forPrograms(0),
  },
  aarch64: {
    audit: 0xc00000b7,
    foreign: undefined,
    clone: 220,
    clone3: 435,
    socket: 198,
    ioctl: 29,
    seccomp: 277,
    refused: refused(1),
    forPrograms: forPrograms(1),
  },
};

/** @returns undefined for a processor that has no table here. */
export function architecture(name: string): Architecture | undefined {
  return Object.hasOwn(ARCHITECTURES, name) ? ARCHITECTURES[name] : undefined;
}

/** Calls of Linux 5.13, with the same number on every processor. */
export const Landlock = { createRuleset: 444n, addRule: 445n, restrictSelf: 446n } as const;
