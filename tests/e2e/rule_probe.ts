/**
 * Tries targets from the client's host:
 *
 *   deno run … rule_probe.ts
 *
 * Each line of standard input is a JSON list of `tcp ADDRESS PORT` and `udp ADDRESS PORT`, which are
 * tried at once, with `?` behind what nobody should answer and `!` behind what should be refused in one
 * round trip; each line of its output, `probed [WHAT…]`, is what became of them. UDP knows no more than
 * whether there was an answer.
 *
 * @module
 */

import { TextLineStream } from "./text_lines.ts";

/** A SYN is sent again after 1 s (RFC 6298 §2.1): what is refused sooner was refused in one round trip. */
const PROMPT_MS = 800;
/** Any other answer may take as long as a busy machine needs for it. */
const LIMIT_MS = 30_000;
/** The gateway's own, in the tunnel, and a port that nobody listens on. */
const GATEWAY = { hostname: "10.9.0.1", port: 9 };
/** For the target's answer to what should have none, behind the gateway's own. */
const GRACE_MS = 150;

console.log("probing");
for await (const line of Deno.stdin.readable.pipeThrough(new TextLineStream())) {
  const probes: string[] = JSON.parse(line);
  const { promise: isQuiet, resolve } = Promise.withResolvers<void>();
  const results = probes.map((probe) => {
    const [protocol, hostname, port] = probe.replace(/[?!]$/, "").split(" ");
    const target = { hostname: hostname!, port: Number(port) };
    const quiet = probe.endsWith("?") ? isQuiet : undefined;
    if (protocol === "udp") return tryUdp(target, quiet);
    return tryTcp(target, probe.endsWith("!") ? PROMPT_MS : LIMIT_MS, quiet);
  });
  // What the gateway has to say of the others has come when it has answered this, which went last.
  await tryTcp(GATEWAY, LIMIT_MS);
  setTimeout(resolve, GRACE_MS);
  console.log(`probed ${JSON.stringify(await Promise.all(results))}`);
}

interface Target {
  readonly hostname: string;
  readonly port: number;
}

async function tryTcp(target: Target, limitMs: number, quiet?: Promise<void>): Promise<string> {
  const limit = new AbortController();
  const stop = () => limit.abort(new DOMException("", "TimeoutError"));
  const timer = setTimeout(stop, limitMs);
  quiet?.then(stop);
  try {
    const conn = await Deno.connect({ ...target, signal: limit.signal });
    conn.close();
    return "passed";
  } catch (error) {
    if ((error as Error).name === "TimeoutError") return "silent";
    const { code } = error as { code?: string };
    return code === "ECONNREFUSED" || code === "EHOSTUNREACH" ? "rejected" : `${code ?? error}`;
  } finally {
    clearTimeout(timer);
  }
}

async function tryUdp(target: Target, quiet?: Promise<void>): Promise<string> {
  const hostname = target.hostname.includes(":") ? "::" : "0.0.0.0";
  const socket = Deno.listenDatagram({ hostname, port: 0, transport: "udp" });
  const answer = socket.receive(new Uint8Array(64)).then(
    ([, from]) => {
      const { hostname, port } = from as Deno.NetAddr;
      return hostname === target.hostname && port === target.port ? "passed" : `from ${hostname}`;
    },
    () => "silent",
  );
  await socket.send(Uint8Array.of(1, 2, 3), { ...target, transport: "udp" });
  const timer = setTimeout(() => socket.close(), LIMIT_MS);
  quiet?.then(() => socket.close());
  const result = await answer;
  clearTimeout(timer);
  try {
    socket.close();
  } catch { /* it was */ }
  return result;
}
