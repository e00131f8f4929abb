/**
 * What a whole-system tunnel has changed on this host, written down before it is done: a line of JSON
 * for the tunnel, one for each step, one for each that was taken back. What is over goes when there is
 * much of it. The process that runs holds the file locked; the kernel lets go of the lock however that
 * process ends.
 *
 * @module
 */

import { dirname } from "node:path";
import { LinuxSystem } from "../../ffi/mod.ts";
import { SystemTunnelError } from "./error.ts";
import type { NetworkNamespace } from "./namespace.ts";
import { StateLines } from "./state_lines.ts";
import { parseUndo, type Undo } from "./step.ts";

/** Where these files are, whatever the control socket's folder is. */
export const STATE_DIRECTORY = "/run/wirestack";

const VERSION = 1;
const EXTENSION = ".state";
/**
 * There is no secret in them, and who has started as root reads them as another user later: so they have
 * these whatever the umask is.
 */
const FILE_MODE = 0o644;
const DIRECTORY_MODE = 0o755;

/** The first line. */
export interface TunnelRecord {
  /** Name of the network device. */
  readonly device: string;
  /** As `wirestack show` has it; missing without a control socket. */
  readonly gateway?: string;
  readonly pid: number;
  readonly namespace: NetworkNamespace;
}

/** A step that was begun, and not taken back. */
export interface RecordedStep {
  readonly index: number;
  readonly title: string;
  readonly undo: Undo;
}

/** A state file as it was found. */
export interface FoundState {
  readonly path: string;
  readonly record: TunnelRecord;
  /** In the order in which they were begun. */
  readonly steps: readonly RecordedStep[];
  /** Whether the process still runs. */
  readonly isRunning: boolean;
  /** What could not be read: a line each. */
  readonly problems: readonly string[];
}

/** An open one, of this process. */
export class StateFile implements Disposable {
  readonly path: string;
  readonly #file: Deno.FsFile;
  readonly #lines: StateLines;
  #count: number;

  private constructor(
    path: string,
    file: Deno.FsFile,
    record: TunnelRecord,
    steps: readonly RecordedStep[] = [],
  ) {
    this.path = path;
    this.#file = file;
    const begun = steps.map((step) => [step.index, stepLine(step)] as const);
    this.#lines = new StateLines(file, { wirestack: VERSION, ...record }, begun);
    this.#count = 1 + Math.max(-1, ...steps.map(({ index }) => index));
  }

  /**
   * Begins one.
   *
   * @throws {SystemTunnelError} if the device's process runs, or has left something to take back:
   * {@link take} that first; or if no file can be made.
   */
  static create(record: TunnelRecord, directory: string = STATE_DIRECTORY): StateFile {
    prepareDirectory(directory);
    const path = `${directory}/${fileName(record)}`;
    const file = openLocked(path, record.device);
    const found = readState(path);
    if (found.steps.length > 0) {
      release(file);
      throw new SystemTunnelError(`${path}: ${whyNotFree(found, record.device)}`);
    }
    file.truncateSync(0);
    const state = new StateFile(path, file, record);
    state.#lines.writeHead();
    return state;
  }

  /**
   * Takes over what a process has left behind.
   *
   * @throws {SystemTunnelError} if it runs, or its file cannot be written to.
   */
  static take(found: FoundState): StateFile {
    const file = openLocked(found.path, found.record.device);
    return new StateFile(found.path, file, found.record, found.steps);
  }

  /** To be called before the step is done. @returns its number. */
  begin(title: string, undo: Undo): number {
    const index = this.#count++;
    this.#lines.begin(index, stepLine({ index, title, undo }));
    return index;
  }

  /** The step of that number is taken back. */
  undone(step: number): void {
    this.#lines.end(step, { undone: step });
  }

