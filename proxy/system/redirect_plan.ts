/**
 * From what is to be redirected, and what the kernel says of this host, to the steps that do it.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import { SystemTunnelError } from "./error.ts";
import type { HostView } from "./plan.ts";
import { freeTable, lowestPriority } from "./routing.ts";
import { redirectScript, redirectTable } from "./redirect_script.ts";
import type { RuleAction, Step } from "./step.ts";

export interface RedirectSettings {
  /** Tells this redirect from others of the host. */
  readonly name: string;
  readonly cidrs: readonly Prefix[];
  /** Not redirected, though they are in those. */
  readonly exempt: readonly Prefix[];
  readonly port: number;
  /** Of WireGuard's datagrams, if it is configured. */
  readonly fwMark?: number;
}

/** Marks and tables, for a redirect. */
export interface RedirectMarks {
  /** Of all that this process sends outside, and to programs. */
  readonly mark: number;
  /** Of datagrams to be redirected, and the table that they are looked up in. */
  readonly captured: number;
}

export interface RedirectPlan extends RedirectMarks {
  readonly steps: readonly Step[];
}

/** From a table to a mark that is none of wg-quick's, whose marks are the numbers of tables. */
const OWN_MARK = 0x10000;

/** @throws {SystemTunnelError} if this host cannot have it. */
export function planRedirect(
  settings: RedirectSettings,
  host: Pick<HostView, "tables" | "priorities" | "hasIpv6">,
): RedirectPlan {
  const { name, cidrs, fwMark } = settings;
  const ipv6 = cidrs.find(({ version }) => version === 6);
  if (ipv6 !== undefined && !host.hasIpv6) {
    throw new SystemTunnelError(`--cidr ${ipv6}: this host has no IPv6, expected one of IPv4`);
  }
  let captured = freeTable(host.tables);
  if (captured === fwMark) captured = freeTable(host.tables, captured + 1);
  const mark = fwMark ?? captured + OWN_MARK;
  const steps: Step[] = [];
  for (const family of [4, 6] as const) {
    if (!cidrs.some(({ version }) => version === family)) continue;
    const route = { kind: "local-route", family, table: captured } as const;
    const rule: RuleAction = {
      kind: "rule",
      family,
      priority: lowestPriority(host.priorities[family]) - 1,
      mark: captured,
      table: captured,
    };
    steps.push(
      {
        title: `route add local default dev lo table ${captured} (IPv${family})`,
        action: route,
        undo: route,
      },
      {
        title: `rule add fwmark ${captured} table ${captured} (IPv${family})`,
        action: rule,
        undo: rule,
      },
    );
  }
  steps.push({
    title: `nft: TCP and UDP to ${cidrs.join(", ")} go to port ${settings.port}`,
    action: { kind: "nft", script: redirectScript({ ...settings, mark, captured }) },
    undo: redirectTable(name),
  });
  return { mark, captured, steps };
}
