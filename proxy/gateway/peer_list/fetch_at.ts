/**
 * A GET of HTTPS at a given address, for a name that may not be looked up: where name servers are behind the
 * tunnel, and that is dead. `fetch` takes no address.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { get } from "node:https";
import type { IpAddress } from "../../../netstack/mod.ts";
import { placeOfUrl } from "../../address.ts";
import { MAX_LIST_BYTES, tooLong } from "./text.ts";

export interface FetchAtOptions {
  readonly headers: Readonly<Record<string, string>>;
  /** PEM of an authority, in place of the well-known ones: those may only be read with a permission. */
  readonly ca: string | undefined;
  readonly signal: AbortSignal;
}

export interface Fetched {
  readonly status: number;
  readonly etag: string | undefined;
  /** Of an answer with status 200. */
  readonly bytes: Uint8Array;
}

/**
 * The certificate is to be of the URL's host. Nothing else is followed.
 *
 * @throws {PeerListError} if the answer is too long.
 * @throws {Error} of the connection, or the signal's reason.
 */
export function fetchAt(
  url: URL,
  address: IpAddress,
  { headers, ca, signal }: FetchAtOptions,
): Promise<Fetched> {
  const { promise, resolve, reject } = Promise.withResolvers<Fetched>();
  const { hostname, port } = placeOfUrl(url, 443);
  const request = get({
    host: `${address}`,
    port,
    path: `${url.pathname}${url.search}`,
    servername: hostname,
    headers: { ...headers, host: url.host },
    ...(ca !== undefined && { ca }),
    agent: false,
  }, (response) => {
    const status = response.statusCode ?? 0;
    const { etag } = response.headers;
    const chunks: Uint8Array[] = [];
    let length = 0;
    const end = () => resolve({ status, etag, bytes: Buffer.concat(chunks) });
    response.on("error", reject);
    response.on("end", end);
    response.on("data", (chunk: Uint8Array) => {
      length += chunk.length;
      chunks.push(chunk);
      if (length > MAX_LIST_BYTES) request.destroy(tooLong());
    });
    if (status !== 200) {
      end();
      request.destroy();
    }
  });
  request.on("error", reject);
  const abort = () => {
    reject(signal.reason);
    request.destroy();
  };
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  return promise.finally(() => signal.removeEventListener("abort", abort));
}
