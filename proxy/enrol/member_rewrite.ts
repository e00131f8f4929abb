/**
 * The file of a hub's members written anew beside itself, without what is over. Thousands of members
 * take the disk a tenth of a second, so it is done in steps between packets; what changes meanwhile is
 * written behind the old file, as ever, and taken over at the end.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { replaceFileBeside } from "../state/replace_file.ts";
import type { Member } from "./member.ts";
import { formatChange, formatMembers } from "./state_file.ts";

/** A step takes some 2 ms, with a certificate each. */
const STEP_MEMBERS = 100;

export interface MemberRewriteOptions {
  readonly path: string;
  /** As they are now. */
  readonly members: readonly Member[];
  /** The file is the new one, from this call on. */
  replaced(file: { readonly size: number; readonly records: number }): void;
  /** The old one is there still, and stays. Not called after {@link MemberRewrite.cancel}. */
  failed(error: Error): void;
}

export class MemberRewrite {
  readonly #options: MemberRewriteOptions;
  readonly #stopped = new AbortController();
  /** Changes that came since, and are not in the new file yet. */
  #late: Uint8Array[] = [];
  #records: number;
  /** When nothing of it is under way any more. */
  readonly over: Promise<void>;

  constructor(options: MemberRewriteOptions) {
    this.#options = options;
    this.#records = options.members.length;
    this.over = this.#run();
  }

  /** A change that the old file has by now. */
  add(bytes: Uint8Array, records: number): void {
    this.#late.push(bytes);
    this.#records += records;
  }

  /** Nothing of it is in the folder any more. */
  cancel(): void {
    this.#stopped.abort();
  }

  async #run(): Promise<void> {
    const { path, replaced, failed } = this.#options;
    const { signal } = this.#stopped;
    try {
      // Not in the middle of the change that has begun this.
      await Promise.resolve();
      await replaceFileBeside(path, this.#pieces(), {
        last: () => this.#takeLate(),
        replaced: (size) => replaced({ size, records: this.#records }),
        signal,
      });
    } catch (error) {
      if (!signal.aborted) failed(error as Error);
    }
  }

  *#pieces(): Generator<Uint8Array> {
    const { members } = this.#options;
    const encoder = new TextEncoder();
    yield encoder.encode(formatMembers(members.slice(0, STEP_MEMBERS)));
    for (let i = STEP_MEMBERS; i < members.length; i += STEP_MEMBERS) {
      yield encoder.encode(formatChange(members.slice(i, i + STEP_MEMBERS), []));
    }
    if (this.#late.length > 0) yield this.#takeLate();
  }

  #takeLate(): Uint8Array {
    const late = this.#late;
    this.#late = [];
    return Buffer.concat(late);
  }
}
