/**
 * The seccomp filter of a gateway, as a program of classic BPF: seccomp(2), <linux/filter.h>.
 *
 * Refused calls fail with EPERM. None kills the process: a library that tries one goes on without.
 *
 * @module
 */

import { Errno } from "../libc.ts";
import { AF_INET, AF_INET6, AF_NETLINK, AF_UNIX } from "../sockaddr.ts";
import { SOCK_RAW } from "../socket.ts";
import type { Architecture } from "./syscalls.ts";

// <linux/bpf_common.h>
const LOAD_WORD = 0x20;
const AND = 0x54;
const JUMP_EQUAL = 0x15;
const JUMP_GREATER_OR_EQUAL = 0x35;
const JUMP_SET = 0x45;
const RETURN = 0x06;

// <linux/seccomp.h>
const ALLOW = 0x7fff_0000;
const FAIL = 0x0005_0000;

/** Struct seccomp_data. */
const NUMBER = 0;
const ARCHITECTURE = 4;
/** The low half of an argument: both processors are little-endian. */
const argument = (index: number) => 16 + 8 * index;

// <linux/sched.h>
const CLONE_THREAD = 0x0001_0000;
/** CLONE_NEWNS and the other kinds of namespaces. */
const CLONE_NAMESPACES = 0x7e02_0000;

// <bits/socket.h>
const SOCK_TYPE_MASK = 0xf;
const NETLINK_ROUTE = 0;
const NETLINK_NETFILTER = 12;

// <asm-generic/ioctls.h>: both put input into the terminal that started us.
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;

/** Bytes of an instruction, struct sock_filter: u16 code, u8 jt, u8 jf, u32 k. */
const INSTRUCTION_BYTES = 8;

type Label = string;

/** `to` and `otherwise` are labels; undefined is the next instruction. */
interface Instruction {
  readonly code: number;
  readonly k: number;
  readonly to?: Label | undefined;
  readonly otherwise?: Label | undefined;
}

/** What a gateway with a device of the operating system does besides. */
export interface AllowedCalls {
  /** Packet filter rules. */
  readonly netfilter?: boolean;
  /** Starting programs, which have the filter too. */
  readonly programs?: boolean;
}

/** @returns the instructions, as the kernel takes them. */
export function seccompFilter(
  architecture: Architecture,
  { netfilter = false, programs = false }: AllowedCalls = {},
): Uint8Array<ArrayBuffer> {
  const { audit, foreign, clone, clone3, socket, ioctl, forPrograms } = architecture;
  const refused = architecture.refused.filter((call) => !programs || !forPrograms.includes(call));
  const load = (k: number): Instruction => ({ code: LOAD_WORD, k });
  const equal = (k: number, to?: Label, otherwise?: Label): Instruction => ({
    code: JUMP_EQUAL,
    k,
    to,
    otherwise,
  });
  const allow: Instruction = { code: RETURN, k: ALLOW };
  const fail = (errno: number): Instruction => ({ code: RETURN, k: FAIL | errno });

  return assemble([
    load(ARCHITECTURE),
    equal(audit, undefined, "refuse"), // 32-bit calls have other numbers
    load(NUMBER),
    ...foreign === undefined
      ? []
      : [{ code: JUMP_GREATER_OR_EQUAL, k: foreign, to: "refuse" } satisfies Instruction],
    equal(clone, "clone"),
    equal(clone3, "clone3"),
    equal(socket, "socket"),
    equal(ioctl, "ioctl"),
    ...refused.map((number) => equal(number, "refuse")),
    allow,

    // Threads, and neither processes nor namespaces.
    "clone",
    load(argument(0)),
    { code: JUMP_SET, k: CLONE_NAMESPACES, to: "refuse" },
    { code: JUMP_SET, k: CLONE_THREAD, to: "allow", otherwise: programs ? "allow" : "refuse" },

    // Its flags are behind a pointer. The C library then takes clone, as on an old kernel.
    "clone3",
    fail(Errno.ENOSYS),

    // TCP and UDP, ping, Unix sockets, and asking for this host's addresses.
    "socket",
    load(argument(0)),
    equal(AF_UNIX, "allow"),
    equal(AF_NETLINK, "netlink"),
    equal(AF_INET, "inet"),
    equal(AF_INET6, "inet", "refuse"),
    "inet",
    load(argument(1)),
    { code: AND, k: SOCK_TYPE_MASK },
    equal(SOCK_RAW, "refuse", "allow"),
    "netlink",
    load(argument(2)),
    ...netfilter ? [equal(NETLINK_NETFILTER, "allow")] : [],
    equal(NETLINK_ROUTE, "allow", "refuse"),

    "ioctl",
    load(argument(1)),
    equal(TIOCSTI, "refuse"),
    equal(TIOCLINUX, "refuse", "allow"),

    "allow",
    allow,
    "refuse",
    fail(Errno.EPERM),
  ]);
}

/** @param lines Instructions, and labels of those that follow. Jumps only go forwards. */
function assemble(lines: readonly (Instruction | Label)[]): Uint8Array<ArrayBuffer> {
  const labels = new Map<Label, number>();
  const instructions: Instruction[] = [];
  for (const line of lines) {
    if (typeof line === "string") labels.set(line, instructions.length);
    else instructions.push(line);
  }
  const bytes = new Uint8Array(instructions.length * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  instructions.forEach(({ code, k, to, otherwise }, index) => {
    const distance = (label: Label | undefined) => {
      if (label === undefined) return 0;
      const jump = labels.get(label)! - index - 1;
      if (!(jump >= 0 && jump <= 255)) throw new RangeError(`no jump to ${label}: ${jump}`);
      return jump;
    };
    const at = index * INSTRUCTION_BYTES;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, distance(to));
    view.setUint8(at + 3, distance(otherwise));
    view.setUint32(at + 4, k, true);
  });
  return bytes;
}
