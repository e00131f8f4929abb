import assert from "node:assert/strict";
import {
  encodeKey,
  generatePresharedKey,
  generatePrivateKey,
  publicKeyOf,
} from "../../proxy/base64.ts";
import { Lab, labTest } from "./lab.ts";
import { keyPair, WireguardGo } from "./wireguard_go.ts";
import type { Plan, PlannedPeer } from "./wireguard_keys.ts";

const PEERS = 1000;
const PORT = 51820;
const OWN_PORT = 51821;
const ADDRESS = "10.77.0.1";

labTest(
  "wireguard-go: a thousand random keys, as either side, with a preshared key and without",
  async () => {
    await using lab = await Lab.create();
    const host = await lab.host("keys");
    const { privateKey, publicKey } = await keyPair();
    const peers = Array.from({ length: PEERS }, (_, i): PlannedPeer => ({
      privateKey: encodeKey(generatePrivateKey()),
      ...((i & 1) !== 0 && { presharedKey: encodeKey(generatePresharedKey()) }),
      isInitiator: (i & 2) !== 0,
      crypto: (i & 4) !== 0 ? "node" : "noble",
      address: `10.77.${1 + (i >> 7)}.${1 + (i & 127)}`,
    }));
    await WireguardGo.start(host, {
      privateKey,
      addresses: [`${ADDRESS}/16`],
      listenPort: PORT,
      peers: peers.map((peer) => ({
        publicKey: encodeKey(publicKeyOf(Uint8Array.fromBase64(peer.privateKey))),
        ...(peer.presharedKey && { presharedKey: peer.presharedKey }),
        allowedIps: [`${peer.address}/32`],
        endpoint: `127.0.0.1:${OWN_PORT}`,
      })),
    });
    const plan: Plan = { publicKey, port: PORT, address: ADDRESS, ownPort: OWN_PORT, peers };
    const script = new URL("./wireguard_keys.ts", import.meta.url).pathname;
    const output = await host.output(
      [Deno.execPath(), "run", "--no-prompt", "--allow-net", script],
      { input: JSON.stringify(plan), timeoutMs: 300_000 },
    );
    const { failed, responses, initiations } = JSON.parse(output);
    assert.deepEqual(failed, []);
    assert.ok(responses >= PEERS / 2, `${responses} responses of wireguard-go`);
    assert.ok(initiations >= PEERS / 2, `${initiations} initiations of wireguard-go`);
  },
);
