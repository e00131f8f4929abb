/**
 * Writes the changes of a hub's members behind their file, and has the file written anew when most of
 * it is over. A change costs a line, however many members there are.
 *
 * @module
 */

import { replaceFile } from "../state/replace_file.ts";
import type { Member } from "./member.ts";
import { MemberRewrite } from "./member_rewrite.ts";
import {
  findMembers,
  formatChange,
  formatMembers,
  type FoundMembers,
  MAX_BYTES,
} from "./state_file.ts";

/** The file is written anew when it has so many lines more than twice what is alive. */
const SPARE_RECORDS = 1_000;

/** A change of the members. */
export interface MemberChange {
  readonly changed: readonly Member[];
  readonly gone: readonly Member[];
  /** All that there are then. */
  readonly all: ReadonlyMap<string, Member>;
}

export class MemberLog {
  readonly #path: string;
  #records: number;
  /** What the file has; undefined: it is to be written anew. */
  #size: number | undefined;
  /** For a process that becomes somebody who may not open it. */
  #held: Deno.FsFile | undefined;
  /** A try that has failed is not made again before there are so many. */
  #rewriteAt = 0;
  #rewrite: MemberRewrite | undefined;
  readonly #rewriteFailed: (error: Error) => void;
  #isClosed = false;

  private constructor(
    path: string,
    { records, size }: FoundMembers,
    rewriteFailed: (error: Error) => void,
  ) {
    this.#path = path;
    this.#records = records;
    this.#size = size;
    this.#rewriteFailed = rewriteFailed;
  }

  /**
   * @param isHeld Whether this process is about to lose what it takes to open the file. Then it stays
   * open, and is written anew by the next start alone.
   * @param rewriteFailed Called when it cannot be written anew: nothing is lost, and it is longer than
   * it need be.
   * @throws {Error} of the system, or if this is no such file.
   */
  static open(
    path: string,
    isHeld = false,
    rewriteFailed: (error: Error) => void = () => {},
  ): { log: MemberLog; members: Member[] } {
    const found = findMembers(path);
    const { members, records, size } = found;
    const log = new MemberLog(path, found, rewriteFailed);
    if (isHeld) {
      if (size === undefined || records > members.length) log.#replace(members);
      log.#held = Deno.openSync(path, { append: true });
    }
    return { log, members };
  }

  /** It is on the disk when this returns. @throws {Error} of the system; then nothing has changed. */
  write({ changed, gone, all }: MemberChange): void {
    const count = changed.length + gone.length;
    const records = this.#records + count;
    const isWasteful = records > Math.max(2 * all.size + SPARE_RECORDS, this.#rewriteAt);
    const bytes = new TextEncoder().encode(formatChange(changed, gone));
    const held = this.#held;
    if (held !== undefined) this.#append(held, bytes);
    else {
      using file = this.#open();
      // It is an older one; or somebody has removed it, or put another in its place.
      if (file === undefined || sizeOf(file) !== this.#size) {
        return this.#replace([...all.values()]);
      }
      if (isWasteful && this.#size + bytes.length > MAX_BYTES) {
        return this.#replace([...all.values()]);
      }
      this.#append(file, bytes);
    }
    this.#records = records;
    this.#rewrite?.add(bytes, count);
    if (isWasteful && held === undefined) this.#startRewrite(all);
  }

  /** @returns when nothing of it is under way any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#held?.close();
    this.#held = undefined;
    const { over } = this.#rewrite ?? {};
    this.#rewrite?.cancel();
    await over;
  }

  #append(file: Deno.FsFile, bytes: Uint8Array): void {
    const size = this.#size!;
    if (size + bytes.length > MAX_BYTES) {
      throw new Error(`${this.#path}: is full, expected a restart, which makes it shorter`);
    }
    try {
      // What a write has left that failed.
      if (sizeOf(file) !== size) file.truncateSync(size);
      for (let sent = 0; sent < bytes.length;) sent += file.writeSync(bytes.subarray(sent));
      file.syncDataSync();
    } catch (error) {
      try {
        file.truncateSync(size);
      } catch { /* the next write sees that it is longer */ }
      throw error;
    }
    this.#size = size + bytes.length;
  }

  #open(): Deno.FsFile | undefined {
    try {
      return Deno.openSync(this.#path, { append: true });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  #startRewrite(all: ReadonlyMap<string, Member>): void {
    if (this.#rewrite !== undefined || this.#isClosed) return;
    const rewrite: MemberRewrite = this.#rewrite = new MemberRewrite({
      path: this.#path,
      members: [...all.values()],
      replaced: ({ size, records }) => {
        this.#rewrite = undefined;
        this.#size = size;
        this.#records = records;
        this.#rewriteAt = 0;
      },
      failed: (error) => {
        if (this.#rewrite !== rewrite) return;
        this.#rewrite = undefined;
        this.#rewriteAt = this.#records + SPARE_RECORDS;
        this.#rewriteFailed(error);
      },
    });
  }

  #replace(members: readonly Member[]): void {
    this.#rewrite?.cancel();
    this.#rewrite = undefined;
    const bytes = new TextEncoder().encode(formatMembers(members));
    replaceFile(this.#path, bytes, { isDurable: true });
    this.#size = bytes.length;
    this.#records = members.length;
  }
}

/** Deno's `stat` of an open file asks for its path, which may be out of reach by then. */
function sizeOf(file: Deno.FsFile): number {
  return file.seekSync(0, Deno.SeekMode.End);
}
