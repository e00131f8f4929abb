/**
 * `wirestack demo`: a gateway and a client on this machine, a page and a UDP echo that only the gateway can reach, and
 * an account of what went between them.
 *
 * @module
 */

import { type ClientJob, type ClientReport, runClient, sha256 } from "./client.ts";
import { mayStartProcesses, runClientProcess, startGatewayProcess } from "./process.ts";
import { type Site, startSite } from "./site.ts";
import { encodeKey, generatePresharedKey, generatePrivateKey, publicKeyOf } from "../base64.ts";
import { Wirestack } from "../embed/wirestack.ts";

/** Stands for the gateway's own host, inside the tunnel and nowhere else. */
const SITE = "10.50.0.1";
const PAGE_BYTES = 1 << 20;
const DEADLINE_MS = 60_000;

/**
 * Runs the demonstration: gateway and client in a process each if this one may start any, else inside it.
 *
 * Writes its account to standard output, ending with a line that starts with `demo ok`; what went wrong goes to
 * standard error. Leaves nothing running, also when interrupted.
 *
 * @returns the exit status: 0; 1 when anything was not as it should be; 130 and 143 after SIGINT and SIGTERM
 */
export async function demo(): Promise<number> {
  const stop = new AbortController();
  let status = 1;
  const late = () => stop.abort(new Error(`not done within ${DEADLINE_MS / 1000} s`));
  const timer = setTimeout(late, DEADLINE_MS);
  // Package runners deliver one Ctrl-C twice: the second finds everything ending already.
  const interrupt = () => (status = 130, stop.abort(new Error("interrupted")));
  const terminate = () => (status = 143, stop.abort(new Error("terminated")));
  Deno.addSignalListener("SIGINT", interrupt);
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", terminate);
  try {
    // Left last to first: client, gateway, site.
    await using started = new AsyncDisposableStack();
    await Promise.race([demonstrate(started, stop.signal), rejectionOf(stop.signal)]);
  } catch (error) {
    console.error(`demo failed: ${(error as Error).message}`);
    return status;
  } finally {
    clearTimeout(timer);
    Deno.removeSignalListener("SIGINT", interrupt);
    if (Deno.build.os !== "windows") Deno.removeSignalListener("SIGTERM", terminate);
  }
  console.log("demo ok: everything went through the tunnel, and came back as it was sent");
  return 0;
}

async function demonstrate(started: AsyncDisposableStack, signal: AbortSignal): Promise<void> {
  const apart = mayStartProcesses();
  const keys = makeKeys();
  tell("keys", `gateway ${keys.gateway.public}`);
  tell("", `client  ${keys.client.public}`);

  const site = started.use(startSite(PAGE_BYTES));
  tell("site", `a page of ${count(site.page.length)} bytes on 127.0.0.1:${site.pagePort}/tcp,`);
  tell("", `an echo on 127.0.0.1:${site.echoPort}/udp; the tunnel's name for that host is ${SITE}`);

  const config = gatewayFile(keys);
  const gateway = apart
    ? await startGatewayProcess(config, started)
    : await startHere(config, started, signal);
  tell("gateway", `${placeOf(gateway)}, WireGuard on 127.0.0.1:${gateway.port}/udp`);

  const job: ClientJob = {
    config: clientFile(keys, gateway.port),
    hostname: SITE,
    pagePort: site.pagePort,
    echoPort: site.echoPort,
    closedPort: site.closedPort,
  };
  const client = apart
    ? await runClientProcess(job, started)
    : { report: await runClient(job, signal) };
  tell("client", `${placeOf(client)}, 10.9.0.2 inside the tunnel, no route but the tunnel`);
  await checkReport(client.report, site, keys);
}

async function checkReport(report: ClientReport, site: Site, keys: Keys): Promise<void> {
  const { connectMs, page, echo, closed, peer } = report;
  expect(peer.publicKey === keys.gateway.public, `the peer was ${peer.publicKey}`);
  expect(peer.lastHandshake > 0, "no handshake was completed");
  const at = new Date(peer.lastHandshake).toISOString();
  tell("handshake", `completed at ${at}; first connection open after ${ms(connectMs)}`);

  const hash = await sha256(site.page);
  expect(page.sha256 === hash, `the page arrived as ${page.sha256}, expected ${hash}`);
  tell("page", `http://${SITE}:${site.pagePort}/: ${count(page.bytes)} bytes in ${ms(page.ms)}`);
  tell("", `SHA-256 ${hash}, as served`);
  tell("echo", `${echo.sizes.map(count).join(", ")} bytes, all back unchanged`);
  tell("", `round trip ${ms(echo.medianMs)}, median of ${echo.rounds}`);

  const name = "ConnectionRefused";
  expect(closed.error === name, `a closed port gave ${closed.error}, expected ${name}`);
  tell(
    "refused",
    `${SITE}:${site.closedPort}/tcp, where nobody listens: refused after ${ms(closed.ms)}`,
  );

  expect(peer.receivedBytes > page.bytes, `${peer.receivedBytes} bytes are less than the page`);
  tell(
    "bytes",
    `client to gateway ${count(peer.sentBytes)}, back ${count(peer.receivedBytes)}, encrypted`,
  );
}

interface Keys {
  gateway: { private: string; public: string };
  client: { private: string; public: string };
  preshared: string;
}

function makeKeys(): Keys {
  const pair = () => {
    const privateKey = generatePrivateKey();
    return { private: encodeKey(privateKey), public: encodeKey(publicKeyOf(privateKey)) };
  };
  return { gateway: pair(), client: pair(), preshared: encodeKey(generatePresharedKey()) };
}

function gatewayFile({ gateway, client, preshared }: Keys): string {
  return `[Interface]
PrivateKey = ${gateway.private}
Address = 10.9.0.1/24

[Peer]
PublicKey = ${client.public}
PresharedKey = ${preshared}
AllowedIPs = 10.9.0.2/32

[Proxy]
Subnets = 10.50.0.0/24
Protocols = tcp, udp
Map = ${SITE}/32 -> 127.0.0.1/32
`;
}

function clientFile({ gateway, client, preshared }: Keys, port: number): string {
  return `[Interface]
PrivateKey = ${client.private}
Address = 10.9.0.2/32

[Peer]
PublicKey = ${gateway.public}
PresharedKey = ${preshared}
AllowedIPs = 10.9.0.1/32, 10.50.0.0/24
Endpoint = 127.0.0.1:${port}
`;
}

async function startHere(
  config: string,
  started: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<{ port: number }> {
  const gateway = await Wirestack.start({ text: config });
  if (signal.aborted) await gateway.close();
  return started.use(gateway);
}

function placeOf(role: { pid: number } | object): string {
  return "pid" in role ? `process ${role.pid}` : "inside this process (it may not start others)";
}

function rejectionOf(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
}

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

function tell(label: string, text: string): void {
  console.log(`${label.padEnd(10)} ${text}`);
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

function ms(value: number): string {
  return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}
