/**
 * A gateway with an echo behind it, and clients, in simulated time.
 *
 * @module
 */

import { ip } from "../netstack/packets.ts";
import { echoBehind, EchoClient } from "./applications.ts";
import { EngineWorld, type SimEngine, type SimEngineOptions } from "./engine.ts";
import type { Impairments } from "./network.ts";

export const ROUGH: Impairments = {
  delay: 15,
  jitter: 4,
  loss: 0.02,
  reorder: 0.03,
  reorderBy: 4,
  duplicate: 0.02,
};

export const SITE = ip("10.50.0.1");
export const PORT = 80;

/** A gateway with an echo behind it, and clients; their addresses end in 2, 3 … */
export function site(
  seed: number,
  clients: readonly Partial<SimEngineOptions>[],
  gatewayOptions: Partial<SimEngineOptions> = {},
) {
  const world = new EngineWorld(seed);
  const gateway = world.engine({
    address: "192.0.2.1",
    tunnel: ["10.9.0.1/24", "fd09::1/64"],
    ...gatewayOptions,
  });
  echoBehind(gateway.engine.stack, gateway.proxy("10.50.0.0/16", "fd50::/64"));
  const others = clients.map((options, i) => {
    const client = world.engine({
      address: `198.51.100.${i + 2}`,
      tunnel: [`10.9.0.${i + 2}/24`, `fd09::${i + 2}/64`],
      ...options,
    });
    world.connect(client, gateway, { behind: ["10.50.0.0/16", "fd50::/64"] });
    return client;
  });
  return { world, sim: world.sim, gateway, clients: others };
}

export function transfer(from: SimEngine, bytes: number, seed: number, remote = SITE): EchoClient {
  return new EchoClient(from.connectTcp(remote, PORT), bytes, seed);
}

export const isRight = (transfers: readonly EchoClient[]) =>
  transfers.every(({ isRight }) => isRight);
export const hasEnded = (transfers: readonly EchoClient[]) =>
  transfers.every(({ hasEnded }) => hasEnded);
export const errors = (transfers: readonly EchoClient[]) => transfers.map(({ error }) => error);
