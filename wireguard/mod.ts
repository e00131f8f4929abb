/**
 * The WireGuard protocol as a state machine: no sockets, no clock, no randomness of its own.
 *
 * A {@link Device} is given datagrams and inner packets together with the time, and answers through
 * the {@link DeviceSink} it was made with. `pollTimeout` says when it wants to be called again.
 *
 * @example Two devices that shake hands by calling each other
 * ```ts
 * import { Device, generatePrivateKey, nobleCrypto, PlainEndpoint } from "./mod.ts";
 *
 * const random = (out: Uint8Array) => crypto.getRandomValues(out);
 * const endpoint = new PlainEndpoint(Uint8Array.of(192, 0, 2, 1), 51820);
 * const make = (other: () => Device) =>
 *   new Device({
 *     privateKey: generatePrivateKey(random),
 *     crypto: nobleCrypto,
 *     random,
 *     wallClock: Date.now,
 *     sink: {
 *       transmit: (_to, buffer, offset, length) => {
 *         other().handleDatagram(buffer.slice(offset, offset + length), 0, length, endpoint, 0);
 *         return false; // the buffer was not kept
 *       },
 *       receive: (_peer, _buffer, _offset, length) => console.log(`${length} bytes`),
 *       event: (event) => console.log(event.type),
 *     },
 *     now: 0,
 *   });
 * const a: Device = make(() => b);
 * const b: Device = make(() => a);
 * a.addPeer({ publicKey: b.publicKey, endpoint }, 0).initiate(0);
 * b.addPeer({ publicKey: a.publicKey }, 0);
 * a.handleHandshakes(0, 1); // sends the initiation
 * b.handleHandshakes(0, 1); // answers it
 * a.handleHandshakes(0, 1); // has a session, and confirms it
 * ```
 *
 * @module
 */

export * from "./protocol.ts";
export { derivePublicKey, nobleCrypto } from "./noble.ts";
