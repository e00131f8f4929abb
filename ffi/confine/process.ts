/**
 * A process that confines itself. Landlock binds only the thread that asks, and what that executes:
 * so the process gives up its files, executes its own program again, and gives up system calls in
 * the second life. It stays the same process: number, environment, open files and folder.
 *
 * @module
 */

import { addressOf, Errno, type Libc, openLibc } from "../libc.ts";
import {
  cString,
  type FileRule,
  LANDLOCK_CALLS,
  landlockVersion,
  restrictFiles,
} from "./landlock.ts";
import type { AllowedCalls } from "./filter.ts";
import {
  boundCapabilities,
  refuseSystemCalls,
  SECCOMP_CALLS,
  setNoNewPrivileges,
} from "./seccomp.ts";

const CALLS = {
  ...LANDLOCK_CALLS,
  ...SECCOMP_CALLS,
  access: { parameters: ["buffer", "i32"], result: "i32" },
  getenv: { parameters: ["buffer"], result: "pointer" },
  setenv: { parameters: ["buffer", "buffer", "i32"], result: "i32" },
  geteuid: { parameters: [], result: "u32" },
  readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  execv: { parameters: ["buffer", "buffer"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/**
 * Tells the next life what this one has done: `process number:version of Landlock`, or `:again`. Inherited
 * by another process the number is wrong.
 */
const MARK = "WIRESTACK_CONFINED";
const AGAIN = "again";

const O_DIRECTORY = Deno.build.arch === "aarch64" ? 0o40000 : 0o200000;
const O_CLOEXEC = 0o2000000;
const W_OK = 2;
const PATH_BYTES = 4096;
const ARGUMENTS_BYTES = 1 << 20;

/** What has been given up. */
export interface Confinement {
  /** Version of Landlock's interface; 0 if files are not confined. */
  readonly landlock: number;
  readonly seccomp: boolean;
  /** Why something is missing. */
  readonly problems: readonly string[];
}

/** The arguments that stand behind the runtime's. */
export interface ProgramArguments {
  /** As this process was started with. */
  readonly given: readonly string[];
  readonly next: readonly string[];
}

/** What a process keeps. */
export interface Needs {
  readonly files: readonly FileRule[];
  /** Asks for one more life like this one before it gives anything up; it gets no third. */
  readonly again?: boolean;
}

/** What decides which files are needed, without a permission of Deno's but FFI. */
export interface ProcessView {
  environment(name: string): string | undefined;
  /** Effective user. */
  readonly user: number;
  /** The arguments of the whole command that runs next, the runtime's included. */
  readonly arguments: readonly string[];
  /** The text of a file; "" if it cannot be read. */
  readText(path: string): string;
  isWritable(path: string): boolean;
  /** Whether this is the life that was asked for by {@link Needs.again}. */
  readonly isAgain: boolean;
}

/**
 * Confines this process, once for all.
 *
 * In its first life it does not return where there is Landlock: the program starts again. So this is
 * to be called before anything else has begun.
 *
 * @param needs Asked for before the process gives up its files only.
 * @param args The program's own, if the next life is to have others. Default: the same.
 * @throws {Error} without FFI.
 */
export async function confineProcess(
  needs: (view: ProcessView) => Promise<Needs>,
  args: ProgramArguments = { given: [], next: [] },
): Promise<Confinement> {
  const libc = openLibc(CALLS);
  try {
    const problems: string[] = [];
    const landlock = await confineFiles(libc, needs, args, problems);
    const refused = refuseSystemCalls(libc, Deno.build.arch);
    if (refused !== undefined) problems.push(`no seccomp: ${refused}`);
    return { landlock, seccomp: refused === undefined, problems };
  } finally {
    libc.close();
  }
}

/**
 * Gives up system calls alone, of a process whose files stay as they are.
 *
 * @returns why the kernel does not do it, if so.
 * @throws {Error} without FFI.
 */
export function confineSystemCalls(allowed: AllowedCalls): string | undefined {
  const libc = openLibc(CALLS);
  try {
    setNoNewPrivileges(libc);
    return refuseSystemCalls(libc, Deno.build.arch, allowed);
  } finally {
    libc.close();
  }
}

type ProcessLibc = Libc<typeof CALLS>;

/** @returns the version of Landlock that binds all of this process. */
async function confineFiles(
  libc: ProcessLibc,
  needs: (view: ProcessView) => Promise<Needs>,
  args: ProgramArguments,
  problems: string[],
): Promise<number> {
  const view = viewOf(libc, args);
  const [process, version] = view.environment(MARK)?.split(":") ?? [];
  if (process === String(Deno.pid) && version !== AGAIN) {
    if (isConfined(libc)) return Number(version);
    problems.push("no Landlock: it does not bind");
    setNoNewPrivileges(libc); // seccomp asks for it of an ordinary user
    return 0;
  }
  const available = landlockVersion(libc);
  let needed: Needs = { files: [] };
  try {
    if (available > 0) needed = await needs(view);
  } catch (error) {
    problems.push(`no Landlock: ${(error as Error).message}`);
    setNoNewPrivileges(libc);
    return 0;
  }
  // From here on without a pause: it binds this thread alone.
  if (!setNoNewPrivileges(libc)) {
    problems.push(`no Landlock: no_new_privs gives errno ${libc.errno()}`);
    return 0;
  }
  if (available === 0) {
    problems.push("no Landlock: the kernel has none, or not for this process");
    return 0;
  }
  const program = linkTarget(libc, "/proc/self/exe");
  if (program === undefined) {
    problems.push("no Landlock: the program that runs cannot be told (/proc/self/exe)");
    return 0;
  }
  if (needed.again && !view.isAgain) {
    // If either fails it goes without. Without the mark there would be no end to it.
    const isMarked = libc.symbols.setenv(cString(MARK), cString(`${Deno.pid}:${AGAIN}`), 1) === 0;
    if (isMarked) execute(libc, program, view.arguments);
  }
  const errno = restrictFiles(libc, available, needed.files);
  if (errno !== 0) {
    problems.push(`no Landlock: errno ${errno}`);
    return 0;
  }
  boundCapabilities(libc);
  libc.symbols.setenv(cString(MARK), cString(`${Deno.pid}:${available}`), 1);
  execute(libc, program, view.arguments);
  problems.push(
    `Landlock binds one thread only: ${program} cannot be executed again, errno ${libc.errno()}`,
  );
  return 0;
}

/** Whether there is a folder that every process can read, and this one cannot. */
function isConfined(libc: ProcessLibc): boolean {
  const fd = libc.symbols.open(cString("/"), O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return libc.errno() === Errno.EACCES;
  libc.symbols.close(fd);
  return false;
}

/** Returns only if it fails. */
function execute({ symbols }: ProcessLibc, program: string, args: readonly string[]): void {
  const strings = args.map(cString);
  const pointers = new BigUint64Array(strings.length + 16); // ends with null
  strings.forEach((string, index) => pointers[index] = BigInt(addressOf(string)));
  symbols.execv(cString(program), new Uint8Array(pointers.buffer));
}

function viewOf(libc: ProcessLibc, { given, next }: ProgramArguments): ProcessView {
  const { symbols } = libc;
  return {
    environment(name) {
      const pointer = symbols.getenv(cString(name));
      return pointer === null ? undefined : new Deno.UnsafePointerView(pointer).getCString();
    },
    user: symbols.geteuid(),
    get arguments() {
      const all = readText(libc, "/proc/self/cmdline").split("\0").slice(0, -1);
      return [...all.slice(0, all.length - given.length), ...next];
    },
    readText: (path) => readText(libc, path),
    isWritable: (path) => symbols.access(cString(path), W_OK) === 0,
    get isAgain() {
      return this.environment(MARK) === `${Deno.pid}:${AGAIN}`;
    },
  };
}

function readText({ symbols }: ProcessLibc, path: string): string {
  const fd = symbols.open(cString(path), O_CLOEXEC);
  if (fd < 0) return "";
  const bytes = new Uint8Array(ARGUMENTS_BYTES);
  let length = 0;
  while (length < bytes.length) {
    const count = Number(
      symbols.read(fd, bytes.subarray(length), BigInt(bytes.length - length)),
    );
    if (count <= 0) break;
    length += count;
  }
  symbols.close(fd);
  return new TextDecoder().decode(bytes.subarray(0, length));
}

function linkTarget({ symbols }: ProcessLibc, path: string): string | undefined {
  const target = new Uint8Array(PATH_BYTES);
  const length = Number(symbols.readlink(cString(path), target, BigInt(PATH_BYTES)));
  return length > 0 ? new TextDecoder().decode(target.subarray(0, length)) : undefined;
}
