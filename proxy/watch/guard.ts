/**
 * Who may ask: requests for a name that is not this gateway's, as a web page has a browser make them
 * (DNS rebinding), and those without the token are refused.
 *
 * @module
 */

import { createHash, timingSafeEqual } from "node:crypto";
import { parseIpAddress } from "../address.ts";

/** A request's head, as far as it matters. */
export interface RequestHead {
  readonly host: string | undefined;
  readonly authorization: string | undefined;
}

export type GuardRefusal = 401 | 421;

export class Guard {
  #hosts: ReadonlySet<string> = new Set();
  #digest: Uint8Array | undefined;
  readonly #isEqual: (a: Uint8Array, b: Uint8Array) => boolean;

  /** @param isEqual Takes as long whatever is in the two, which are equally long. */
  constructor(isEqual: (a: Uint8Array, b: Uint8Array) => boolean = timingSafeEqual) {
    this.#isEqual = isEqual;
  }

  /** @param allowedHosts In lower case. */
  setHosts(allowedHosts: readonly string[]): void {
    this.#hosts = new Set(allowedHosts);
  }

  /** @param token Undefined: nobody is asked for one. */
  setToken(token: string | undefined): void {
    this.#digest = token === undefined ? undefined : digestOf(token);
  }

  /** @returns the status of the answer, if it is a refusal. */
  check({ host, authorization }: RequestHead): GuardRefusal | undefined {
    if (host === undefined || !this.#isOurs(host)) return 421; // RFC 9110 §15.5.20
    if (this.#digest === undefined) return undefined;
    const given = /^Bearer +([^\s]+) *$/i.exec(authorization ?? "")?.[1] ?? "";
    // Of digests, which are equally long: how much of a token is right cannot be told by the time.
    return this.#isEqual(digestOf(given), this.#digest) ? undefined : 401;
  }

  #isOurs(host: string): boolean {
    const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::\d{1,5})?$/.exec(host);
    if (match === null) return false;
    const [, bracketed, plain] = match;
    if (bracketed !== undefined) return parseIpAddress(bracketed)?.version === 6;
    const name = plain!.toLowerCase().replace(/\.$/, "");
    return name === "localhost" || this.#hosts.has(name) || parseIpAddress(name)?.version === 4;
  }
}

function digestOf(token: string): Uint8Array {
  return createHash("sha256").update(token).digest();
}
