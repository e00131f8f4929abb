/**
 * Many carriers to a lab's hub, from a process of their own.
 *
 * @module
 */

import type { Lab } from "./tls/lab.ts";

const program = new URL("./crowd_main.ts", import.meta.url).pathname;

/** All of one certificate, each with a frame begun. Disposing of it ends them. */
export async function crowd(lab: Lab, count: number) {
  const { certPath, keyPath } = await lab.files();
  const { transport, listener, folder } = lab;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--no-prompt", "--allow-all", program, transport, `${listener.port}`],
      ...[`${count}`, certPath, keyPath, `${folder}/ca.pem`],
    ],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  const { done } = await reader.read();
  if (done) throw new Error("not all have come");
  return {
    async [Symbol.asyncDispose]() {
      await child.stdin.close();
      await reader.cancel();
      await child.status;
    },
  };
}
