/**
 * A capture in a file, or in several that take turns: each begins with the header and ends with the
 * latest figures, so that it can be read by itself.
 *
 * @module
 */

import { type Block, BlockSplitter } from "./blocks.ts";
import { CaptureError } from "./error.ts";
import {
  concat,
  DECRYPTION_SECRETS,
  ENHANCED_PACKET,
  INTERFACE_DESCRIPTION,
  INTERFACE_STATISTICS,
  SECTION_HEADER,
} from "./pcapng.ts";
import { Tally } from "./tally.ts";

/** How files take turns. */
export interface Rotation {
  /** Bytes of a file at most, but for one packet and the figures at its end. */
  readonly bytes: number;
  /** Files at most; then the oldest is replaced. */
  readonly count: number;
}

/** A user that a process becomes. */
export interface FileOwner {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Secrets that the next file begins with as well; older ones are of sessions that are long over. */
const MAX_SECRETS = 1_024;
/** Where in a block of figures the interface's number is. */
const STATISTICS_INTERFACE = 8;

export class CaptureFile {
  readonly #path: string;
  readonly #rotation: Rotation | undefined;
  readonly #splitter = new BlockSplitter();
  /** Undefined when there is none: closed, or the next could not be opened. */
  #file: Deno.FsFile | undefined;
  #number = 1;
  #size = 0;
  /** Of what every file begins with. */
  #header: Uint8Array[] = [];
  readonly #secrets: Uint8Array[] = [];
  /** The latest figures by interface, and whether the open file has them. */
  readonly #statistics = new Map<number, Uint8Array>();
  #hasStatistics = true;
  /** Of what was written. */
  readonly tally = new Tally();

  /**
   * @param owner Who the first file is to belong to, so that this user may replace it.
   * @throws {CaptureError} if there can be no such file.
   */
  constructor(path: string, rotation?: Rotation, owner?: FileOwner) {
    this.#path = path;
    this.#rotation = rotation;
    const name = this.#name();
    this.#file = openPrivately(name);
    if (owner !== undefined) inPlace(name, () => Deno.chownSync(name, owner.uid, owner.gid));
  }

