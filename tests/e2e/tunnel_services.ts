/**
 * What a public host offers, at some addresses: HTTP on port 8000 (`/who` says who asks, `/file` is 100
 * MB that every process makes alike) and names on port 53.
 *
 *   deno run … tunnel_services.ts ADDRESS…
 *
 * @module
 */

import { createHash } from "node:crypto";
import { NameServer, zone } from "../proxy/target/name_server.ts";

/** Bytes of `/file`. */
export const FILE_BYTES = 100_000_000;

/** Not compressible, and the same everywhere. */
export function fileChunk(index: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(2500);
  let state = index + 1;
  for (let i = 0; i < words.length; i++) words[i] = state = Math.imul(state, 1664525) + 1013904223;
  return new Uint8Array(words.buffer);
}

/** Of `/file`, in hexadecimal. */
export function fileHash(): string {
  const hash = createHash("sha256");
  for (let index = 0; index * 10_000 < FILE_BYTES; index++) hash.update(fileChunk(index));
  return hash.digest("hex");
}

/** Of what was fetched. */
export function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export function file(): ReadableStream<Uint8Array> {
  let index = 0;
  return new ReadableStream({
    pull(controller) {
      controller.enqueue(fileChunk(index++));
      if (index * 10_000 === FILE_BYTES) controller.close();
    },
  });
}

if (import.meta.main) {
  for (const hostname of Deno.args) {
    Deno.serve({ hostname, port: 8000, onListen() {} }, (request, info) => {
      return new URL(request.url).pathname === "/file"
        ? new Response(file())
        : new Response((info.remoteAddr as Deno.NetAddr).hostname);
    });
    new NameServer(
      (question, isTcp) => zone({ "public.test": Deno.args }, 1)(question, isTcp),
      hostname,
      53,
    );
  }
  console.log("ready");
}
