/**
 * `show flows` and `kill`: the live flows of a running gateway, and the end of one.
 *
 * @module
 */

import type { FlowStats } from "../gateway/flow_stats.ts";
import { askValues } from "./ask_values.ts";
import { formatFlows, jsonOf, sortFlows, type SortKey } from "./flows_format.ts";
import { gatewayOf } from "./gateways.ts";
import type { Terminal } from "./terminal.ts";

export interface ShowFlowsOptions {
  readonly controlDir?: string;
  readonly json?: boolean;
  /** A peer's name or public key: its flows alone. */
  readonly peer?: string;
  readonly sort?: SortKey;
}

/**
 * @param target The name of a gateway, or its file; missing: the only one that runs.
 * @returns the exit status.
 * @throws {ControlError} if there is no such gateway.
 */
export async function showFlows(
  target: string | undefined,
  options: ShowFlowsOptions,
  terminal: Terminal,
): Promise<number> {
  const { controlDir, json, peer, sort } = options;
  const gateway = await gatewayOf(target, "NAME", controlDir);
  const lines = ["targets=1"];
  if (peer !== undefined) lines.push(`peer=${encodeURIComponent(peer)}`);
  const flows = await askValues<FlowStats>(gateway, "wirestack_flows=1", lines, "flow");
  if (sort !== undefined) sortFlows(flows, sort);
  for (const piece of json ? jsonOf(flows) : formatFlows(flows)) terminal.out(piece);
  return 0;
}

/**
 * @param id A flow's id, or enough of its first digits.
 * @param target As for {@link showFlows}.
 * @returns the exit status: 1 if there is no such flow, or several.
 * @throws {ControlError} if there is no such gateway, or the flow is not one.
 */
export async function kill(
  id: string,
  target: string | undefined,
  controlDir: string | undefined,
  terminal: Terminal,
): Promise<number> {
  const gateway = await gatewayOf(target, "NAME", controlDir);
  const lines = [`flow=${encodeURIComponent(id)}`];
  const ended = await askValues<FlowStats>(gateway, "wirestack_kill=1", lines, "flow");
  for (const { id, protocol, peer, source, destination } of ended) {
    terminal.out(`${id}: ${protocol} of ${peer}, ${source} to ${destination}, ended\n`);
  }
  return 0;
}
