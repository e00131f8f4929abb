/**
 * Where a list of peers is read from.
 *
 * @module
 */

import type { IpAddress } from "../../../netstack/mod.ts";
import { placeOfUrl } from "../../address.ts";
import type { PeerListConfig } from "../../config/checked.ts";
import { shownPlace } from "../../config/peer_list_values.ts";
import { VERSION } from "../../version.ts";
import { proxyFor } from "../proxy_environment.ts";
import type { Fetched } from "./fetch_at.ts";
import { MAX_LIST_BYTES, PeerListError, tooLong } from "./text.ts";

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

/** Where a host is to be called, and nowhere else; none if the system is to say. */
export type Addresses = (host: string) => readonly IpAddress[];

/** @param addresses Default: as the system resolves names. */
export function openPlace(
  { place, caPath }: PeerListConfig,
  addresses: Addresses = () => [],
): ListPlace {
  return "path" in place
    ? new FilePlace(place.path)
    : new UrlPlace(place.url, shownPlace(place), caPath, addresses);
}

/** Of a server that sends its answer in drops. */
const TIMEOUT_MS = 30_000;

class UrlPlace implements ListPlace {
  readonly isRemote = true;
  readonly name: string;
  readonly #url: URL;
  readonly #caPath: string | undefined;
  readonly #addresses: Addresses;
  #client: Deno.HttpClient | undefined;
  #etag: string | undefined;
  #nextEtag: string | undefined;
  /** Which address is tried first. */
  #turn = 0;

  constructor(url: string, name: string, caPath: string | undefined, addresses: Addresses) {
    this.#url = new URL(url);
    this.name = name;
    this.#caPath = caPath;
    this.#addresses = addresses;
  }

  async read(signal: AbortSignal): Promise<Uint8Array | undefined> {
    try {
      const { status, etag, bytes } = await this.#get(signal);
      if (status === 304 && this.#etag !== undefined) return undefined;
      if (status !== 200) {
        const what = status >= 300 && status < 400 ? ", which leads elsewhere" : "";
        throw new PeerListError(
          "unreachable",
          `answers with status ${status}${what}, expected 200`,
        );
      }
      this.#nextEtag = etag;
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

  get #headers(): Record<string, string> {
    return {
      "user-agent": `wirestack/${VERSION}`,
      ...(this.#etag !== undefined && { "if-none-match": this.#etag }),
    };
  }

  async #get(signal: AbortSignal): Promise<Fetched> {
    const addresses = this.#givenAddresses();
    if (addresses.length === 0) return await this.#fetch(signal);
    const ca = await this.#readCa();
    for (let tries = 1;; tries++) {
      const address = addresses[this.#turn % addresses.length]!;
      const limit = AbortSignal.timeout(TIMEOUT_MS / addresses.length);
      try {
        const options = { headers: this.#headers, ca, signal: AbortSignal.any([signal, limit]) };
        const { fetchAt } = await import("./fetch_at.ts");
        return await fetchAt(this.#url, address, options);
      } catch (error) {
        this.#turn++;
        const isLast = tries === addresses.length || signal.aborted;
        if (isLast || error instanceof PeerListError) throw error;
      }
    }
  }

  /** An HTTP proxy looks up names by itself. */
  #givenAddresses(): readonly IpAddress[] {
    if (this.#url.protocol !== "https:") return [];
    const { hostname, port } = placeOfUrl(this.#url, 443);
    return proxyFor(hostname, port) === undefined ? this.#addresses(hostname) : [];
  }

  async #fetch(signal: AbortSignal): Promise<Fetched> {
    // Read each time until it could be: it may come later than the gateway.
    this.#client ??= Deno.createHttpClient({
      caCerts: [await this.#readCa()].filter((ca) => ca !== undefined),
    });
    const response = await fetch(this.#url, {
      client: this.#client,
      redirect: "manual",
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
      headers: this.#headers,
    });
    const { status } = response;
    if (status !== 200) await response.body?.cancel();
    return {
      status,
      etag: response.headers.get("etag") ?? undefined,
      bytes: status === 200 ? await readBounded(response.body) : new Uint8Array(),
    };
  }

  #reason(error: Error): string {
    if (error.name === "TimeoutError") return `no answer within ${TIMEOUT_MS / 1000} s`;
    let cause = error;
    while (cause.cause instanceof Error) cause = cause.cause;
    // What stands behind `?` is not for the log, and where it is stands in front of this already.
    return cause.message.replaceAll(this.#url.href, this.name)
      .replace(`error sending request for url (${this.name}): `, "");
  }

  async #readCa(): Promise<string | undefined> {
    if (this.#caPath === undefined) return undefined;
    try {
      return await Deno.readTextFile(this.#caPath);
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
      throw tooLong();
    }
    chunks.push(chunk);
  }
  return await new Blob(chunks as Uint8Array<ArrayBuffer>[]).bytes();
}
