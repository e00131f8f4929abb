/**
 * What pings through a gateway cost it: as many per second as told to as many targets as told, from a
 * real peer, in network namespaces. As root.
 *
 *     deno task bench:ping --rate 1000 --targets 100 --seconds 20
 *
 * In the first minute V8 still compiles what runs: `--warm-up 60` has the figure of a gateway that runs.
 * With `--spread` one `fping` has them all, each as far from the next as from the one before.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { SUBJECTS } from "../tests/e2e/gateway.ts";
import { Site } from "../tests/e2e/site.ts";

/** Of /proc/PID/stat, ticks per second: USER_HZ, the same on every Linux. */
const TICKS = 100;
const { values } = parseArgs({
  options: {
    rate: { type: "string", default: "1000" },
    targets: { type: "string", default: "100" },
    seconds: { type: "string", default: "20" },
    /** Before the measurement, s. */
    "warm-up": { type: "string", default: "5" },
    spread: { type: "boolean", default: false },
  },
});
const rate = Number(values.rate);
const targets = Number(values.targets);
const seconds = Number(values.seconds);
const warmUp = Number(values["warm-up"]);

await using site = await Site.start({
  subject: SUBJECTS[1],
  pingGroups: "0 2147483647",
  proxy: ["Subnets = 10.50.0.0/16", "MaxPingRate = 100000"],
});
const address = (n: number) => `10.50.1.${n + 1}`;
await site.target.addAddresses(
  "site",
  Array.from({ length: targets }, (_, n) => `${address(n)}/16`),
);
await site.gatewayHost.ip("route add 10.50.1.0/24 dev site");

const addresses = Array.from({ length: targets }, (_, n) => address(n));
const gap = 1000 / rate;
/** Each target has a `ping` of its own, and so an identifier and a socket. */
const pings = values.spread
  ? [site.client.spawn("fping", [
    ...["fping", "-q", "-l", "-r", "0", "-i", `${gap}`, "-p", `${gap * targets}`],
    ...addresses,
  ])]
  : addresses.map((to) =>
    site.client.spawn(`ping ${to}`, ["ping", "-n", "-q", "-i", String(targets / rate), to])
  );
await wait(warmUp);
const before = await read();
await wait(seconds);
const after = await read();
const cpu = after.cpu - before.cpu;
const count = after.replies - before.replies;
const ms = after.at - before.at;
console.log(
  `${count} pings answered in ${(ms / 1000).toFixed(1)} s, ${
    (count / ms * 1000).toFixed(0)
  } per second: ${(cpu / ms * 100_000).toFixed(1)} % of a core, ${
    (cpu / count * 1e6).toFixed(0)
  } µs each; ${after.requests - before.requests} sent on, in ${
    ((after.turns - before.turns) / ms * 1000).toFixed(0)
  } turns per second`,
);
for (const ping of pings) await ping[Symbol.asyncDispose]();

async function read() {
  const { counters } = await site.gateway.stats();
  const { icmpForwarder, engine } = counters as Record<string, Record<string, number>>;
  const { requests, replies } = icmpForwarder!;
  const stat = Deno.readTextFileSync(`/proc/${site.gateway.process.worker}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const cpu = (Number(fields[11]) + Number(fields[12])) / TICKS; // utime, stime
  return {
    turns: engine!.turns!,
    requests: requests!,
    replies: replies!,
    cpu,
    at: performance.now(),
  };
}

function wait(s: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, s * 1000));
}
