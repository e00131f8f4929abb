/**
 * The demo's client: what it requests of the site through the tunnel, and what it saw.
 *
 * @module
 */

import type { TunnelConn } from "../tunnel/conn.ts";
import { Wirestack } from "../embed/wirestack.ts";

/** What the client is given. Plain JSON. */
export interface ClientJob {
  /** A wg-quick file. */
  config: string;
  hostname: string;
  pagePort: number;
  echoPort: number;
  closedPort: number;
}

/** What the client saw. Plain JSON. */
export interface ClientReport {
  /** ms from the first packet to an open connection: the WireGuard handshake, the gateway's dial, TCP's handshake. */
  connectMs: number;
  page: { bytes: number; sha256: string; ms: number };
  echo: { sizes: number[]; rounds: number; medianMs: number };
  /** How the closed port answered: the name of the error. */
  closed: { error: string; ms: number };
  /** The gateway as WireGuard peer; `lastHandshake` in ms since the epoch. */
  peer: { publicKey: string; lastHandshake: number; sentBytes: number; receivedBytes: number };
}

const ECHO_SIZES = [1, 512, 1392]; // 1392 fills the tunnel's MTU of 1420
const ECHO_ROUNDS = 20;

/** @throws Error with a message for the demo's reader when it gets no answer */
export async function runClient(job: ClientJob, signal?: AbortSignal): Promise<ClientReport> {
  await using net = await Wirestack.start({ text: job.config });
  signal?.throwIfAborted();
  signal?.addEventListener("abort", () => net.close());
  const { hostname } = job;

  const started = performance.now();
  const connection = await net.connect({ hostname, port: job.pagePort });
  const connectMs = performance.now() - started;
  const page = await getPage(connection, `${hostname}:${job.pagePort}`);
  const pageMs = performance.now() - started - connectMs;

  const echo = await askEcho(net, hostname, job.echoPort);
  const closed = await tryClosed(net, hostname, job.closedPort);
  const peer = net.stats().peers[0]!;
  return {
    connectMs,
    page: { bytes: page.length, sha256: await sha256(page), ms: pageMs },
    echo,
    closed,
    peer: {
      publicKey: peer.publicKey,
      lastHandshake: peer.lastHandshake,
      sentBytes: peer.sentBytes,
      receivedBytes: peer.receivedBytes,
    },
  };
}

/** An HTTP/1.1 GET by hand. @returns the body, to the end of the connection */
async function getPage(connection: TunnelConn, authority: string): Promise<Uint8Array> {
  const request = new TextEncoder().encode(
    `GET / HTTP/1.1\r\nHost: ${authority}\r\nConnection: close\r\n\r\n`,
  );
  for (let sent = 0; sent < request.length;) {
    sent += await connection.write(request.subarray(sent));
  }
  const response = await new Response(connection.readable).bytes();
  const head = new TextDecoder("latin1").decode(response.subarray(0, 4096));
  const end = head.indexOf("\r\n\r\n");
  if (!head.startsWith("HTTP/1.1 200 ") || end < 0) {
    throw new Error(
      `the page answered ${JSON.stringify(head.slice(0, 40))}, expected HTTP/1.1 200`,
    );
  }
  return response.subarray(end + 4);
}

/** @returns lower-case hexadecimal */
export async function sha256(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as BufferSource)).toHex();
}

async function askEcho(
  net: Wirestack,
  hostname: string,
  port: number,
): Promise<ClientReport["echo"]> {
  const socket = await net.listenDatagram({ port: 0 });
  const to: Deno.NetAddr = { transport: "udp", hostname, port };
  let answer = socket.receive();
  const ask = async (size: number): Promise<number> => {
    const payload = crypto.getRandomValues(new Uint8Array(size));
    // UDP may lose a datagram; three in a row would be a defect.
    for (let attempt = 0; attempt < 3; attempt++) {
      const started = performance.now();
      await socket.send(payload, to);
      // What comes first may be a late answer to the one before.
      for (let received; (received = await within(5000, answer)) !== undefined;) {
        answer = socket.receive();
        if (isEqual(received[0], payload)) return performance.now() - started;
      }
    }
    throw new Error(`the UDP echo did not return a datagram of ${size} bytes`);
  };
  try {
    for (const size of ECHO_SIZES) await ask(size);
    const rounds: number[] = [];
    for (let round = 0; round < ECHO_ROUNDS; round++) rounds.push(await ask(64));
    rounds.sort((a, b) => a - b);
    return { sizes: ECHO_SIZES, rounds: ECHO_ROUNDS, medianMs: rounds[ECHO_ROUNDS / 2]! };
  } finally {
    answer.catch(() => {}); // ends with the socket
    socket.close();
  }
}

async function tryClosed(
  net: Wirestack,
  hostname: string,
  port: number,
): Promise<ClientReport["closed"]> {
  const started = performance.now();
  try {
    const connection = await net.connect({ hostname, port });
    connection.close();
  } catch (error) {
    return { error: (error as Error).name, ms: performance.now() - started };
  }
  return { error: "none: it was open", ms: performance.now() - started };
}

async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), ms);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
