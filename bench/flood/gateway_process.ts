import type { GatewayTask, Report } from "./gateway.ts";
import { linesOf, spawn, until, write } from "./process.ts";

const SAMPLE_MS = 5_000;

/** The gateway, as the bench sees it. */
export class GatewayProcess {
  /** Memory, every five seconds. */
  readonly samples: Deno.MemoryUsage[] = [];
  readonly #child = spawn("./gateway.ts", []);
  #latest: Report | undefined;

  async start(task: GatewayTask): Promise<void> {
    this.#read();
    await write(this.#child, JSON.stringify(task));
  }

  /** Made after this call. */
  async report(): Promise<Report> {
    for (let i = 0; i < 2; i++) {
      const last = this.#latest;
      await until(() => this.#latest !== last, Infinity);
    }
    return this.#latest!;
  }

  async stop(): Promise<void> {
    this.#child.kill();
    await this.#child.status;
  }

  async #read(): Promise<void> {
    let next = 0;
    for await (const line of linesOf(this.#child.stdout)) {
      this.#latest = JSON.parse(line) as Report;
      if (performance.now() < next) continue;
      next = performance.now() + SAMPLE_MS;
      this.samples.push(this.#latest.memory);
    }
  }
}
