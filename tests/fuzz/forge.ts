/**
 * WireGuard messages of an attacker who knows both public keys and reads what goes over the wire: what
 * mutation of real ones finds by a rare accident only.
 *
 * @module
 */

import { XAEAD } from "../../wireguard/aead.ts";
import { HASH, writeMAC } from "../../wireguard/hash.ts";
import type { Random } from "../sim/random.ts";
import { mac1KeyOf } from "../wireguard/mac1.ts";
import type { Host } from "../wireguard/pair.ts";
import { pick } from "./mutate.ts";

/** Coordinates of points of low order: with them a shared secret is zero. */
const LOW_ORDER = ["00", "01", "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"];

/** A forged message to `to`, of a random kind, aimed at what is going on there. */
export function forge(random: Random, to: Host): Uint8Array {
  return pick(random, [initiation, response, cookieReply, data])!(random, to);
}

function initiation(random: Random, to: Host): Uint8Array {
  const bytes = random.bytes(148);
  bytes.set([1, 0, 0, 0]);
  if (random.chance(0.3)) {
    bytes.fill(0, 8, 40);
    bytes.set(Uint8Array.fromHex(pick(random, LOW_ORDER)!), 8);
  }
  return withMac1(random, to, bytes);
}

/** To a handshake that waits for one, if there is any. */
function response(random: Random, to: Host): Uint8Array {
  const bytes = random.bytes(92);
  bytes.set([2, 0, 0, 0]);
  const index = pick(random, [...to.device.peers()])?.pending?.localIndex;
  if (index !== undefined) setIndex(bytes, 8, index);
  return withMac1(random, to, bytes);
}

/** Sealed with the right key, but with another message's mac1. */
function cookieReply(random: Random, to: Host): Uint8Array {
  const bytes = random.bytes(64);
  bytes.set([3, 0, 0, 0]);
  const peer = pick(random, [...to.device.peers()]);
  if (peer === undefined) return bytes;
  const index = peer.pending?.localIndex ?? peer.keypairs.current?.localIndex;
  if (index !== undefined) setIndex(bytes, 4, index);
  const key = HASH(new TextEncoder().encode("cookie--"), peer.publicKey);
  const nonce = bytes.subarray(8, 32);
  bytes.set(XAEAD(key, nonce, random.bytes(16), random.bytes(16)), 32);
  return bytes;
}

/** Of a session that lives, with a counter that may be fresh, used, or beyond the last. */
function data(random: Random, to: Host): Uint8Array {
  const bytes = random.bytes(32 + 16 * random.below(8));
  bytes.set([4, 0, 0, 0]);
  const sessions = [...to.device.peers()].flatMap(({ keypairs }) => [
    keypairs.current,
    keypairs.previous,
    keypairs.next,
  ]).filter((keypair) => keypair !== undefined);
  const keypair = pick(random, sessions);
  if (keypair !== undefined) setIndex(bytes, 4, keypair.localIndex);
  if (random.chance(0.7)) bytes.fill(random.chance(0.2) ? 0xff : 0, 9, 16);
  return bytes;
}

function withMac1(random: Random, to: Host, bytes: Uint8Array): Uint8Array {
  const mac1 = bytes.length - 32;
  writeMAC(mac1KeyOf(to.device.publicKey), bytes, 0, mac1, bytes, mac1);
  if (random.chance(0.5)) bytes.fill(0, mac1 + 16);
  return bytes;
}

/** Of a signed number, as the table of indices has them. */
function setIndex(bytes: Uint8Array, at: number, index: number): void {
  new DataView(bytes.buffer).setInt32(at, index, true);
}
