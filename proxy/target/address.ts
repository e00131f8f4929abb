/**
 * Targets' UDP addresses, in the forms that sockets take and that senders are told apart by.
 *
 * @module
 */

import { AF_INET, type Destination, SOCKADDR_IN_SIZE, writeSockaddr } from "../../ffi/mod.ts";
import type { IpAddress, IpVersion } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";

/** Of Linux's struct sockaddr_in6, in 32-bit words; a struct sockaddr_in has four. */
const WORDS = 7;

/** An address and port to send to. */
export class TargetAddress implements Destination {
  readonly version: IpVersion;
  readonly netAddr: Deno.NetAddr;
  readonly sockaddr: Uint8Array<ArrayBuffer>;
  /** See {@link hashOf}. */
  readonly hash: number;
  segmentLimit = Infinity;
  /** The socket address, for {@link isAt} of another. */
  readonly words = new Int32Array(WORDS);

  constructor(ip: IpAddress, port: number) {
    this.version = ip.version;
    this.netAddr = { transport: "udp", hostname: ip.toString(), port };
    const bytes = new Uint8Array(this.words.buffer);
    writeSockaddr(bytes, ip.bytes, port);
    this.sockaddr = ip.version === 4 ? bytes.subarray(0, SOCKADDR_IN_SIZE) : bytes;
    this.hash = hashOf(this.words, 0);
  }

  /** Whether the socket address at `at` is this one. */
  isAt(words: Int32Array, at: number): boolean {
    const own = this.words;
    if (words[at] !== own[0]) return false;
    if (this.version === 4) return words[at + 1] === own[1];
    return words[at + 2] === own[2] && words[at + 3] === own[3] && words[at + 4] === own[4] &&
      words[at + 5] === own[5];
  }

  equals(other: TargetAddress): boolean {
    return this.isAt(other.words, 0);
  }
}

/** Of family, port and address of the socket address at `at`. */
export function hashOf(words: Int32Array, at: number): number {
  const family = words[at]! & 0xffff;
  let hash = mix(0, words[at]!);
  if (family === AF_INET) return mix(hash, words[at + 1]!);
  for (let i = 2; i < 6; i++) hash = mix(hash, words[at + i]!);
  return hash;
}

/** The sender of a datagram that Deno has received, as a socket address. */
export class SenderAddress {
  readonly words = new Int32Array(WORDS);
  #last: Deno.NetAddr | undefined;

  set(sender: Deno.NetAddr): void {
    const last = this.#last;
    if (last !== undefined && last.port === sender.port && last.hostname === sender.hostname) {
      return;
    }
    this.#last = sender;
    const ip = parseIpAddress(sender.hostname.replace(/%.*/, ""));
    if (ip === undefined) this.words.fill(0); // of no target
    else writeSockaddr(new Uint8Array(this.words.buffer), ip.bytes, sender.port);
  }
}

/** Not for strangers' eyes: a client that finds collisions slows its own session. */
function mix(hash: number, word: number): number {
  hash = Math.imul(hash ^ word, 0x9e3779b1);
  return hash ^ hash >>> 15;
}
