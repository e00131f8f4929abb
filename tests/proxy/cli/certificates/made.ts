/**
 * Folders with certificates of `gencerts`, made at any time.
 *
 * @module
 */

import assert from "node:assert/strict";
import { gencerts, type GencertsOptions } from "../../../../proxy/cli/certificates/gencerts.ts";
import { processTerminal } from "../../../../proxy/cli/terminal.ts";

export const LEAVES = ["server", "client", "proxy"] as const;
export type Folder = "ca" | typeof LEAVES[number];

/** A folder that goes with the test. */
export class Made implements AsyncDisposable {
  readonly path = Deno.makeTempDirSync();
  readonly out = `${this.path}/certs`;

  /** @param now Milliseconds since 1970. @returns what is printed. */
  async gencerts(options: Partial<GencertsOptions> = {}, now = Date.now()): Promise<string> {
    let printed = "";
    const terminal = { ...processTerminal, out: (text: string) => void (printed += text) };
    const given = { out: this.out, days: "365", ...options };
    assert.equal(await gencerts(given, terminal, now), 0);
    return printed;
  }

  read(folder: Folder, file: "cert" | "key"): string {
    return Deno.readTextFileSync(`${this.out}/${folder}/${file}.pem`);
  }

  /** Every path below, and the content of files. */
  contents(): Record<string, string> {
    return contentsOf(this.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

function contentsOf(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = `${folder}/${name}`;
    found[path] = isDirectory ? "" : Deno.readTextFileSync(path);
    if (isDirectory) Object.assign(found, contentsOf(path));
  }
  return found;
}

/** Runs openssl. */
export async function openssl(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command("openssl", { args, stdin: "null" })
    .output();
  const text = new TextDecoder();
  return { code, out: text.decode(stdout), error: text.decode(stderr) };
}