  /**
   * Everything is taken back: the file goes. Where this user may not remove it, it stays behind empty,
   * which says the same.
   */
  remove(): void {
    this.#file.truncateSync(0);
    try {
      Deno.removeSync(this.path);
    } catch (error) {
      if (!isRefused(error) && !(error instanceof Deno.errors.NotFound)) throw error;
    }
    release(this.#file);
  }

  /** Keeps the file, for somebody else to take. */
  [Symbol.dispose](): void {
    try {
      release(this.#file);
    } catch {
      // It is closed already.
    }
  }
}

function stepLine({ index, title, undo }: RecordedStep) {
  return { step: index, title, undo };
}

/**
 * The state files of a folder, whichever namespace they belong to. Empty ones are not told.
 *
 * @throws {SystemTunnelError} if the folder, or one of them, may not be read.
 */
export function findStates(directory: string = STATE_DIRECTORY): FoundState[] {
  let names: string[];
  try {
    names = Array.from(Deno.readDirSync(directory), ({ name }) => name)
      .filter((name) => name.endsWith(EXTENSION)).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw new SystemTunnelError(`${directory}: ${(error as Error).message}`);
  }
  return names.flatMap((name) => {
    try {
      const state = readState(`${directory}/${name}`);
      return state.record === undefined ? [] : [state as FoundState];
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return []; // gone since
      throw new SystemTunnelError(`${directory}/${name}: ${(error as Error).message}`);
    }
  });
}

/** `down` would not find one that says not what it belongs to. */
function whyNotFree({ record, steps }: PartialState, device: string): string {
  if (record !== undefined) {
    return `an earlier ${device} has not been taken back, expected wirestack down ${device}`;
  }
  return "does not say which tunnel it is of, expected it as it was written; these are to be taken " +
    `back by hand, and the file removed: ${steps.map(({ title }) => title).join("; ")}`;
}

/** Removes what has no more use: the files of a namespace that is gone for good. */
export function forget(found: FoundState): void {
  try {
    Deno.removeSync(found.path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound) && !isRefused(error)) throw error;
  }
}

type PartialState = Omit<FoundState, "record"> & { readonly record: TunnelRecord | undefined };

function readState(path: string): PartialState {
  const text = Deno.readTextFileSync(path);
  const steps = new Map<number, RecordedStep>();
  const problems: string[] = [];
  let record: TunnelRecord | undefined;
  const lines = text.split("\n");
  lines.forEach((line, i) => {
    if (line === "") return;
    let value: Record<string, unknown>;
    try {
      value = JSON.parse(line);
      if (typeof value !== "object" || value === null) throw new SyntaxError("no object");
    } catch {
      // Cut off: what it was about had not begun.
      problems.push(`${path}:${i + 1}: is no whole line, passed over`);
      return;
    }
    if ("wirestack" in value) {
      record = parseRecord(value);
      if (record === undefined) problems.push(`${path}:${i + 1}: is of another version`);
    } else if ("step" in value) {
      const undo = parseUndo(value.undo);
      if (undo === undefined || !Number.isInteger(value.step)) {
        problems.push(`${path}:${i + 1}: is no step known here, passed over`);
      } else {
        const index = value.step as number;
        steps.set(index, { index, title: String(value.title), undo });
      }
    } else if ("undone" in value) steps.delete(value.undone as number);
  });
  // Where a process was killed that made its file shorter, they may stand in another order.
  const inOrder = [...steps.values()].sort((a, b) => a.index - b.index);
  return { path, record, steps: inOrder, isRunning: isLocked(path), problems };
}

function parseRecord(value: Record<string, unknown>): TunnelRecord | undefined {
  const { wirestack, device, gateway, pid, namespace } = value;
  const { inode, cookie, boot } = Object(namespace) as Record<string, unknown>;
  if (wirestack !== VERSION || typeof device !== "string" || !Number.isInteger(pid)) {
    return undefined;
  }
  return {
    device,
    ...(typeof gateway === "string" && { gateway }),
    pid: pid as number,
    namespace: {
      inode: Number(inode),
      ...(typeof cookie === "string" && { cookie }),
      boot: String(boot),
    },
  };
}

/** Namespaces may have devices of the same name: the inode tells their files apart. */
function fileName({ device, namespace }: TunnelRecord): string {
  return `${device}@${namespace.inode}${EXTENSION}`;
}

function openLocked(path: string, device: string): Deno.FsFile {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path, { read: true, write: true, create: true, mode: FILE_MODE });
  } catch (error) {
    throw new SystemTunnelError(`${path}: ${(error as Error).message}`);
  }
  if (file.tryLockSync(true)) {
    makeReadable(path, FILE_MODE);
    return file;
  }
  file.close();
  const pid = readState(path).record?.pid;
  throw new SystemTunnelError(
    `${device}: runs already${
      pid === undefined ? "" : ` (process ${pid})`
    }, expected wirestack down ${device} first`,
  );
}

/**
 * A lock is of the open file: a process that this one has begun to start, and that does not run its program
 * yet, would hold it for as long.
 */
function release(file: Deno.FsFile): void {
  file.unlockSync();
  file.close();
}

function isLocked(path: string): boolean {
  using file = Deno.openSync(path);
  if (!file.tryLockSync(false)) return true;
  file.unlockSync();
  return false;
}

/**
 * Root acts on what lies here: nobody but root, or this user, may put anything there.
 *
 * @throws {SystemTunnelError}
 */
function prepareDirectory(directory: string): void {
  using system = new LinuxSystem();
  try {
    Deno.mkdirSync(directory, { mode: DIRECTORY_MODE });
    makeReadable(directory, DIRECTORY_MODE);
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) {
      throw new SystemTunnelError(
        `${directory}: cannot be made (${(error as Error).message}), expected one of this user's`,
      );
    }
  }
  const { isDirectory, uid, mode } = isRootsLink(directory)
    ? Deno.statSync(directory)
    : Deno.lstatSync(directory);
  if (!isDirectory) {
    throw new SystemTunnelError(`${directory}: is no folder, expected one of this user's`);
  }
  if (uid !== 0 && uid !== system.user || ((mode ?? 0) & 0o022) !== 0) {
    throw new SystemTunnelError(
      `${directory}: is user ${uid}'s, mode ${
        ((mode ?? 0) & 0o777).toString(8)
      }, expected root's or this user's, and nobody else to write there`,
    );
  }
  // Made under another umask, by an earlier version.
  if (uid === 0 && system.user === 0) makeReadable(directory, DIRECTORY_MODE);
}

/** Where this user may not, it stays as it is: then it is another user's, who has made it so. */
function makeReadable(path: string, mode: number): void {
  try {
    if (((Deno.statSync(path).mode ?? 0) & mode) !== mode) Deno.chmodSync(path, mode);
  } catch (error) {
    if (!isRefused(error)) throw error;
  }
}

/** systemd gives a unit with DynamicUser a link to the folder that is the unit's alone. */
function isRootsLink(path: string): boolean {
  const { isSymlink, uid } = Deno.lstatSync(path);
  const parent = Deno.lstatSync(dirname(path));
  return isSymlink && uid === 0 && parent.uid === 0 && ((parent.mode ?? 0) & 0o022) === 0;
}

function isRefused(error: unknown): boolean {
  return error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable;
}
