/**
 * Where a list of peers is read from.
 *
 * @module
 */

import type { PeerListConfig } from "../../config/checked.ts";
import { shownPlace } from "../../config/peer_list_values.ts";
import { VERSION } from "../../version.ts";
import { MAX_LIST_BYTES, PeerListError } from "./text.ts";

export interface ListPlace {
  /** As it is shown. */
  readonly name: string;
  /** Whether looking costs somebody else something. */
  readonly isRemote: boolean;
  /**
   * @returns undefined if there is nothing new since {@link accept}.
   * @throws {PeerListError} if it cannot be had.
   */
  read(signal: AbortSignal): Promise<Uint8Array | undefined>;
  /** What was last read need not come again. */
  accept(): void;
  close(): void;
}

export function openPlace({ place, caPath }: PeerListConfig): ListPlace {
  return "path" in place
    ? new FilePlace(place.path)
    : new UrlPlace(place.url, shownPlace(place), caPath);
}

/** Of a server that sends its answer in drops. */
const TIMEOUT_MS = 30_000;

class UrlPlace implements ListPlace {
  readonly isRemote = true;
  readonly name: string;
  readonly #url: string;
  readonly #caPath: string | undefined;
  #client: Deno.HttpClient | undefined;
  #etag: string | undefined;
  #nextEtag: string | undefined;

  constructor(url: string, name: string, caPath: string | undefined) {
    this.#url = url;
    this.name = name;
    this.#caPath = caPath;
  }

  async read(signal: AbortSignal): Promise<Uint8Array | undefined> {
    // Read each time until it could be: it may come later than the gateway.
    this.#client ??= Deno.createHttpClient(await this.#clientOptions());
    const until = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
    try {
      const response = await fetch(this.#url, {
        client: this.#client,
        redirect: "manual",
        signal: until,
        headers: {
          "user-agent": `wirestack/${VERSION}`,
          ...(this.#etag !== undefined && { "if-none-match": this.#etag }),
        },
      });
      const { status } = response;
      if (status !== 200) await response.body?.cancel();
      if (status === 304 && this.#etag !== undefined) return undefined;
      if (status !== 200) {
        const what = status >= 300 && status < 400 ? ", which leads elsewhere" : "";
        throw new PeerListError(
          "unreachable",
          `answers with status ${status}${what}, expected 200`,
        );
      }
      const bytes = await readBounded(response.body);
      this.#nextEtag = response.headers.get("etag") ?? undefined;
      return bytes;
    } catch (error) {
      if (error instanceof PeerListError) throw error;
      throw new PeerListError("unreachable", `cannot be read: ${this.#reason(error as Error)}`);
    }
  }

  accept(): void {
    this.#etag = this.#nextEtag;
  }

  close(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  #reason(error: Error): string {
    if (error.name === "TimeoutError") return `no answer within ${TIMEOUT_MS / 1000} s`;
    let cause = error;
    while (cause.cause instanceof Error) cause = cause.cause;
    // What stands behind `?` is not for the log, and where it is stands in front of this already.
    return cause.message.replaceAll(this.#url, this.name)
      .replace(`error sending request for url (${this.name}): `, "");
  }

  async #clientOptions(): Promise<Deno.CreateHttpClientOptions> {
    if (this.#caPath === undefined) return { caCerts: [] };
    try {
      return { caCerts: [await Deno.readTextFile(this.#caPath)] };
    } catch (error) {
      throw new PeerListError("unreachable", `PeersCa cannot be read: ${(error as Error).message}`);
    }
  }
}

class FilePlace implements ListPlace {
  readonly isRemote = false;
  readonly name: string;
  #stamp = "";

  constructor(path: string) {
    this.name = path;
  }

  /** A bad list is read once, too: it is another when the file is. */
  async read(): Promise<Uint8Array | undefined> {
    try {
      const { mtime, size, ino, dev, isFile } = await Deno.stat(this.name);
      if (!isFile) throw new PeerListError("unreachable", "is not a file");
      const stamp = [mtime?.getTime(), size, ino, dev].join(" ");
      if (stamp === this.#stamp) return undefined;
      this.#stamp = stamp;
      using file = await Deno.open(this.name);
      return await readBounded(file.readable);
    } catch (error) {
      if (error instanceof PeerListError && error.refusal === "format") throw error; // too long
      this.#stamp = "";
      if (error instanceof PeerListError) throw error;
      const why = error instanceof Deno.errors.NotFound ? "no such file" : (error as Error).message;
      throw new PeerListError("unreachable", `cannot be read: ${why}`);
    }
  }

  accept(): void {}

  close(): void {}
}

async function readBounded(stream: ReadableStream<Uint8Array> | null): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream ?? []) {
    length += chunk.length;
    if (length > MAX_LIST_BYTES) {
      throw new PeerListError("format", `is too long, expected ${MAX_LIST_BYTES >> 20} MB at most`);
    }
    chunks.push(chunk);
  }
  return await new Blob(chunks as Uint8Array<ArrayBuffer>[]).bytes();
}
