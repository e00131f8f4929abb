/**
 * The demo's processes: the gateway is this program's own command line, the client a program beside it.
 *
 * Keys go to them by standard input: a process's arguments and environment can be read by others.
 *
 * @module
 */

import type { ClientJob, ClientReport } from "./client.ts";

// What `deno task start` may do, and no more.
const PERMISSIONS = ["--no-prompt", "--allow-net", "--allow-read"];
const TERMINATE_MS = 3000;
/** The one line by which the gateway says that it is up, in its JSON log. */
const LISTENING = /"message":"listening on UDP port (\d+)/;

/** Whether this process may start another deno: `deno task demo` may, the compiled binary may not. */
export function mayStartProcesses(): boolean {
  const command = Deno.execPath();
  return Deno.permissions.querySync({ name: "run", command }).state === "granted";
}

/**
 * Runs `wirestack up -` until `started` is disposed.
 *
 * @param config a wg-quick file
 * @returns its process number and UDP port, once it listens
 */
export async function startGatewayProcess(
  config: string,
  started: AsyncDisposableStack,
): Promise<{ pid: number; port: number }> {
  const args = ["up", "--log-format", "json", "--control-dir", "off", "-"];
  const child = start("../../main.ts", { args, stdout: "null" }, config, started);
  const port = await new Promise<number>((resolve, reject) => {
    let log = "";
    const decoder = new TextDecoder();
    // Read to its end: a full pipe would stop the gateway.
    child.stderr.pipeTo(
      new WritableStream({
        write(chunk) {
          log += decoder.decode(chunk, { stream: true });
          const match = LISTENING.exec(log);
          if (match) resolve(Number(match[1]));
        },
        close: () => reject(new Error(`the gateway did not start: ${log.trim()}`)),
      }),
    ).catch(reject);
  });
  return { pid: child.pid, port };
}

/** Runs the client to its end. */
export async function runClientProcess(
  job: ClientJob,
  started: AsyncDisposableStack,
): Promise<{ pid: number; report: ClientReport }> {
  const child = start("./client_main.ts", { stdout: "piped" }, JSON.stringify(job), started);
  const [output, errors, { success }] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.status,
  ]);
  if (!success) throw new Error(`the client: ${errors.trim()}`);
  return { pid: child.pid, report: JSON.parse(output) };
}

function start(
  program: string,
  { args = [], stdout }: { args?: string[]; stdout: "null" | "piped" },
  input: string,
  started: AsyncDisposableStack,
): Deno.ChildProcess {
  if (started.disposed) throw new Error("interrupted");
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", ...PERMISSIONS, new URL(program, import.meta.url).href, ...args],
    stdin: "piped",
    stdout,
    stderr: "piped",
  }).spawn();
  started.defer(() => end(child));
  // A process that ends before it has read its input is noticed by its end.
  new Blob([input]).stream().pipeTo(child.stdin).catch(() => {});
  return child;
}

/** SIGTERM, then SIGKILL if it does not end. Resolves when the process is gone. */
async function end(child: Deno.ChildProcess): Promise<void> {
  const kill = (signal: Deno.Signal) => {
    try {
      child.kill(signal);
    } catch {
      // It has ended by itself.
    }
  };
  kill("SIGTERM");
  const timer = setTimeout(() => kill("SIGKILL"), TERMINATE_MS);
  await child.status;
  clearTimeout(timer);
}
