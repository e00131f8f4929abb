/**
 * A real Prometheus that scrapes a gateway in this process, and a load whose bytes are counted.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Wirestack } from "../../mod.ts";
import { type Pair, SITE, startPair } from "../proxy/pair.ts";
import { eventually } from "./lab.ts";
import { Process } from "./process.ts";

export const TOKEN = "a-token-for-this-test";

/** A gateway with a status listener, a client of it called laptop, and a server that echoes, on loopback. */
export class ScrapedPair implements AsyncDisposable {
  readonly gateway: Wirestack;
  readonly client: Wirestack;
  /** For the token's file and others. */
  readonly folder: string;
  readonly #pair: Pair;
  readonly #echo = echo();

  private constructor(folder: string, pair: Pair) {
    this.folder = folder;
    this.gateway = pair.gateway;
    this.client = pair.client;
    this.#pair = pair;
  }

  static async start(): Promise<ScrapedPair> {
    const folder = await Deno.makeTempDir();
    const tokenFile = `${folder}/token`;
    await Deno.writeTextFile(tokenFile, TOKEN);
    const pair = await startPair({ sections: { status: { listen: "127.0.0.1:0", tokenFile } } });
    const [peer] = pair.gateway.stats().peers;
    pair.gateway.updatePeer(peer!.publicKey, { name: "laptop" });
    return new ScrapedPair(folder, pair);
  }

  get statusPort(): number {
    return this.gateway.statusPort!;
  }

  /** Sends and fetches so many bytes over one connection. */
  async transfer(length: number): Promise<void> {
    const conn = await this.client.connect({ hostname: SITE, port: this.#echo.addr.port });
    const bytes = new Uint8Array(length);
    const sending = (async () => {
      for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
      await conn.closeWrite();
    })();
    let received = 0;
    const buffer = new Uint8Array(65_536);
    for (let count; (count = await conn.read(buffer)) !== null;) received += count;
    await sending;
    assert.equal(received, length);
    conn.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#echo.close();
    await this.#pair[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** A server that sends back what it gets. */
function echo(): Deno.TcpListener {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  (async () => {
    for await (const conn of listener) conn.readable.pipeTo(conn.writable).catch(() => {});
  })().catch(() => {});
  return listener;
}

/** When a value was scraped, s since the epoch, and the value. */
export type Sample = readonly [at: number, value: number];

/** Debian's, for one gateway. */
export class Prometheus implements AsyncDisposable {
  readonly #process: Process;
  readonly #port: string;

  private constructor(process: Process, port: string) {
    this.#process = process;
    this.#port = port;
  }

  /** @param interval From one scrape to the next, as `1s`. */
  static async start({ folder, statusPort }: ScrapedPair, interval: string): Promise<Prometheus> {
    await Deno.writeTextFile(
      `${folder}/prometheus.yml`,
      `global: {scrape_interval: ${interval}}
scrape_configs:
  - job_name: wirestack
    authorization: {credentials_file: ${folder}/token}
    static_configs: [{targets: ["127.0.0.1:${statusPort}"]}]
`,
    );
    const process = new Process("prometheus", [
      "prometheus",
      `--config.file=${folder}/prometheus.yml`,
      `--storage.tsdb.path=${folder}/data`,
      "--web.listen-address=127.0.0.1:0",
    ]);
    try {
      const [, port] = await process.line(/Listening on"? address=127\.0\.0\.1:(\d+)/);
      return new Prometheus(process, port!);
    } catch (error) {
      await process[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * @param at s since the epoch; missing: now.
   * @returns what a query finds first: one sample, or those of a range; none while it is being started.
   */
  async query(text: string, at?: number): Promise<Sample[]> {
    const parameters = new URLSearchParams({
      query: text,
      ...at !== undefined && { time: `${at}` },
    });
    try {
      const response = await fetch(`http://127.0.0.1:${this.#port}/api/v1/query?${parameters}`);
      const { data: { result: [series] } } = await response.json();
      const samples: [number, string][] = series?.values ??
        (series === undefined ? [] : [series.value]);
      return samples.map(([at, value]) => [at, Number(value)]);
    } catch {
      return [];
    }
  }

  /** @returns the value that a query finds; undefined for none. */
  async value(text: string, at?: number): Promise<number | undefined> {
    return (await this.query(text, at))[0]?.[1];
  }

  /** Resolves when a query finds this value. A scrape that takes too long leaves none until the next. */
  async until(text: string, value: number): Promise<void> {
    await eventually(`${text} is ${value}`, async () => await this.value(text) === value);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#process[Symbol.asyncDispose]();
  }
}

export function flowBytes(direction: "up" | "down"): string {
  return `wirestack_flow_bytes_total{direction="${direction}"}`;
}

/** What a counter's samples say has been added; asserts that it never went back. */
export function added(samples: readonly Sample[]): number {
  const values = samples.map(([, value]) => value);
  assert.deepEqual(values, values.toSorted((a, b) => a - b), "a counter never goes back");
  return values.at(-1)! - values[0]!;
}
