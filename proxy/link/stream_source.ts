/**
 * Where the other side of a stream link comes from.
 *
 * @module
 */

import { hostAndPort } from "../address.ts";
import { getLogger } from "../log/logger.ts";
import type { StreamConnection, StreamSource } from "./stream.ts";

const log = getLogger(["wirestack", "link"]);

type Take = (connection: StreamConnection, peer: string) => Promise<void>;

/** Between failing accepts, ms. */
const ACCEPT_AGAIN_MS = 100;

/** The other side connects: one at a time, the next when it is gone. */
export class ListeningSource implements StreamSource {
  readonly place: string;
  readonly isListening = true;
  readonly losesSides: boolean;
  readonly #listener: Deno.Listener<Deno.Conn>;
  #isClosed = false;

  /** @param place For people. */
  constructor(place: string, listener: Deno.Listener<Deno.Conn>) {
    this.place = place;
    this.losesSides = listener.addr.transport === "tcp";
    this.#listener = listener;
  }

  async start(take: Take): Promise<void> {
    for (let count = 1; !this.#isClosed;) {
      try {
        const connection = await this.#listener.accept();
        tune(connection);
        take(connection, peerOf(connection, count++));
      } catch {
        if (this.#isClosed) return;
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_AGAIN_MS)); // no descriptor left, say
      }
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#listener.close();
  }
}

const FIRST_MS = 250;
const MOST_MS = 30_000;
/** Who stays so long is not one that accepts and closes at once. */
const STABLE_MS = 10_000;

/** This side connects, again and again, at growing intervals. */
export class ConnectingSource implements StreamSource {
  readonly place: string;
  readonly isListening = false;
  readonly #link: string;
  readonly #connect: () => Promise<Deno.Conn>;
  #isClosed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #waitMs = FIRST_MS;

  /** @param place For people. */
  constructor(link: string, place: string, connect: () => Promise<Deno.Conn>) {
    this.#link = link;
    this.place = place;
    this.#connect = connect;
  }

  start(take: Take): void {
    this.#attempt(take, false);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #attempt(take: Take, isKnown: boolean): Promise<void> {
    const link = this.#link;
    const { place } = this;
    let hasFailed = isKnown;
    try {
      const connection = await this.#connect();
      if (this.#isClosed) {
        connection.close();
        return;
      }
      tune(connection);
      const since = performance.now();
      await take(connection, place);
      if (performance.now() - since >= STABLE_MS) this.#waitMs = FIRST_MS;
      hasFailed = false;
    } catch (error) {
      if (this.#isClosed) return;
      const reason = (error as Error).message;
      // Once, until it has been reached: it may be so for long.
      if (!hasFailed) log.warn("link {link}: {place}: {reason}", { link, place, reason });
      hasFailed = true;
    }
    if (this.#isClosed) return;
    const wait = this.#waitMs * (0.75 + Math.random() / 2);
    this.#timer = setTimeout(() => this.#attempt(take, hasFailed), wait);
    this.#waitMs = Math.min(MOST_MS, this.#waitMs * 2);
  }
}

function tune(connection: Deno.Conn): void {
  if (!("setNoDelay" in connection)) return;
  const tcp = connection as Deno.TcpConn;
  try {
    tcp.setNoDelay(true);
    tcp.setKeepAlive(true); // who is gone without a word is noticed some day
  } catch { /* it is closed already */ }
}

/** A Unix socket's client has no name: they are counted. */
function peerOf({ remoteAddr }: Deno.Conn, count: number): string {
  if (remoteAddr.transport !== "tcp") return `client ${count}`;
  const { hostname, port } = remoteAddr;
  return hostAndPort(hostname, port);
}
