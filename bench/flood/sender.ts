/** The flood. Sends at a rate for a time, and says what became of it. */

import {
  openUdpLibc,
  SendBatch,
  SOCKADDR_IN_SIZE,
  UdpSocket,
  udpUnavailable,
  writeSockaddr,
} from "../../ffi/mod.ts";
import { HASH, writeMAC } from "../../wireguard/hash.ts";
import { input, sleep } from "./process.ts";

/** What the bench gives this process. */
export interface FloodTask {
  readonly kind: string;
  readonly port: number;
  /** Of the gateway, hex. */
  readonly publicKey: string;
  /** Genuine ones, hex. */
  readonly initiations: readonly string[];
  readonly perSecond: number;
  readonly seconds: number;
}

export interface FloodResult {
  readonly sent: number;
  readonly seconds: number;
}

/** A flood's kinds, and the kinds of its messages in turn. */
export const KINDS: Readonly<Record<string, readonly string[]>> = {
  none: [],
  bad: ["bad"],
  replay: ["replay"],
  nonsense: ["nonsense"],
  many: ["nonsense"],
  mixed: ["bad", "replay", "nonsense"],
};

/** Distinct ones, so that they come again only after two seconds. */
const MESSAGES = 100_000;
const SIZE = 148;
const MANY_SOURCES = 250;
/** What a flood that has been kept waiting makes up for at once. */
const MOST_AT_ONCE = 500;

if (import.meta.main) await main();

async function main(): Promise<void> {
  const task = JSON.parse(await input()) as FloodTask;
  const sources = task.kind === "many" ? MANY_SOURCES : 1;
  const names = Array.from({ length: sources }, (_, i) => `127.7.${i}.9`);
  const send = udpUnavailable() === undefined
    ? batched(names, task.port, messagesOf(task))
    : single(names, task.port, messagesOf(task));
  const start = performance.now();
  let sent = 0;
  for (let elapsed = 0; elapsed < task.seconds * 1000; elapsed = performance.now() - start) {
    const due = Math.min(sent + MOST_AT_ONCE, Math.floor(elapsed * task.perSecond / 1000));
    await send(sent, due);
    sent = Math.max(sent, due);
    await sleep(1);
  }
  const result: FloodResult = { sent, seconds: (performance.now() - start) / 1000 };
  console.log(JSON.stringify(result));
  Deno.exit(0);
}

/** All of them one behind the other. */
function messagesOf({ kind, publicKey, initiations }: FloodTask): Uint8Array<ArrayBuffer> {
  const kinds = KINDS[kind]!;
  const all = new Uint8Array(MESSAGES * SIZE);
  const mac1Key = HASH(new TextEncoder().encode("mac1----"), Uint8Array.fromHex(publicKey));
  for (let i = 0; i < MESSAGES; i++) {
    const kind = kinds[i % kinds.length];
    const bytes = all.subarray(i * SIZE, (i + 1) * SIZE);
    crypto.getRandomValues(bytes);
    bytes.set([1, 0, 0, 0]);
    bytes.fill(0, 132);
    if (kind === "replay") bytes.set(Uint8Array.fromHex(initiations[i % initiations.length]!));
    else if (kind !== "bad") writeMAC(mac1Key, bytes, 0, 116, bytes, 116);
  }
  return all;
}

/** Sends messages from the one to before the other, each from the next source in turn. */
type Send = (from: number, to: number) => Promise<void>;

/** Over FFI: a flood of little CPU time, for attackers have machines of their own. */
function batched(names: readonly string[], port: number, messages: Uint8Array<ArrayBuffer>): Send {
  const libc = openUdpLibc();
  const sockets = names.map((hostname) => new UdpSocket(libc, { hostname, port: 0 }));
  const sockaddr = new Uint8Array(SOCKADDR_IN_SIZE);
  writeSockaddr(sockaddr, Uint8Array.of(127, 0, 0, 1), port);
  const to = { sockaddr, segmentLimit: Infinity, source: undefined };
  // Not as segments of one message: strangers' datagrams come one by one.
  const batch = new SendBatch(libc, messages, MOST_AT_ONCE, false);
  return (from, end) => {
    sockets.forEach(({ fd }, i) => {
      const first = from + (i - from % sockets.length + sockets.length) % sockets.length;
      for (let n = first; n < end; n += sockets.length) batch.push(to, n % MESSAGES * SIZE, SIZE);
      batch.flush(fd, () => {});
    });
    return Promise.resolve();
  };
}

function single(names: readonly string[], port: number, messages: Uint8Array<ArrayBuffer>): Send {
  const sockets = names.map((hostname) =>
    Deno.listenDatagram({ transport: "udp", hostname, port: 0 })
  );
  const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port };
  return async (from, end) => {
    const sends: Promise<number>[] = [];
    for (let n = from; n < end; n++) {
      const at = n % MESSAGES * SIZE;
      sends.push(sockets[n % sockets.length]!.send(messages.subarray(at, at + SIZE), to));
    }
    await Promise.all(sends);
  };
}
