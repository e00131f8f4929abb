/**
 * Targets' UDP addresses, in the forms that sockets take and that senders are told apart by.
 *
 * @module
 */

import {
  AF_INET,
  AF_INET6,
  type Destination,
  SOCKADDR_IN_SIZE,
  writeSockaddr,
} from "../../ffi/mod.ts";
import { IpAddress, type IpVersion } from "../../netstack/mod.ts";
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
    return words[at] === this.words[0] && this.hasAddress(words, at);
  }

  /** Whether the socket address at `at` is this one, but for the port. */
  hasAddress(words: Int32Array, at: number): boolean {
    const own = this.words;
    if (((words[at]! ^ own[0]!) & 0xffff) !== 0) return false;
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

/** The IP address of the socket address at `at`. @returns undefined if there is none. */
export function ipAt(words: Int32Array, at: number): IpAddress | undefined {
  const family = words[at]! & 0xffff;
  const bytes = new Uint8Array(words.buffer, words.byteOffset + 4 * at, 4 * WORDS);
  if (family === AF_INET) return new IpAddress(bytes.slice(4, 8));
  return family === AF_INET6 ? new IpAddress(bytes.slice(8, 24)) : undefined;
}

/** The port of the socket address at `at`, which holds it in network order. */
export function portAt(words: Int32Array, at: number): number {
  const word = words[at]!;
  return (word >>> 8 & 0xff00) | word >>> 24;
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

/** Not keyed: a client that finds collisions slows only its own session. */
function mix(hash: number, word: number): number {
  hash = Math.imul(hash ^ word, 0x9e3779b1);
  return hash ^ hash >>> 15;
}
