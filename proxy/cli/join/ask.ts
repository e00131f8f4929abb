/**
 * Asks a hub to take this machine in: by the tunnel, as whom the token says. UDP is tried first; where it
 * does not get through, the fallbacks of the token, as a guest of the hub's.
 *
 * @module
 */

import { encodeKey } from "../../base64.ts";
import { Farewell, farewellText } from "../../bind/stream/mod.ts";
import { Wirestack } from "../../embed/wirestack.ts";
import { exchange, NOT_UNDERSTOOD } from "../../enrol/exchange.ts";
import type { EnrolAnswer, EnrolRequest, Grant, RefusalReason } from "../../enrol/message.ts";
import type { Token } from "../../enrol/token.ts";
import type { AsGuest } from "../../gateway/streams.ts";
import { timeText } from "../../log/time_text.ts";
import { guestIdentity } from "./guest_identity.ts";

/** For the hub to answer: with what else it takes, 20 s. */
export const LIMIT_MS = 19_000;
/** Nobody answers a token that is over, but by a clock that goes wrong it may not be. */
const OVER_LIMIT_MS = 8_000;

/** For the end of a connection to be told. */
const LAST_WORDS_MS = 500;

/** Why this machine is not taken in, in one line. */
export class JoinError extends Error {
  override readonly name = "JoinError";
  /** Whether the hub may have this machine's key all the same. */
  readonly isOpen: boolean;

  constructor(message: string, isOpen = false) {
    super(message);
    this.isOpen = isOpen;
  }
}

export interface AskOptions {
  /** Default {@link LIMIT_MS}. */
  readonly limitMs?: number;
  /** ms since the Unix epoch. */
  readonly now?: number;
}

/** @throws {JoinError} */
export async function requestGrant(
  token: Token,
  request: EnrolRequest,
  { limitMs = LIMIT_MS, now = Date.now() }: AskOptions = {},
): Promise<Grant> {
  const isOver = now >= token.expiresAt;
  try {
    const answer = await ask(token, request, isOver ? Math.min(limitMs, OVER_LIMIT_MS) : limitMs);
    if ("grant" in answer) return answer.grant;
    if ("renewed" in answer) throw new NoAnswer(NOT_UNDERSTOOD, true);
    throw new JoinError(`${token.name}: ${WORDS[answer.refused]}`);
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    const hint = isOver
      ? `; the token ended at ${timeText(token.expiresAt)}, by this machine's clock`
      : "";
    throw new JoinError(`${token.endpoints.join(", ")}: ${error.message}${hint}`, error.isOpen);
  }
}

class NoAnswer extends Error {
  /** Whether the request may have arrived. */
  readonly isOpen: boolean;

  constructor(message: string, isOpen: boolean) {
    super(message);
    this.isOpen = isOpen;
  }
}

/** All endpoints are tried at once, by the gateway; where none answers, fallbacks, one after the other. */
async function ask(token: Token, request: EnrolRequest, limitMs: number): Promise<EnrolAnswer> {
  const deadline = performance.now() + limitMs;
  const fallbacks = new Fallbacks(token.hubPin ? token.fallbacks : []);
  const { signal } = fallbacks;
  const net = await start(token, fallbacks);
  let isOpen = false;
  let timeout: ReturnType<typeof setTimeout> | undefined;
  let graceMs = 0;
  try {
    const { address, port } = token.service;
    const conn = await net.connect({ hostname: `${address}`, port, timeoutMs: limitMs, signal });
    const giveUp = () => conn.reset();
    signal.addEventListener("abort", giveUp);
    if (signal.aborted) giveUp();
    timeout = setTimeout(giveUp, Math.max(deadline - performance.now(), 1));
    isOpen = true;
    const answer = await exchange(conn, request);
    if (answer === undefined) throw new NoAnswer(NOT_UNDERSTOOD, true);
    graceMs = LAST_WORDS_MS;
    return answer;
  } catch (error) {
    if (error instanceof NoAnswer) throw error;
    if (fallbacks.refused !== undefined) return { refused: fallbacks.refused };
    const reason = whyNot(error, performance.now() >= deadline, isOpen);
    throw new NoAnswer(isOpen ? reason : `${reason}${fallbacks}`, isOpen);
  } finally {
    clearTimeout(timeout);
    await net.close({ graceMs });
  }
}

