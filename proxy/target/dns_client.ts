/**
 * Asks name servers for addresses: over UDP, over TCP what does not fit, and the next server where one
 * does not answer.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";
import { decodeAnswer, type DnsAnswer, type DnsType, encodeQuery } from "./dns_message.ts";
import { Slots } from "./slots.ts";
import type { NameAnswer, NameSource } from "./names.ts";

/** Where a name server is. */
export interface DnsServer {
  readonly address: IpAddress;
  readonly port: number;
}

/** How long each server has, ms: in the first round and in the second. */
const PATIENCE_MS = [1_000, 2_000];
/** For all of it, ms: nobody waits any longer. */
const LIMIT_MS = 10_000;
/** RFC 8767 §5 has one to three days. */
const STALE_MS = 86_400_000;
/** Names that one answer after the other may lead to. */
const MAX_ALIASES = 8;
/** Questions asked at once; more wait. Each takes a descriptor. */
const MAX_QUESTIONS = 64;
/** Datagrams on a question's port that are no answer to it: after that, somebody is guessing. */
const MAX_FORGED = 32;
/** RFC 1035 §4.2.1; some servers send more. */
const MAX_DATAGRAM = 4_096;

/** Asks the servers that it is given, each question of the first that answers. */
export class DnsClient implements NameSource<DnsType> {
  readonly questions: readonly DnsType[] = ["AAAA", "A"]; // RFC 8305 §3: in this order
  readonly staleMs = STALE_MS;
  readonly #servers: readonly DnsServer[];
  readonly #patience: readonly number[];
  readonly #slots = new Slots(MAX_QUESTIONS);
  /** The server that answered last is asked first. */
  #first = 0;

  /** @param servers At least one, in the order in which they are asked. @param patience For tests. */
  constructor(servers: readonly DnsServer[], patience: readonly number[] = PATIENCE_MS) {
    this.#servers = servers;
    this.#patience = patience;
  }

  /** @throws {Error} if no server says. */
  async ask(name: string, type: DnsType, signal: AbortSignal): Promise<NameAnswer> {
    await this.#slots.take();
    try {
      return await this.#ask(name, type, performance.now() + LIMIT_MS, signal);
    } finally {
      this.#slots.give();
    }
  }

  async #ask(
    name: string,
    type: DnsType,
    deadline: number,
    signal: AbortSignal,
  ): Promise<NameAnswer> {
    let ttlMs = Infinity;
    for (let i = 0; i <= MAX_ALIASES; i++) {
      const answer = await this.#askServers(name, type, deadline, signal);
      ttlMs = Math.min(ttlMs, answer.ttlMs);
      if (answer.kind === "none") return { addresses: [], ttlMs };
      if (answer.kind === "addresses") return { addresses: answer.addresses, ttlMs };
      name = answer.name;
    }
    throw new Error("its aliases lead nowhere");
  }

  async #askServers(
    name: string,
    type: DnsType,
    deadline: number,
    signal: AbortSignal,
  ): Promise<Settled> {
    let why = "no name server answers";
    for (const patience of this.#patience) {
      for (let i = 0; i < this.#servers.length; i++) {
        const index = (this.#first + i) % this.#servers.length;
        const left = Math.min(patience, deadline - performance.now());
        if (left <= 0 || signal.aborted) throw new Error(why);
        const server = this.#servers[index]!;
        const answer = await askServer(server, name, type, left, signal);
        if (answer === undefined) continue;
        if (answer.kind !== "failed") {
          this.#first = index;
          return answer;
        }
        why = `name server ${server.address}: ${answer.why}`;
      }
    }
    throw new Error(why);
  }
}

/** What ends the search. */
type Settled = Exclude<DnsAnswer, { kind: "failed" | "truncated" }>;

/** @returns undefined if it does not answer. */
async function askServer(
  server: DnsServer,
  name: string,
  type: DnsType,
  patienceMs: number,
  outer: AbortSignal,
): Promise<Exclude<DnsAnswer, { kind: "truncated" }> | undefined> {
  const id = crypto.getRandomValues(new Uint16Array(1))[0]!;
  const query = encodeQuery(id, name, type);
  const read = (message: Uint8Array) => decodeAnswer(message, id, name, type);
  for (const ask of [askByUdp, askByTcp]) {
    const patience = new AbortController();
    const giveUp = () => patience.abort();
    const timer = setTimeout(giveUp, patienceMs);
    outer.addEventListener("abort", giveUp);
    try {
      const answer = await ask(server, query, read, patience.signal);
      if (answer?.kind !== "truncated") return answer;
    } catch (error) {
      if (patience.signal.aborted) return undefined;
      // The system refuses: no route, no descriptor.
      return { kind: "failed", why: (error as Error).message };
    } finally {
      clearTimeout(timer);
      outer.removeEventListener("abort", giveUp);
    }
  }
  return { kind: "failed", why: "it cuts off its answer" };
}

type Read = (message: Uint8Array) => DnsAnswer | undefined;

/** From a port of its own, that the system picks at random, so that it is hard to forge an answer. */
async function askByUdp(
  { address, port }: DnsServer,
  query: Uint8Array,
  read: Read,
  signal: AbortSignal,
): Promise<DnsAnswer | undefined> {
  const hostname = address.version === 4 ? "0.0.0.0" : "::";
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  using _closed = closedOn(signal, socket);
  await socket.send(query, { transport: "udp", hostname: `${address}`, port });
  const buffer = new Uint8Array(MAX_DATAGRAM);
  for (let i = 0; i < MAX_FORGED; i++) {
    const [message, sender] = await socket.receive(buffer);
    const from = sender as Deno.NetAddr;
    const isServer = from.port === port && parseIpAddress(from.hostname)?.equals(address);
    const answer = isServer ? read(message) : undefined;
    if (answer !== undefined) return answer;
  }
  return undefined;
}

/** RFC 7766: the same message behind its length. */
async function askByTcp(
  { address, port }: DnsServer,
  query: Uint8Array,
  read: Read,
  signal: AbortSignal,
): Promise<DnsAnswer | undefined> {
  const conn = await Deno.connect({ hostname: `${address}`, port, signal });
  using _closed = closedOn(signal, conn);
  const framed = new Uint8Array(2 + query.length);
  new DataView(framed.buffer).setUint16(0, query.length);
  framed.set(query, 2);
  for (let sent = 0; sent < framed.length;) sent += await conn.write(framed.subarray(sent));
  const length = await readExactly(conn, 2);
  const message = length && await readExactly(conn, length[0]! << 8 | length[1]!);
  return message && read(message);
}

/** Closes a socket at the end of the block, or as soon as the signal comes. */
function closedOn(signal: AbortSignal, socket: { close(): void }): Disposable {
  let isClosed = false;
  const close = () => {
    if (!isClosed) socket.close();
    isClosed = true;
  };
  signal.addEventListener("abort", close);
  return { [Symbol.dispose]: close };
}

/** @returns undefined if the connection ends before. */
async function readExactly(conn: Deno.Conn, length: number): Promise<Uint8Array | undefined> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const read = await conn.read(bytes.subarray(at));
    if (read === null) return undefined;
    at += read;
  }
  return bytes;
}
