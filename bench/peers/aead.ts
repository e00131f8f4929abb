/**
 * What ChaCha20-Poly1305 costs by itself: packets of 1,420 bytes sealed in place, one by one. Each
 * implementation runs in a program of its own, so that its CPU time is nothing else's:
 *
 *     deno run --allow-read bench/peers/aead.ts node:crypto
 *
 * @module
 */

import { cpuUsage } from "node:process";
import { fileURLToPath } from "node:url";
import { nodeCrypto } from "../../proxy/crypto.ts";
import { output } from "../../tests/e2e/process.ts";
import { type Aead, nobleCrypto } from "../../wireguard/mod.ts";
import type { Row } from "./report.ts";
import { onGatewayCore } from "./topology.ts";

const SIZE = 1420;
const TAG_SIZE = 16;
const WARM_UP_MS = 500;
const LENGTH_MS = 2000;

const AEADS: Record<string, () => Promise<Aead>> = {
  "node:crypto": () => Promise.resolve(nodeCrypto.aead),
  noble: () => Promise.resolve(nobleCrypto.aead),
};

/** Go's, in Go's own program, is for context: it is assembly. */
const GO = "go x/crypto";

if (import.meta.main) console.log(JSON.stringify(await sealing(Deno.args[0]!)));

/** The rows of the scenario `aead`. @param load the program that seals in Go */
export async function aeadRows(load: string): Promise<Row[]> {
  const rows: Row[] = [];
  for (const subject of [...Object.keys(AEADS), GO]) {
    const command = subject === GO
      ? [load, "aead", "--size", `${SIZE}`, "--length", `${LENGTH_MS}ms`]
      : [
        Deno.execPath(),
        "run",
        "--no-prompt",
        "--allow-all",
        fileURLToPath(import.meta.url),
        subject,
      ];
    let figures = {};
    const notes = [];
    try {
      const { seconds, bytes } = JSON.parse(await output(onGatewayCore(command)));
      figures = { cpu_s_per_gb: seconds / (bytes / 1e9) };
    } catch (error) {
      notes.push(`failed: ${error instanceof Error ? error.message : error}`);
    }
    rows.push({ scenario: "aead", subject, figures, notes });
  }
  return rows;
}

/** CPU seconds and bytes of plaintext. */
async function sealing(name: string): Promise<{ seconds: number; bytes: number }> {
  const key = (await AEADS[name]!()).importKey(new Uint8Array(32));
  const packet = new Uint8Array(SIZE + TAG_SIZE);
  let counter = 0;
  const sealFor = (ms: number) => {
    const until = performance.now() + ms;
    const before = counter;
    while (performance.now() < until) {
      for (let i = 0; i < 100; i++) key.seal(0, counter++, packet, 0, SIZE);
    }
    return (counter - before) * SIZE;
  };
  sealFor(WARM_UP_MS);
  const before = cpuUsage();
  const bytes = sealFor(LENGTH_MS);
  const { user, system } = cpuUsage(before);
  return { seconds: (user + system) / 1e6, bytes };
}
