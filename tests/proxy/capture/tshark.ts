/**
 * What tshark reads in a capture.
 *
 * @module
 */

import assert from "node:assert/strict";

/** Whether there is one to ask. */
export function hasTshark(): boolean {
  try {
    return new Deno.Command("tshark", { args: ["--version"], stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch {
    return false;
  }
}

/** Lines of its output, for the bytes of a file. It must not complain of anything. */
export async function tshark(bytes: Uint8Array, ...args: string[]): Promise<string[]> {
  const child = new Deno.Command("tshark", {
    args: ["-n", "-r", "-", ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = child.output();
  await new Blob([bytes.slice()]).stream().pipeTo(child.stdin).catch(() => {});
  const { stdout, stderr, code } = await output;
  const complaints = new TextDecoder().decode(stderr).split("\n")
    .filter((line) => line !== "" && !line.startsWith("Running as user"));
  assert.deepEqual(complaints, []);
  assert.equal(code, 0);
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "");
}