  /** A piece of pcapng, cut anywhere. @throws {Error} of the system, as when the disk is full. */
  async write(piece: Uint8Array): Promise<void> {
    const writes: Uint8Array[][] = [[]];
    this.#splitter.push(piece, (piece, blocks) => this.#sort(piece, blocks, writes));
    for (const [i, parts] of writes.entries()) {
      if (i > 0) this.#next();
      if (this.#file === undefined) throw new CaptureError("write", `${this.#path}: is closed`);
      await writeAll(this.#file, parts.length === 1 ? parts[0]! : concat(parts));
    }
  }

  /** Idempotent. */
  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  /** Divides blocks among files. */
  #sort(piece: Uint8Array, blocks: readonly Block[], writes: Uint8Array[][]): void {
    this.tally.note(piece, blocks);
    let start = blocks[0]!.start;
    for (const block of blocks) {
      const { type, end } = block;
      const length = end - block.start;
      const isFull = this.#rotation !== undefined && this.#size + length > this.#rotation.bytes;
      if (type === ENHANCED_PACKET && isFull && this.#size > this.#headerBytes()) {
        const last = this.#hasStatistics ? [] : [...this.#statistics.values()];
        writes.at(-1)!.push(piece.slice(start, block.start), ...last);
        writes.push([...this.#header, ...this.#secrets]);
        this.#size = this.#headerBytes();
        this.#hasStatistics = this.#statistics.size === 0;
        start = block.start;
      }
      this.#size += length;
      if (type !== ENHANCED_PACKET) this.#note(type, piece.slice(block.start, end));
    }
    writes.at(-1)!.push(piece.slice(start, blocks.at(-1)!.end));
  }

  #note(type: number, block: Uint8Array): void {
    if (type === SECTION_HEADER) this.#header = [block];
    else if (type === INTERFACE_DESCRIPTION) this.#header.push(block);
    else if (type === DECRYPTION_SECRETS) {
      this.#secrets.push(block);
      if (this.#secrets.length > MAX_SECRETS) this.#secrets.shift()!.fill(0);
    } else if (type === INTERFACE_STATISTICS) {
      const view = new DataView(block.buffer);
      this.#statistics.set(view.getUint32(STATISTICS_INTERFACE, true), block);
      this.#hasStatistics = true;
    }
  }

  #headerBytes(): number {
    return [...this.#header, ...this.#secrets].reduce((sum, { length }) => sum + length, 0);
  }

  #next(): void {
    this.close();
    this.#number = this.#number % this.#rotation!.count + 1;
    this.#file = openPrivately(this.#name());
  }

  #name(): string {
    return this.#rotation === undefined
      ? this.#path
      : rotatedName(this.#path, this.#number, this.#rotation.count);
  }
}

/** `capture_03.pcapng`: one of those that take turns. */
export function rotatedName(path: string, number: number, count: number): string {
  const [, base, suffix = ""] = /^(.*?[^/])(\.[^./]*)?$/s.exec(path) ?? [path, path];
  return `${base}_${String(number).padStart(String(count).length, "0")}${suffix}`;
}

/** Every file that a capture may write. */
export function captureFiles(path: string, rotation: Rotation | undefined): string[] {
  if (rotation === undefined) return [path];
  return Array.from(
    { length: rotation.count },
    (_, i) => rotatedName(path, i + 1, rotation.count),
  );
}

/**
 * Whether a capture may be written there: what is there already stays, for it may yet turn out that
 * nothing is captured.
 *
 * @param owner Who has to make the files that take turns.
 * @throws {CaptureError} if not.
 */
export function checkPlace(path: string, rotation: Rotation | undefined, owner?: FileOwner): void {
  const [first] = captureFiles(path, rotation);
  const folder = /^(.*\/)[^/]*$/s.exec(path)?.[1] ?? "./";
  inPlace(first!, () => {
    if (isDevice(path)) return Deno.openSync(path, { write: true }).close();
    refuseOthers(first!);
    const trial = `${folder}.wirestack-${crypto.randomUUID()}`;
    try {
      Deno.openSync(trial, { write: true, createNew: true, mode: 0o600 }).close();
      Deno.removeSync(trial);
    } catch (error) {
      throw new Error((error as Error).message.replace(/: \w+ '[^']*'$/, ""));
    }
  });
  if (rotation !== undefined && owner !== undefined && !mayWriteIn(folder, owner)) {
    throw new CaptureError(
      "rotate",
      `the user ${owner.name}, which this process becomes, may make no files in ${folder}, expected ` +
        "a folder where it may, or one file",
    );
  }
}

/** As the system sees it, access lists and all. */
function mayWriteIn(folder: string, { uid, gid }: FileOwner): boolean {
  const args = ["-c", '[ -w "$1" ] && [ -x "$1" ]', "sh", folder];
  return new Deno.Command("/bin/sh", { args, uid, gid, clearEnv: true }).outputSync().success;
}

/**
 * A file that its owner alone can read, in place of one with the same name: what another user has made
 * there is not written into, nor followed.
 */
function openPrivately(path: string): Deno.FsFile {
  return inPlace(path, () => {
    if (isDevice(path)) return Deno.openSync(path, { write: true });
    refuseOthers(path);
    try {
      Deno.removeSync(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    return Deno.openSync(path, { write: true, createNew: true, mode: 0o600 });
  });
}

function inPlace<T>(path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new CaptureError("write", `${path}: ${(error as Error).message}`);
  }
}

function isDevice(path: string): boolean {
  return path.startsWith("/dev/");
}

/** @throws {Error} for what is there and no file. */
function refuseOthers(path: string): void {
  const kind = kindOf(path);
  if (kind !== undefined) throw new Error(`is ${kind}, expected the path of a file`);
}

function kindOf(path: string): string | undefined {
  let status: Deno.FileInfo;
  try {
    status = Deno.lstatSync(path);
  } catch {
    return undefined; // opening it says why
  }
  if (status.isFile) return undefined;
  if (status.isDirectory) return "a folder";
  if (status.isSymlink) return "a link";
  return status.isFifo ? "a pipe" : "no file";
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await file.write(bytes.subarray(sent));
}
