/**
 * How much memory the buffers of all connections may take, and what the log says of it.
 *
 * @module
 */

import process from "node:process"; // not by name: an older Deno would end here, unsaid why
import { MemoryBudget, type MemoryEpisode } from "../../netstack/mod.ts";
import { getLogger } from "../log/logger.ts";

const log = getLogger(["wirestack", "proxy"]);

/** Of the memory there is, unless the configuration has a figure. */
const SHARE = 1 / 4;
/** Where it cannot be known how much there is, bytes. */
const UNKNOWN = 512 << 20;

/**
 * What a forwarded connection costs beside its buffers, bytes: its socket, the objects around it, and
 * what the allocators make of them (docs/performance.md).
 */
const PER_CONNECTION = 40 << 10;
/** So that a rush of connections finds room, though the first of it have filled their buffers. */
const SPARE_CONNECTIONS = 512;

/** @param configured Bytes. */
export function openMemoryBudget(configured: number | undefined): MemoryBudget {
  const total = bufferMemory(configured);
  log.info("buffers of connections: up to {megabytes} MB in all", { megabytes: mega(total) });
  return new MemoryBudget({
    total,
    perConnection: PER_CONNECTION,
    spareConnections: SPARE_CONNECTIONS,
    onEpisode: logEpisode,
  });
}

/** What `[Proxy] MaxBufferMemory` says, or the default, bytes. */
export function bufferMemory(configured: number | undefined): number {
  return configured ?? Math.floor((memoryOfHost() ?? UNKNOWN / SHARE) * SHARE);
}

/**
 * Bytes: of the machine, or of the cgroup this process is in, if that has less. Undefined without
 * the permission to ask (`--allow-sys=systemMemoryInfo`).
 */
function memoryOfHost(): number | undefined {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "systemMemoryInfo" });
  if (state !== "granted") return undefined;
  const { total } = Deno.systemMemoryInfo();
  // Where there is no limit, it is absurdly large.
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(total, limit) : total;
}

function logEpisode({ isOver, used, total, refusals, resets }: MemoryEpisode): void {
  const figures = { used: mega(used), total: mega(total), refusals, resets };
  if (isOver) {
    log.info(
      "buffers of connections: {used} of {total} MB in use again, {resets} connections were reset",
      figures,
    );
  } else {
    log.warn(
      "buffers of connections: {used} of {total} MB in use (MaxBufferMemory): they grow no more",
      figures,
    );
  }
}

function mega(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
