/**
 * The hub's side of the connections by which machines enrol: who may have one, for how long, and how
 * often. What it is about is decided elsewhere.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";
import { getLogger } from "../log/logger.ts";
import {
  type EnrolAnswer,
  type EnrolRequest,
  formatAnswer,
  MAX_REQUEST,
  parseRequest,
} from "./message.ts";
import { readLine, writeText } from "./line.ts";

const log = getLogger(["wirestack", "enrolment"]);

/** Connections at once, of all tokens. */
const MAX_AT_ONCE = 32;
/** For a request to be complete, and again for its answer to be taken. */
const TIMEOUT_MS = 5_000;
/** Connections of one token: so many at once, then one a second. */
const BURST = 10;
const INTERVAL_MS = 1_000;

/** A connection in the tunnel. */
export type ServiceConn =
  & Pick<Deno.Conn<Deno.NetAddr>, "read" | "write" | "close" | "remoteAddr">
  & { reset(): void };

export interface ServiceOptions {
  /** Whether a token that is heard has this address, or an enrolled machine. */
  mayAsk(address: IpAddress): boolean;
  answer(address: IpAddress, request: EnrolRequest | undefined): Promise<EnrolAnswer>;
  /** ms, monotonic. */
  now(): number;
  /** Default 5000. */
  readonly timeoutMs?: number;
}

interface Allowance {
  left: number;
  at: number;
  isOpen: boolean;
}

export class EnrolService {
  readonly #options: ServiceOptions;
  /** By address. */
  readonly #allowances = new Map<string, Allowance>();
  readonly #open = new Set<ServiceConn>();

  constructor(options: ServiceOptions) {
    this.#options = options;
  }

  /** Connections that are open. */
  get size(): number {
    return this.#open.size;
  }

  /** Answers one request and closes; or refuses the connection. Never throws. */
  async accept(conn: ServiceConn): Promise<void> {
    const link = parseIpAddress(conn.remoteAddr.hostname);
    if (link === undefined || !this.#options.mayAsk(link)) return refuse(conn);
    const allowance = this.#allowanceOf(`${link}`);
    if (allowance === undefined || this.#open.size >= MAX_AT_ONCE) return refuse(conn);
    allowance.isOpen = true;
    this.#open.add(conn);
    const limit = () => setTimeout(() => refuse(conn), this.#options.timeoutMs ?? TIMEOUT_MS);
    let timer = limit();
    try {
      const line = await readLine(conn, MAX_REQUEST);
      const request = line === undefined ? undefined : parseRequest(line);
      clearTimeout(timer); // how long signing takes is not the machine's doing
      const answer = await this.#options.answer(link, request);
      timer = limit();
      await writeText(conn, formatAnswer(answer));
      conn.close();
    } catch (error) {
      log.debug("a connection of {link} ends early: {reason}", {
        link,
        reason: error instanceof Error ? error.message : String(error),
      });
      refuse(conn);
    } finally {
      clearTimeout(timer);
      this.#open.delete(conn);
      allowance.isOpen = false;
    }
  }

  /** Nobody has this address any more. */
  forget(link: IpAddress): void {
    this.#allowances.delete(`${link}`);
    for (const conn of this.#open) if (conn.remoteAddr.hostname === `${link}`) refuse(conn);
  }

  close(): void {
    for (const conn of this.#open) refuse(conn);
  }

  /** @returns undefined if it may have no other connection now. */
  #allowanceOf(link: string): Allowance | undefined {
    const now = this.#options.now();
    const known = this.#allowances.get(link) ?? { left: BURST, at: now, isOpen: false };
    this.#allowances.set(link, known);
    const earned = Math.floor((now - known.at) / INTERVAL_MS);
    if (earned > 0) {
      known.left = Math.min(BURST, known.left + earned);
      known.at += earned * INTERVAL_MS;
    }
    if (known.isOpen || known.left === 0) return undefined;
    known.left--;
    return known;
  }
}

function refuse(conn: ServiceConn): void {
  try {
    conn.reset();
  } catch { /* it is closed */ }
}
