/**
 * `show`: what runs, as `wg show` says it, with the gateway's own figures.
 *
 * @module
 */

import { type ControlAnswer, type ControlClient, ControlError } from "../control/client.ts";
import { encodeKey, publicKeyOf } from "../base64.ts";
import type { PeerStats } from "../gateway/gateway.ts";
import { findGateway, placesOf, runningGateways, statsOf } from "./gateways.ts";
import { leftBehind } from "./left_behind.ts";
import { formatGateway } from "./show_format.ts";
import type { ShownGateway, ShownPeer } from "./shown.ts";
import type { Terminal } from "./terminal.ts";

/** @returns the exit status. @throws {ControlError} if there is no such gateway. */
export async function show(
  target: string | undefined,
  options: { readonly controlDir?: string; readonly json?: boolean },
  terminal: Terminal,
): Promise<number> {
  const { controlDir, json } = options;
  if (target !== undefined) {
    let shown: ShownGateway;
    try {
      shown = await ask(await findGateway(target, controlDir));
    } catch (error) {
      sayLeft(leftBehind(target), terminal);
      throw error;
    }
    terminal.out(json ? toJson(shown) : formatGateway(shown, Date.now()));
    return 0;
  }
  const clients = await runningGateways(controlDir);
  sayLeft(leftBehind(), terminal);
  let status = 0;
  if (clients.length === 0) {
    terminal.error(`wirestack: no gateway runs (nobody listens in ${placesOf(controlDir)})\n`);
    status = 1;
  }
  const all: ShownGateway[] = [];
  for (const client of clients) {
    try {
      all.push(await ask(client));
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      terminal.error(`wirestack: ${error.message}\n`);
      status = 1;
    }
  }
  if (json) terminal.out(toJson(all));
  else terminal.out(all.map((shown) => formatGateway(shown, Date.now())).join("\n"));
  return status;
}

function sayLeft(lines: readonly string[], terminal: Terminal): void {
  for (const line of lines) terminal.error(`wirestack: ${line}\n`);
}

async function ask(client: ControlClient): Promise<ShownGateway> {
  const answer = await client.ask("get=1");
  if (answer === undefined || answer.errno !== 0) {
    throw new ControlError(`${client.name}: no answer to get=1`);
  }
  const gateway = await statsOf(client) ?? null;
  const known = new Map(gateway?.peers.map((peer) => [peer.publicKey, peer]));
  return { ...shownInterface(client.name, answer, known), gateway };
}

/** An answer to `get=1`, sorted as by `wg`: who has shaken hands last comes first. */
export function shownInterface(
  name: string,
  { pairs }: ControlAnswer,
  known: ReadonlyMap<string, KnownPeer>,
) {
  const first = pairs.findIndex(([key]) => key === "public_key");
  const device = new Map(first < 0 ? pairs : pairs.slice(0, first));
  const privateKey = device.get("private_key");
  const sections: (readonly [string, string])[][] = [];
  for (const pair of first < 0 ? [] : pairs.slice(first)) {
    if (pair[0] === "public_key") sections.push([]);
    sections.at(-1)!.push(pair);
  }
  return {
    name,
    publicKey: privateKey ? encodeKey(publicKeyOf(Uint8Array.fromHex(privateKey))) : null,
    privateKey: privateKey ? "(hidden)" as const : null,
    listenPort: Number(device.get("listen_port") ?? 0),
    fwMark: Number(device.get("fwmark") ?? 0),
    peers: sections.map((pairs) => shownPeer(pairs, known)).sort((a, b) =>
      b.latestHandshake - a.latestHandshake
    ),
  };
}

/** What a gateway says itself of a peer; one of before an upgrade does not say all of it. */
type KnownPeer =
  & Pick<PeerStats, "name" | "origin">
  & Partial<
    Pick<
      PeerStats,
      "endpoint" | "transport" | "transportSince" | "transportSwitches" | "carriers"
    >
  >;

/** By UDP and never by anything else there is nothing to say. */
function transportOf(known: KnownPeer | undefined): ShownPeer["transport"] {
  if (known?.transport == null || known.transport === "udp" && !known.transportSwitches) {
    return null;
  }
  const { transport: name, endpoint = null, transportSince = 0, transportSwitches = 0 } = known;
  return { name, endpoint, since: Math.floor(transportSince / 1000), switches: transportSwitches };
}

function shownPeer(
  pairs: readonly (readonly [string, string])[],
  known: ReadonlyMap<string, KnownPeer>,
): ShownPeer {
  const values = new Map(pairs);
  const number = (key: string) => Number(values.get(key) ?? 0);
  const publicKey = encodeKey(Uint8Array.fromHex(values.get("public_key")!));
  return {
    publicKey,
    name: known.get(publicKey)?.name ?? null,
    // A gateway of before an upgrade says nothing of it.
    origin: known.get(publicKey)?.origin ?? null,
    presharedKey: /[^0]/.test(values.get("preshared_key") ?? "") ? "(hidden)" : null,
    endpoint: values.get("endpoint") ?? null,
    transport: transportOf(known.get(publicKey)),
    carriers: known.get(publicKey)?.carriers ?? [],
    allowedIps: pairs.filter(([key]) => key === "allowed_ip").map(([, value]) => value),
    latestHandshake: number("last_handshake_time_sec"),
    receivedBytes: number("rx_bytes"),
    sentBytes: number("tx_bytes"),
    persistentKeepalive: number("persistent_keepalive_interval"),
  };
}

function toJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
