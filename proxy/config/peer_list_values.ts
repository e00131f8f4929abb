/**
 * The values of `PeersFrom` and its like.
 *
 * @module
 */

import { parseIpAddress } from "../address.ts";
import type { PeerListPlace } from "./checked.ts";
import { ParseFailure, quote } from "./values.ts";

/**
 * `https://…`, `http://` of this host, or a path. A list is signed, so nobody on the way can change it;
 * but it says who is whose peer and where, which is not for everybody to read.
 */
export function parsePeersFrom(text: string): PeerListPlace | ParseFailure {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined) {
    // deno-lint-ignore no-control-regex
    return /^-?$|[\0-\x1f]/.test(text)
      ? new ParseFailure("is not a file, expected https://… or a path")
      : { path: text };
  }
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return new ParseFailure(`${quote(text)} is no URL, expected https://… or a path`);
  }
  if (url.username !== "" || url.password !== "") {
    return new ParseFailure("names a user, expected https://… without");
  }
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const isOwn = host === "localhost" || parseIpAddress(host)?.isLoopback === true;
  if (scheme === "https" || scheme === "http" && isOwn) return { url: url.href };
  return new ParseFailure(
    scheme === "http"
      ? `${quote(text)} can be read on the way, expected https://…, or http:// of this host`
      : `${quote(text)} is neither, expected https://… or a path`,
  );
}

/** As it is shown: what stands behind `?` may be a password. */
export function shownPlace(place: PeerListPlace): string {
  return "path" in place ? place.path : place.url.replace(/[?#].*$/, "");
}
