/**
 * Handshake messages out and in: what surrounds the Noise messages (whitepaper §5.4.2, §5.4.3,
 * §5.4.7), and the session that comes of them.
 *
 * @module
 */

import { EMPTY, readI32, wipe, writeU32 } from "./bytes.ts";
import { type Context, transmit } from "./context.ts";
import { type Endpoint, maySpeak, type Sender } from "./endpoint.ts";
import { Keypair } from "./keypair.ts";
import {
  COOKIE_RECEIVER,
  INITIATION_EPHEMERAL,
  INITIATION_SIZE,
  INITIATION_TIMESTAMP,
  KEY_SIZE,
  MAC1_FROM_END,
  OFFSET_SENDER,
  OFFSET_TYPE,
  RESPONSE_EPHEMERAL,
  RESPONSE_RECEIVER,
  RESPONSE_SIZE,
  TAG_SIZE,
  TYPE_INITIATION,
  TYPE_RESPONSE,
} from "./messages.ts";
import { NoiseInitiator, NoiseResponder, type TransportKeys } from "./noise.ts";
import type { Peer } from "./peer.ts";
import { isAfter, TAI64N_SIZE } from "./tai64n.ts";

/** A peer may initiate 50 times per second. */
const INITIATION_INTERVAL_MS = 1000 / 50;

/** §5.4.2: sends the first message, unless the last is younger than REKEY_TIMEOUT. */
export function sendInitiation(context: Context<Peer>, peer: Peer, now: number): void {
  const other = peer.takeOtherEndpoint();
  const endpoint = other ?? peer.endpoint;
  if (endpoint === undefined || peer.removed) return;
  // Nothing has been tried by another path yet, so it need not wait.
  const earliest = peer.lastSentHandshake + context.settings.rekeyTimeoutMs;
  if (other === undefined && now < earliest) return;
  peer.lastSentHandshake = now;

  const message = new Uint8Array(INITIATION_SIZE);
  const ephemeral = freshKey(context);
  const noise = new NoiseInitiator(
    context.crypto.x25519,
    context.identity,
    peer.publicKey,
    ephemeral,
  );
  logKeys(context, peer, ephemeral);
  wipe(ephemeral);
  const timestamp = peer.nextTimestamp();
  if (!noise.writeInitiation(peer.staticStatic, timestamp, message, INITIATION_EPHEMERAL)) return;

  if (peer.pending !== undefined) {
    context.indices.remove(peer.pending.localIndex);
    peer.pending.noise.destroy();
  }
  const localIndex = context.indices.addHandshake(peer);
  peer.pending = { noise, localIndex, sentAt: now };
  writeU32(message, OFFSET_TYPE, TYPE_INITIATION);
  writeU32(message, OFFSET_SENDER, localIndex); // msg.sender := Iᵢ
  peer.macs.addMacs(message, INITIATION_SIZE, now);

  context.counters.initiationsSent++;
  peer.sentBytes += INITIATION_SIZE;
  peer.timers.anyAuthenticatedPacketTraversal(now);
  peer.timers.anyAuthenticatedPacketSent();
  peer.timers.handshakeInitiated(now);
  transmit(context, endpoint, message, 0, INITIATION_SIZE);
  // An initiation by another path goes to that one place.
  if (other !== undefined || peer.hasSession && !peer.isSearched) return;
  for (const replica of peer.otherEndpoints) {
    peer.sentBytes += INITIATION_SIZE;
    transmit(context, replica, message, 0, INITIATION_SIZE);
  }
}

/**
 * The first message from a peer: checked, and answered with the second.
 *
 * @returns whether it was accepted.
 */
