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
import { nodeCrypto } from "../../proxy/arena/crypto.ts";
import { output } from "../../tests/e2e/process.ts";
import { type Aead, nobleCrypto } from "../../wireguard/mod.ts";
import type { Row } from "./report.ts";
import { onGatewayCore } from "./topology.ts";

const SIZE = 1420;
const TAG_SIZE = 16;
const WARM_UP_MS = 500;
const LENGTH_MS = 2000;

/** An implementation, and where the packet lies that it seals. */
interface Sealer {
  readonly aead: Aead;
  readonly buffer: Uint8Array;
  readonly offset: number;
}

const AEADS: Record<string, () => Promise<Sealer>> = {
  kernels,
  "node:crypto": () => Promise.resolve(anywhere(nodeCrypto.aead)),
  noble: () => Promise.resolve(anywhere(nobleCrypto.aead)),
};

function anywhere(aead: Aead): Sealer {
  return { aead, buffer: new Uint8Array(SIZE + TAG_SIZE), offset: 0 };
}

/** The WebAssembly ones, in their arena, where a checkout has them. */
async function kernels(): Promise<Sealer> {
  const { Kernels } = await import("../../ffi/mod.ts") as unknown as {
    Kernels?: new (bytes: number) => {
      readonly aead: Aead;
      readonly bytes: Uint8Array;
      allocate(length: number, alignment: number): number;
    };
  };
  if (Kernels === undefined) throw new Error("ffi/ has no kernels");
  const arena = new Kernels(1 << 20);
  return { aead: arena.aead, buffer: arena.bytes, offset: arena.allocate(SIZE + TAG_SIZE, 64) };
}

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
      const message = error instanceof Error ? error.message : String(error);
      // What a program says of an exception is in the middle of its output.
      notes.push(`failed: ${message.match(/Error: .*$/m)?.[0] ?? message.split("\n")[0]}`);
    }
    rows.push({ scenario: "aead", subject, figures, notes });
  }
  return rows;
}

/** CPU seconds and bytes of plaintext. */
async function sealing(name: string): Promise<{ seconds: number; bytes: number }> {
  const { aead, buffer, offset } = await AEADS[name]!();
  const key = aead.importKey(new Uint8Array(32));
  let counter = 0;
  const sealFor = (ms: number) => {
    const until = performance.now() + ms;
    const before = counter;
    while (performance.now() < until) {
      for (let i = 0; i < 100; i++) key.seal(0, counter++, buffer, offset, SIZE);
    }
    return (counter - before) * SIZE;
  };
  sealFor(WARM_UP_MS);
  const before = cpuUsage();
  const bytes = sealFor(LENGTH_MS);
  const { user, system } = cpuUsage(before);
  return { seconds: (user + system) / 1e6, bytes };
}
