/**
 * Pings of which each has to be answered. The kernel is asked, not `ping`: after the last one has gone
 * out, iputils waits for twice the longest round trip so far, or for one interval if that is longer, and
 * calls what comes later lost. `-W` matters only before the first answer.
 *
 * @module
 */

import assert from "node:assert/strict";
import { eventually, type Host } from "./lab.ts";

/** Sends `count` pings from `host`, which has no other `ping` meanwhile. */
export async function allAnswered(
  host: Host,
  address: string,
  count: number,
  ...options: string[]
): Promise<void> {
  const before = await echoReplies(host, address);
  const { stdout, stderr } = await host.run(
    ["ping", "-n", "-c", `${count}`, "-W", "30", ...options, address],
  );
  const report = stdout + stderr;
  assert.match(report, new RegExp(`\\b${count} packets transmitted`), report);
  await eventually(
    `${count} answers of ${address}; ${report}`,
    async () => await echoReplies(host, address) - before >= count,
    { timeoutMs: 30_000 },
  );
  assert.equal(await echoReplies(host, address) - before, count, report);
}

/** Answers to pings that `host`'s kernel has had so far, of `address`'s family (RFC 4293). */
async function echoReplies(host: Host, address: string): Promise<number> {
  if (address.includes(":")) {
    const counters = await host.output(["cat", "/proc/net/snmp6"]);
    return Number(/^Icmp6InEchoReplies\s+(\d+)$/m.exec(counters)![1]);
  }
  const lines = (await host.output(["cat", "/proc/net/snmp"])).split("\n");
  const [names, values] = lines.filter((line) => line.startsWith("Icmp:")).map((line) =>
    line.split(" ")
  );
  return Number(values![names!.indexOf("InEchoReps")]);
}