export function handleInitiation(
  context: Context<Peer>,
  peerOf: (publicKey: Uint8Array) => Peer | undefined,
  buffer: Uint8Array,
  offset: number,
  from: Sender,
  now: number,
): boolean {
  const { counters, rejections } = context;
  const noise = new NoiseResponder(context.crypto.x25519, context.identity);
  const publicKey = noise.readStatic(buffer, offset + INITIATION_EPHEMERAL);
  if (publicKey !== undefined && !maySpeak(from, publicKey)) {
    counters.droppedOtherSpeaker++;
    rejections.report("other-speaker", from, undefined, publicKey, now);
    return false;
  }
  const peer = publicKey === undefined ? undefined : peerOf(publicKey);
  const timestamp = peer === undefined ? undefined : noise.readPayload(
    buffer,
    offset + INITIATION_TIMESTAMP,
    TAI64N_SIZE + TAG_SIZE,
    peer.staticStatic,
  );
  if (peer === undefined || timestamp === undefined) {
    counters.droppedBadInitiation++;
    const reason = publicKey === undefined
      ? "bad-initiation"
      : peer === undefined
      ? "unknown-key"
      : "forged-initiation";
    rejections.report(reason, from, peer, peer ? undefined : publicKey, now);
    return false;
  }
  if (!isAfter(timestamp, peer.lastTimestamp)) {
    counters.droppedReplayedInitiation++;
    // The same once more, at once, is a copy: sent to two addresses of this host, or by the network.
    const isCopy = !isAfter(peer.lastTimestamp, timestamp) &&
      now < peer.lastInitiation + context.settings.rekeyTimeoutMs;
    if (!isCopy) rejections.report("old-timestamp", from, peer, undefined, now);
    return false;
  }
  if (now < peer.lastInitiation + INITIATION_INTERVAL_MS) {
    counters.droppedInitiationFlood++;
    rejections.report("flood", from, peer, undefined, now);
    return false;
  }
  peer.lastInitiation = now;
  if (peer.keepsReplica(from, now)) {
    counters.droppedOtherReplica++;
    return false;
  }
  peer.lastTimestamp = timestamp;
  counters.initiationsReceived++;
  heard(peer, INITIATION_SIZE, from, now);
  const remoteIndex = readI32(buffer, offset + OFFSET_SENDER);
  sendResponse(context, peer, noise, remoteIndex, peer.endpointAt(from), now);
  return true;
}

/** §5.4.3: sends the second message and derives a session that waits for its confirmation. */
function sendResponse(
  context: Context<Peer>,
  peer: Peer,
  noise: NoiseResponder,
  remoteIndex: number,
  endpoint: Endpoint,
  now: number,
): void {
  const message = new Uint8Array(RESPONSE_SIZE);
  const ephemeral = freshKey(context);
  const written = noise.writeResponse(
    ephemeral,
    peer.presharedKey,
    EMPTY,
    message,
    RESPONSE_EPHEMERAL,
  );
  if (written) logKeys(context, peer, ephemeral);
  wipe(ephemeral);
  if (!written) return;
  const localIndex = context.indices.unused();
  peer.keypairs.addAsResponder(
    makeKeypair(context, peer, false, localIndex, remoteIndex, noise.split(), now),
  );
  writeU32(message, OFFSET_TYPE, TYPE_RESPONSE);
  writeU32(message, OFFSET_SENDER, localIndex); // msg.sender := Iᵣ
  writeU32(message, RESPONSE_RECEIVER, remoteIndex); // msg.receiver := Iᵢ
  peer.macs.addMacs(message, RESPONSE_SIZE, now);

  context.counters.responsesSent++;
  peer.sentBytes += RESPONSE_SIZE;
  peer.lastSentHandshake = now;
  peer.timers.sessionDerived(now);
  peer.timers.anyAuthenticatedPacketTraversal(now);
  peer.timers.anyAuthenticatedPacketSent();
  transmit(context, endpoint, message, 0, RESPONSE_SIZE);
  peer.answered(now);
}

/**
 * The second message: the session is ready, which the first packet under it confirms to the responder.
 *
 * @returns whether it was accepted.
 */
