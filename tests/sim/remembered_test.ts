/** A gateway that starts again with hundreds of peers of which it knows where they were. */

import assert from "node:assert/strict";
import type { IpAddress } from "../../netstack/mod.ts";
import { encodeKey, publicKeyOf } from "../../proxy/base64.ts";
import type { UdpBind } from "../../proxy/bind/udp.ts";
import type { PeerConfig } from "../../proxy/config/config.ts";
import { endpointFile, writeEndpoints } from "../../proxy/gateway/endpoint_file.ts";
import { TunnelPeers } from "../../proxy/gateway/peers.ts";
import { GatewayRoutes } from "../../proxy/gateway/routes.ts";
import { ip } from "../netstack/packets.ts";
import { TempFolder } from "../temp_folder.ts";
import { EngineWorld } from "./engine.ts";

const COUNT = 100;
/** But for its key. */
const PEER = { allowedIps: [], persistentKeepalive: 0 } as unknown as PeerConfig;

Deno.test("remembered peers are called 32 each 50 ms, three times at most, and then have no place", () => {
  using directory = new TempFolder();
  const world = new EngineWorld(1);
  const { sim } = world;
  const gateway = world.engine({ address: "192.0.2.1", tunnel: ["10.9.0.1/24"] });
  const { device, stack, nic1 } = gateway.engine;
  const keys = Array.from({ length: COUNT }, (_, i) => publicKeyOf(new Uint8Array(32).fill(1 + i)));
  writeEndpoints(
    endpointFile(directory.path, device.publicKey),
    new Map(keys.map((key, i) => [encodeKey(key), {
      address: ip(`198.51.100.${1 + i}`),
      port: 7,
      heardAt: Date.now() - 60_000,
    }])),
  );
  const udp = {
    endpoint: (address: IpAddress, port: number) => gateway.bind.endpoint(`${address}`, port),
  } as unknown as UdpBind;
  const routes = new GatewayRoutes(stack.routes, nic1);
  const peers = new TunnelPeers(gateway.engine, udp, routes, undefined, {
    stateDirectories: [directory.path],
  });
  gateway.onEvent = (event) => {
    if (event.type === "handshake-retry") peers.handshakeUnanswered(event.peer, event.attempt);
  };
  for (const publicKey of keys) peers.add({ ...PEER, publicKey });
  gateway.engine.wake();
  const start = sim.now;
  const sentAt = (at: number) => {
    sim.runFor(start + at - sim.now);
    return device.counters.initiationsSent;
  };
  assert.deepEqual([25, 75, 125, 175].map(sentAt), [32, 64, 96, 100]);
  assert.equal(sentAt(4_900), 100);
  assert.equal(sentAt(5_600), 200);
  assert.equal(sentAt(60_000), 300);
  assert.deepEqual([...device.peers()].filter(({ endpoint }) => endpoint !== undefined), []);
  assert.equal(sentAt(600_000), 300, "and may call themselves");
  peers.close();
});
