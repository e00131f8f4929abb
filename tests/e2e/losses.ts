/**
 * Where packets can get lost between a client and a target, as the kernels of the hosts and the
 * gateway count it.
 *
 * @module
 */

import type { Stats } from "./gateway.ts";
import type { Host } from "./lab.ts";
import { LISTEN_PORT, type Site } from "./site.ts";

/** Lost packets by where and why; what is zero is left out. */
export type Losses = Readonly<Record<string, number>>;

/** By the gateway itself since it was started, for the reasons that it counts. */
export async function lossesOfGateway({ gateway }: Site): Promise<Losses> {
  return nonZero(lossCounters((await gateway.stats()).counters as Stats));
}

/** Datagrams that the gateway did not read in time. */
export interface Overflows {
  /** Of its socket towards its peers. */
  readonly tunnel: number;
  /** Of its sockets towards targets, one for each session that is alive. */
  readonly targets: number;
}

export async function overflowsOfGateway({ gatewayHost }: Site): Promise<Overflows> {
  const text = await gatewayHost.output(["cat", "/proc/net/udp", "/proc/net/udp6"]);
  const overflows = { tunnel: 0, targets: 0 };
  for (const [, port, drops] of text.matchAll(/^ *\d+: [0-9A-F]+:([0-9A-F]{4}) .* (\d+) *$/gm)) {
    overflows[parseInt(port!, 16) === LISTEN_PORT ? "tunnel" : "targets"] += Number(drops);
  }
  return overflows;
}

/** Of everybody else: the peer's sockets and device, the target's sockets. */
export async function lossesElsewhere({ client, target, wireguard }: Site): Promise<Losses> {
  const link = JSON.parse(
    await client.output(["ip", "-json", "-stats", "link", "show", wireguard.device]),
  );
  const { rx, tx } = link[0].stats64;
  return nonZero({
    "client device received": rx.dropped + rx.errors,
    "client device sent": tx.dropped + tx.errors,
    ...prefixed("client", await socketLosses(client)),
    ...prefixed("target", await socketLosses(target)),
  });
}

/** Of two readings. */
export function since(before: Losses, after: Losses): Losses {
  return nonZero(
    Object.fromEntries(
      Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)]),
    ),
  );
}

/** Counters that say of their name that a packet went no further. */
const IS_LOSS = /^(?:dropped|no[A-Z]|bad[A-Z]|malformed|too|evicted|filtered|.*Errors$)/;

function lossCounters(counters: Stats): Record<string, number> {
  return Object.fromEntries(
    Object.entries(counters).flatMap(([where, group]) =>
      Object.entries(group as Stats)
        .filter(([name]) => IS_LOSS.test(name))
        .map(([name, count]) => [`${where}.${name}`, Number(count)])
    ),
  );
}

/** What did not fit into a socket's buffer, and what had a bad checksum. */
async function socketLosses(host: Host): Promise<Record<string, number>> {
  const lines = (await host.output(["cat", "/proc/net/snmp"])).split("\n")
    .filter((line) => line.startsWith("Udp:")).map((line) => line.split(" "));
  const counts = Object.fromEntries(lines[0]!.map((name, i) => [name, Number(lines[1]![i])]));
  const six = await host.output(["cat", "/proc/net/snmp6"]);
  const count6 = (name: string) => Number(six.match(new RegExp(`^${name}\\s+(\\d+)`, "m"))![1]);
  const names = ["RcvbufErrors", "SndbufErrors", "InCsumErrors"];
  return Object.fromEntries(
    names.map((name) => [`socket ${name}`, counts[name]! + count6(`Udp6${name}`)]),
  );
}

function prefixed(prefix: string, losses: Losses): Losses {
  return Object.fromEntries(
    Object.entries(losses).map(([name, count]) => [`${prefix} ${name}`, count]),
  );
}

function nonZero(losses: Losses): Losses {
  return Object.fromEntries(Object.entries(losses).filter(([, count]) => count !== 0));
}