export function handleResponse(
  context: Context<Peer>,
  buffer: Uint8Array,
  offset: number,
  from: Sender,
  now: number,
): boolean {
  const peer = context.indices.handshake(readI32(buffer, offset + RESPONSE_RECEIVER));
  const pending = peer?.pending;
  if (peer === undefined || pending === undefined) {
    context.counters.droppedUnknownIndex++;
    return false;
  }
  if (!maySpeak(from, peer.publicKey)) {
    context.counters.droppedOtherSpeaker++;
    return false;
  }
  const length = RESPONSE_SIZE - MAC1_FROM_END - RESPONSE_EPHEMERAL;
  if (
    pending.noise.readResponse(buffer, offset + RESPONSE_EPHEMERAL, length, peer.presharedKey) ===
      undefined
  ) {
    context.counters.droppedBadResponse++;
    context.rejections.report("bad-response", from, peer, undefined, now);
    return false;
  }
  peer.pending = undefined;
  peer.handshakeMs = now - pending.sentAt;
  const remoteIndex = readI32(buffer, offset + OFFSET_SENDER);
  const keys = pending.noise.split();
  peer.keypairs.addAsInitiator(
    makeKeypair(context, peer, true, pending.localIndex, remoteIndex, keys, now),
  );
  context.counters.responsesReceived++;
  heard(peer, RESPONSE_SIZE, from, now);
  peer.paths?.handshakeAnswered(from, now);
  peer.timers.sessionDerived(now);
  peer.completeHandshake(true);
  peer.sendKeepalive(now); // or what is staged: either confirms the session to the responder
  return true;
}

/**
 * Whether a cookie reply answers a message of ours, and may wait for its turn. If not, it has been
 * counted.
 */
export function isCookieAwaited(
  context: Context<Peer>,
  buffer: Uint8Array,
  offset: number,
): boolean {
  const peer = cookieReceiver(context, buffer, offset);
  if (peer === undefined) context.counters.droppedUnknownIndex++;
  else if (!peer.macs.awaitsCookie) context.counters.droppedBadCookie++;
  else return true;
  return false;
}

/** §5.4.7. A cookie reply never tells where a peer is: its sender is not authenticated by a session. */
export function handleCookieReply(
  context: Context<Peer>,
  buffer: Uint8Array,
  offset: number,
  now: number,
): void {
  const peer = cookieReceiver(context, buffer, offset);
  if (peer === undefined) {
    context.counters.droppedUnknownIndex++;
  } else if (peer.macs.handleReply(buffer, offset, now)) {
    context.counters.cookieRepliesReceived++;
  } else {
    context.counters.droppedBadCookie++;
  }
}

/** The peer whose handshake message the reply answers. */
function cookieReceiver(
  { indices }: Context<Peer>,
  buffer: Uint8Array,
  offset: number,
): Peer | undefined {
  const index = readI32(buffer, offset + COOKIE_RECEIVER);
  return indices.handshake(index) ?? indices.keypair(index)?.peer;
}

function heard(peer: Peer, size: number, from: Sender, now: number): void {
  peer.receivedBytes += size;
  peer.heard(now);
  if (!peer.isHeardAt(from)) peer.heardElsewhere(from, true, now);
  peer.timers.anyAuthenticatedPacketReceived();
  peer.timers.anyAuthenticatedPacketTraversal(now);
}

function makeKeypair(
  context: Context<Peer>,
  peer: Peer,
  isInitiator: boolean,
  localIndex: number,
  remoteIndex: number,
  keys: TransportKeys,
  now: number,
): Keypair<Peer> {
  const { aead } = context.crypto;
  const send = aead.importKey(keys.send);
  const receive = aead.importKey(keys.receive);
  wipe(keys.send, keys.receive);
  return new Keypair(peer, isInitiator, localIndex, remoteIndex, send, receive, now);
}

function logKeys(context: Context<Peer>, peer: Peer, localEphemeralPrivate: Uint8Array): void {
  context.logKeys?.({
    localStaticPrivate: context.identity.privateKey,
    handshake: {
      remoteStaticPublic: peer.publicKey,
      localEphemeralPrivate,
      presharedKey: peer.presharedKey,
    },
  });
}

/** DH-GENERATE(), its private half. */
function freshKey({ random }: Context<Peer>): Uint8Array {
  const key = new Uint8Array(KEY_SIZE);
  random(key);
  return key;
}
