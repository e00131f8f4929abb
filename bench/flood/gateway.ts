/** The gateway of the flood's bench. Runs until it is killed, and reports every half second. */

import { Session } from "node:inspector";
import process from "node:process";
import { loadConfig } from "../../proxy/config/config.ts";
import { Gateway } from "../../proxy/gateway/gateway.ts";
import { input, sleep } from "./process.ts";

const REPORT_MS = 500;

/** What the bench gives this process. */
export interface GatewayTask {
  readonly config: string;
  readonly ffi: boolean;
  /** Where a CPU profile of the time after the first report is written, every half second anew. */
  readonly profile?: string;
  /** How long that takes, ms. */
  readonly profileMs: number;
}

export interface Report {
  readonly port: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Bytes: of the process; of JavaScript objects, and what V8 has reserved for them; of buffers. */
  readonly memory: Deno.MemoryUsage;
  /** Datagrams the kernel had no room for. */
  readonly socketDrops: number;
  readonly turns: number;
  readonly counters: Record<string, number>;
}

const task = JSON.parse(await input()) as GatewayTask;
const gateway = await Gateway.start(loadConfig(task.config, { file: "flood.conf" }).config, {
  ffi: task.ffi,
});
const started = performance.now();
if (task.profile !== undefined) profile(task.profile, task.profileMs);
for (;;) {
  const { user, system } = process.cpuUsage();
  const report: Report = {
    port: gateway.port,
    seconds: (performance.now() - started) / 1000,
    cpuSeconds: (user + system) / 1e6,
    memory: Deno.memoryUsage(),
    socketDrops: socketDrops(gateway.port),
    turns: gateway.engine.counters.turns,
    counters: { ...gateway.engine.device.counters },
  };
  console.log(JSON.stringify(report));
  await sleep(REPORT_MS);
}

/** Last column of the socket's line, see proc(5). Elsewhere than on Linux 0. */
function socketDrops(port: number): number {
  const name = `:${port.toString(16).toUpperCase().padStart(4, "0")} `;
  let drops = 0;
  for (const file of ["/proc/net/udp", "/proc/net/udp6"]) {
    let text: string;
    try {
      text = Deno.readTextFileSync(file);
    } catch {
      continue;
    }
    for (const line of text.split("\n")) {
      const [, local] = line.trim().split(/\s+/);
      if (`${local} `.endsWith(name)) drops += Number(line.trim().split(/\s+/).at(-1));
    }
  }
  return drops;
}

async function profile(file: string, ms: number): Promise<void> {
  const session = new Session();
  session.connect();
  const post = (method: string) =>
    new Promise<{ profile: unknown }>((resolve, reject) =>
      session.post(
        method,
        (error: Error | null, result: unknown) =>
          error ? reject(error) : resolve(result as { profile: unknown }),
      )
    );
  await post("Profiler.enable");
  await post("Profiler.start");
  await sleep(ms);
  const { profile } = await post("Profiler.stop");
  Deno.writeTextFileSync(file, JSON.stringify(profile));
}
