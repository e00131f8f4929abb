/**
 * Asks a hub for another certificate, inside the tunnel, where it knows who asks by the key of WireGuard's.
 *
 * @module
 */

import type { ClientIdentity } from "../../bind/stream/tls/mod.ts";
import { plainRequest } from "../../certificates/plain_request.ts";
import type { TunnelPlace } from "../../config/checked.ts";
import type { Engine } from "../../engine/engine.ts";
import { exchange, NOT_UNDERSTOOD } from "../../enrol/exchange.ts";
import type { RefusalReason } from "../../enrol/message.ts";
import { TunnelConn } from "../../tunnel/conn.ts";

/** For all of it. */
const LIMIT_MS = 30_000;

export interface AskOptions {
  readonly engine: Engine;
  /** Whether a device of the system has the tunnel's addresses: then its kernel connects. */
  readonly hasDevice: boolean;
}

type Conn = Pick<Deno.Conn, "read" | "write" | "close">;

/** @returns PEM. @throws {Error} with one clear line. */
export async function askForCertificate(
  { engine, hasDevice }: AskOptions,
  { address, port }: TunnelPlace,
  { key }: ClientIdentity,
  ended: AbortSignal,
): Promise<string> {
  const certificateRequest = plainRequest(key);
  const signal = AbortSignal.any([ended, AbortSignal.timeout(LIMIT_MS)]);
  let conn: Conn | undefined;
  const giveUp = () => close(conn);
  try {
    conn = hasDevice
      ? await Deno.connect({ hostname: `${address}`, port, signal })
      : await connect(engine, { address, port }, signal);
    signal.addEventListener("abort", giveUp);
    signal.throwIfAborted();
    const { publicKey } = engine.device;
    const answer = await exchange(conn, { publicKey, certificateRequest, renews: true });
    if (answer !== undefined && "renewed" in answer) return answer.renewed;
    throw new Error(
      answer !== undefined && "refused" in answer
        ? `the hub refuses: ${WORDS[answer.refused] ?? answer.refused}`
        : NOT_UNDERSTOOD,
    );
  } catch (error) {
    if (signal.aborted && !ended.aborted) {
      throw new Error(`no answer from the hub within ${LIMIT_MS / 1000} s`, { cause: error });
    }
    throw error;
  } finally {
    signal.removeEventListener("abort", giveUp);
    close(conn);
  }
}

async function connect(
  engine: Engine,
  { address, port }: TunnelPlace,
  signal: AbortSignal,
): Promise<Conn> {
  const conn = new TunnelConn(
    engine.stack.tcp.connect({ remote: address, remotePort: port }, engine.now()),
  );
  await conn.connected(signal);
  return conn;
}

function close(conn: Conn | undefined): void {
  try {
    conn?.close();
  } catch { /* it is closed */ }
}

const WORDS: Partial<Record<RefusalReason, string>> = {
  certificate: "it cannot sign one, its log says why",
  key: "the key is not the one of the certificate before",
  revoked: "this machine is revoked",
  state: "it cannot write its state",
  malformed: "it did not understand the request",
};
