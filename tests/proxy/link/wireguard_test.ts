/** The link of NIC 1: whose a slot is, packet for packet. */

import assert from "node:assert/strict";
import { TransmitPool } from "../../../proxy/arena/transmit_pool.ts";
import { WireguardLink } from "../../../proxy/link/wireguard.ts";
import {
  Device,
  type DeviceSink,
  generatePrivateKey,
  nobleCrypto,
} from "../../../wireguard/mod.ts";
import { endpoint, host, ipv4Packet, seededRandom } from "../../wireguard/pair.ts";

/** Two devices with a session; `kept` are the offsets that the first one's sink has taken. */
function lab(takes: () => boolean) {
  const pool = new TransmitPool(1420);
  const kept: number[] = [];
  const address = endpoint("192.0.2.2", 2);
  const make = (seed: number, transmit: DeviceSink["transmit"]) =>
    new Device({
      privateKey: generatePrivateKey(seededRandom(seed)),
      crypto: nobleCrypto,
      random: seededRandom(seed),
      wallClock: () => 1_700_000_000_000,
      sink: { transmit, receive() {} },
      now: 0,
    });
  const other = (device: () => Device): DeviceSink["transmit"] => (_to, buffer, offset, length) => {
    device().handleDatagram(buffer.slice(offset, offset + length), 0, length, address, 0);
    return false;
  };
  const carry = other(() => b);
  const a: Device = make(1, (to, buffer, offset, length, mayTake) => {
    carry(to, buffer, offset, length, mayTake);
    if (!mayTake || !takes()) return false;
    kept.push(offset);
    return true;
  });
  const b: Device = make(2, other(() => a));
  const peer = a.addPeer({
    publicKey: b.publicKey,
    allowedIps: [host(2)],
    endpoint: address,
  }, 0);
  b.addPeer({ publicKey: a.publicKey, allowedIps: [host(1)] }, 0);
  const link = new WireguardLink(pool, a);
  const send = (destination: string) => {
    const at = link.allocate();
    const packet = ipv4Packet("10.0.0.1", destination, 100);
    pool.buffer.set(packet, at);
    link.transmit(pool.buffer, at, packet.length, 0);
  };
  const forward = (destination: string) =>
    link.forward(ipv4Packet("10.0.0.1", destination, 100), 0, 100, 0);
  const connect = () => {
    peer.initiate(0);
    for (const device of [a, b, a]) device.handleHandshakes(0, 1);
    assert.equal(peer.hasSession, true);
  };
  return { pool, kept, send, forward, connect, peer, link };
}

Deno.test("a slot comes back at once unless the bind has taken it", () => {
  let takes = true;
  const { pool, kept, send, forward, connect, peer, link } = lab(() => takes);
  const used = () => pool.slots - pool.free;
  send("10.0.0.3");
  send("10.0.0.2");
  assert.equal(peer.stagedPackets, 1);
  assert.equal(forward("10.0.0.3"), false, "nobody has that address");
  assert.equal(forward("10.0.0.2"), true, "staged");
  peer.setEndpoint(undefined);
  send("10.0.0.2");
  assert.equal(forward("10.0.0.2"), false, "nobody knows where the peer is");
  peer.setEndpoint(endpoint("192.0.2.2", 2));
  assert.equal(used(), 0);
  connect();
  assert.deepEqual(kept, [], "what was staged left by a buffer of the peer's own");
  for (let i = 0; i < 5; i++) send("10.0.0.2");
  assert.equal(forward("10.0.0.2"), true);
  assert.equal(used(), 6);
  takes = false; // a bind that is closed
  send("10.0.0.2");
  assert.equal(forward("10.0.0.2"), true);
  assert.equal(used(), 6);
  while (pool.take() >= 0);
  assert.equal(forward("10.0.0.2"), true, "lost");
  assert.equal(link.noSlot, 1);
});
