/**
 * The demo's client as a process: a job on standard input, a report on standard output, both JSON.
 *
 * @module
 */

import { type ClientJob, runClient } from "./client.ts";

try {
  const job: ClientJob = JSON.parse(await new Response(Deno.stdin.readable).text());
  console.log(JSON.stringify(await runClient(job)));
} catch (error) {
  console.error((error as Error).message);
  Deno.exitCode = 1;
}