async function start(token: Token, fallbacks: Fallbacks): Promise<Wirestack> {
  const { link, service, hubKey, privateKey, endpoints, hubPin } = token;
  const hostLength = link.version === 4 ? 32 : 128;
  const asGuest: AsGuest | undefined = hubPin && {
    identity: await guestIdentity(token),
    onProblem: (url, problem) => fallbacks.failed(url, problem),
  };
  return await Wirestack.start({
    interface: { privateKey: encodeKey(privateKey), address: `${link}/${hostLength}` },
    peers: [{
      publicKey: encodeKey(hubKey),
      endpoint: [...endpoints],
      allowedIps: `${service.address}/${hostLength}`,
      ...(hubPin && {
        fallback: [...token.fallbacks],
        pin: `sha256/${hubPin.toBase64()}`,
        ...{ cert: NO_FILE, key: NO_FILE },
      }),
    }],
  }, { ffi: false, ...(asGuest && { asGuest }) });
}

/** What becomes of the token's fallbacks. */
class Fallbacks {
  readonly #end = new AbortController();
  readonly #problems: Map<string, string>;
  /** What the hub says of the token where its certificate is shown: there is nothing to wait for then. */
  refused: RefusalReason | undefined;

  /** @param urls Those that may be tried. */
  constructor(urls: readonly string[]) {
    this.#problems = new Map(urls.map((url) => [url, "nothing came by it in this time"]));
  }

  /** Aborted when the token is {@link refused}. */
  get signal(): AbortSignal {
    return this.#end.signal;
  }

  failed(url: string, problem: string): void {
    this.#problems.set(url, problem);
    this.refused ??= AT_THE_DOOR.get(problem);
    if (this.refused !== undefined) this.#end.abort(new Error("the token is refused"));
  }

  /** Behind what there is to say of UDP. */
  toString(): string {
    return Array.from(this.#problems, ([url, problem]) => `; ${url}: ${problem}`).join("");
  }
}

const AT_THE_DOOR: ReadonlyMap<string, RefusalReason> = new Map([
  [farewellText(Farewell.TokenUsed), "used"],
  [farewellText(Farewell.TokenExpired), "expired"],
  [farewellText(Farewell.TokenRevoked), "revoked"],
]);

/** A guest shows no file. */
const NO_FILE = "none";

function whyNot(error: unknown, isLate: boolean, isOpen: boolean): string {
  if (isLate && isOpen) return "the hub was reached and gives no answer, try again";
  const message = error instanceof Error ? error.message : String(error);
  if (isLate || error instanceof Deno.errors.TimedOut) {
    return /has not been found/.test(message)
      ? "the name has not been found"
      : "no answer, expected a hub there that UDP gets to and that knows this token " +
        "(one that was used up, revoked or over some time ago is forgotten)";
  }
  if (error instanceof Deno.errors.ConnectionRefused) {
    return "nobody can be enrolled there now, expected a hub that runs with its state";
  }
  if (error instanceof Deno.errors.ConnectionReset) {
    return "the hub is too busy or was asked too often, try again in a few seconds";
  }
  return message;
}

const WORDS: Readonly<Record<RefusalReason, string>> = {
  used: "this token was used, expected a new one (wirestack invite)",
  bound: "this token was used by another machine, expected a new one (wirestack invite)",
  expired: "this token has expired, expected a new one (wirestack invite)",
  revoked: "this token was revoked, expected a new one (wirestack invite)",
  key:
    "the hub has a peer with this machine's key already, expected another key (remove the .joining file)",
  name: "the hub has another peer of this name by now, expected a new token (wirestack invite)",
  full: "the hub has no address left, expected room in its AddressPool",
  state: "the hub cannot write its state, nothing has changed there (its log says why)",
  certificate: "the hub cannot sign a certificate, nothing has changed there (its log says why)",
  malformed: "the hub did not understand the request, expected the same version on both sides",
};
