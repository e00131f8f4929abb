/** Ten thousand peers: what an idle one costs, and what does not grow with their number. */

import assert from "node:assert/strict";
import { type Crypto, nobleCrypto, type Peer } from "../../wireguard/mod.ts";
import { endpoint, Host, host, Network, seededRandom } from "./pair.ts";

const PEERS = 10_000;

/** Counts Diffie-Hellmans. */
function counting(): { crypto: Crypto; count: () => number } {
  let count = 0;
  const { x25519, aead } = nobleCrypto;
  const sharedSecret = (privateKey: Uint8Array, publicKey: Uint8Array) => {
    count++;
    return x25519.sharedSecret(privateKey, publicKey);
  };
  return {
    count: () => count,
    crypto: { aead, x25519: { publicKey: x25519.publicKey, sharedSecret } },
  };
}

function addPeers(hub: Host, last: Host): Peer {
  const random = seededRandom(7);
  for (let i = 0; i < PEERS - 1; i++) {
    const publicKey = new Uint8Array(32);
    random(publicKey);
    hub.device.addPeer({
      publicKey,
      allowedIps: [
        { address: Uint8Array.of(10, 1, i >> 8, i), length: 32 },
        { address: Uint8Array.of(0xfd, ...new Array(13).fill(0), i >> 8, i), length: 128 },
      ],
      endpoint: endpoint("198.51.100.1", 1 + i),
    }, 0);
  }
  return hub.device.addPeer({ publicKey: last.device.publicKey, allowedIps: [host(1)] }, 0);
}

Deno.test("10,000 idle peers: no Diffie-Hellman, no timer, no index, no datagram", () => {
  const { crypto, count } = counting();
  const hub = new Host(1, endpoint("192.0.2.1", 1), { crypto });
  const last = new Host(2, endpoint("192.0.2.2", 2));
  addPeers(hub, last);
  assert.equal([...hub.device.peers()].length, PEERS);
  assert.equal(count(), 0, "static-static is computed on first use");
  assert.equal(hub.device.pollTimeout(), Infinity);
  hub.now = 3_600_000;
  hub.device.handleTimeout(hub.now);
  assert.equal(hub.device.handleHandshakes(hub.now, 100), false);
  assert.deepEqual(hub.sent, []);
});

Deno.test("one of 10,000 peers shakes hands and talks as if it were alone", () => {
  const { crypto, count } = counting();
  const hub = new Host(1, endpoint("192.0.2.1", 1), { crypto });
  const last = new Host(2, endpoint("192.0.2.2", 2));
  const peer = addPeers(hub, last);
  last.device.addPeer({
    publicKey: hub.device.publicKey,
    allowedIps: [{ address: new Uint8Array(4), length: 0 }],
    endpoint: hub.address,
  }, 0).initiate(0);
  new Network([hub, last]).settle();
  assert(peer.hasSession);
  assert.equal(count(), 4, "es, ss, ee, se, and nothing for the others");
});

Deno.test("10,000 persistent keepalives due at once are worked off in turns", () => {
  const hub = new Host(1, endpoint("192.0.2.1", 1));
  addPeers(hub, new Host(2, endpoint("192.0.2.2", 2)));
  for (const peer of hub.device.peers()) peer.setPersistentKeepalive(25, 0);
  // Without an answer each is an initiation in turn; the budget of a turn bounds the work.
  hub.device.handleTimeout(0);
  assert.equal(hub.device.handleHandshakes(0, 16), true, "work is left");
  assert.equal(hub.sentOfType(1).length, 16);
  assert.equal(hub.device.pollTimeout(), 0, "and the next turn is asked for");
});
