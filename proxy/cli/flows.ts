/**
 * `show flows` and `kill`: the live flows of a running gateway, and the end of one.
 *
 * @module
 */

import { type ControlAnswer, type ControlClient, ControlError } from "../control/client.ts";
import type { FlowStats } from "../gateway/flow_stats.ts";
import { formatFlows, sortFlows, type SortKey } from "./flows_format.ts";
import { findGateway, onlyGateway } from "./gateways.ts";
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
  const gateway = await gatewayOf(target, controlDir);
  const lines = ["targets=1"];
  if (peer !== undefined) lines.push(`peer=${encodeURIComponent(peer)}`);
  const flows = flowsOf(gateway, await gateway.ask("wirestack_flows=1", lines));
  if (sort !== undefined) sortFlows(flows, sort);
  terminal.out(json ? `${JSON.stringify(flows, null, 2)}\n` : formatFlows(flows));
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
  const gateway = await gatewayOf(target, controlDir);
  const answer = await gateway.ask("wirestack_kill=1", [`flow=${encodeURIComponent(id)}`]);
  for (const { id, protocol, peer, source, destination } of flowsOf(gateway, answer)) {
    terminal.out(`${id}: ${protocol} of ${peer}, ${source} to ${destination}, ended\n`);
  }
  return 0;
}

async function gatewayOf(
  target: string | undefined,
  controlDir: string | undefined,
): Promise<ControlClient> {
  return target === undefined
    ? await onlyGateway("NAME", controlDir)
    : await findGateway(target, controlDir);
}

function flowsOf({ name }: ControlClient, answer: ControlAnswer | undefined): FlowStats[] {
  if (answer === undefined) {
    throw new ControlError(`${name}: is no Wirestack gateway, or an older one`);
  }
  const { pairs, errno } = answer;
  const problem = pairs.find(([key]) => key === "problem")?.[1];
  if (problem !== undefined) throw new ControlError(`${name}: ${decodeURIComponent(problem)}`);
  if (errno !== 0) throw new ControlError(`${name}: refused (errno ${errno})`);
  return pairs.filter(([key]) => key === "flow").map(([, value]) => JSON.parse(value));
}
