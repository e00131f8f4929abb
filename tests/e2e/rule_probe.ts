/**
 * Tries targets from the client's host:
 *
 *   deno run … rule_probe.ts
 *
 * Each line of standard input is a JSON list of `tcp ADDRESS PORT` and `udp ADDRESS PORT`, which are
 * tried at once; each line of its output, `probed [WHAT…]`, is what became of them. UDP knows no more
 * than whether there was an answer.
 *
 * @module
 */

import { TextLineStream } from "./text_lines.ts";

/** A SYN is sent again after 1 s (RFC 6298 §2.1): what is refused sooner was refused in one round trip. */
const LIMIT_MS = 800;

console.log("probing");
for await (const line of Deno.stdin.readable.pipeThrough(new TextLineStream())) {
  const probes: string[] = JSON.parse(line);
  const results = await Promise.all(probes.map((probe) => {
    const [protocol, hostname, port] = probe.split(" ");
    const target = { hostname: hostname!, port: Number(port) };
    return protocol === "tcp" ? tryTcp(target) : tryUdp(target);
  }));
  console.log(`probed ${JSON.stringify(results)}`);
}

interface Target {
  readonly hostname: string;
  readonly port: number;
}

async function tryTcp(target: Target): Promise<string> {
  try {
    const conn = await Deno.connect({ ...target, signal: AbortSignal.timeout(LIMIT_MS) });
    conn.close();
    return "passed";
  } catch (error) {
    if ((error as Error).name === "TimeoutError") return "silent";
    const { code } = error as { code?: string };
    return code === "ECONNREFUSED" || code === "EHOSTUNREACH" ? "rejected" : `${code ?? error}`;
  }
}

async function tryUdp(target: Target): Promise<string> {
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
  let timer;
  const limit = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, LIMIT_MS, "silent");
  });
  const result = await Promise.race([answer, limit]);
  clearTimeout(timer);
  socket.close();
  return result;
}
