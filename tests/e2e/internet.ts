/**
 * An internet, and behind its links a client, a hub and two NATs, each with an agent and a target:
 *
 *     client ─┐             ┌─ nat1 ── agent1 ── target 1
 *             ├─ internet ──┤
 *        hub ─┘             └─ nat2 ── agent2 ── target 2
 *
 * The NATs let in nothing that nobody inside has asked for.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import type { Host, Lab } from "./lab.ts";

export const HUB_PORT = 51820;
/** Of the internet's links: it has .1, the host behind it .2. */
const LINKS = { client: "198.51.100", hub: "203.0.113", nat1: "192.0.2", nat2: "198.18.7" };
export const HUB = `${LINKS.hub}.2`;
/** Of both targets. */
const TARGET = ["192.168.1.5", "fd01:168:1::5"] as const;

export interface Internet {
  readonly internet: Host;
  readonly client: Host;
  readonly hub: Host;
  readonly nats: readonly [Host, Host];
}

/** Without what is behind the NATs, which {@link behindNat} makes. */
export async function startInternet(lab: Lab): Promise<Internet> {
  const [client, internet, hub] = [
    await lab.host("client"),
    await lab.host("internet"),
    await lab.host("hub"),
  ];
  const nats = [await lab.host("nat1"), await lab.host("nat2")] as const;
  const attached = { client, hub, nat1: nats[0], nat2: nats[1] };
  for (const name of ["client", "hub", "nat1", "nat2"] as const) {
    const host = attached[name];
    await lab.connect(
      { host, device: "wan", addresses: [`${LINKS[name]}.2/24`] },
      { host: internet, device: name, addresses: [`${LINKS[name]}.1/24`] },
    );
    await host.ip(`route add default via ${LINKS[name]}.1`);
  }
  await internet.sysctl("net.ipv4.ip_forward=1");
  return { internet, client, hub, nats };
}

/** A NAT, an agent behind it, and a target behind that. @returns the agent's host. */
export async function behindNat(lab: Lab, nat: Host, number: number): Promise<Host> {
  const agent = await lab.host(`agent${number}`);
  const target = await lab.host(`target${number}`);
  await lab.connect(
    { host: agent, device: "wan", addresses: ["10.77.0.2/24"] },
    { host: nat, device: "lan", addresses: ["10.77.0.1/24"] },
  );
  await lab.connect(
    {
      host: target,
      device: "lan",
      addresses: TARGET.map((address) => `${address}/${bits(address)}`),
    },
    {
      host: agent,
      device: "lan",
      addresses: ["192.168.1.1/24", "fd01:168:1::1/64"],
    },
  );
  await agent.ip("route add default via 10.77.0.1");
  // Pings of an ordinary user are a matter of the group.
  await agent.sysctl("net.ipv4.ping_group_range=0 2147483647");
  await nat.sysctl("net.ipv4.ip_forward=1");
  await nat.output(["nft", "-f", "-"], {
    input: `table ip nat {
      chain post { type nat hook postrouting priority 100; oifname "wan" masquerade; }
      chain forward { type filter hook forward priority 0; policy drop;
        iifname "lan" accept; ct state established,related accept; }
      chain input { type filter hook input priority 0; policy drop; iifname "lan" accept; }
    }\n`,
  });
  const services = target.spawn("services", [
    Deno.execPath(),
    ...["run", "--no-lock", "--allow-net", "--allow-read", "--unstable-net"],
    fileURLToPath(new URL("./redirect_services.ts", import.meta.url)),
    `target ${number}`,
    ...TARGET,
  ]);
  await services.line(/ready/);
  return agent;
}

function bits(address: string): number {
  return address.includes(":") ? 64 : 24;
}

/** What a target says its name is, or undefined if it cannot be reached. */
export async function nameAt(
  from: Host,
  address: string,
  { port = 80, seconds = 30 } = {},
): Promise<string | undefined> {
  const host = address.includes(":") ? `[${address}]` : address;
  const { code, stdout } = await from.run(
    ["curl", "--silent", "--max-time", `${seconds}`, `http://${host}:${port}/name`],
  );
  return code === 0 ? stdout : undefined;
}
