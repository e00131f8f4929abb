/**
 * The operations of the control socket that are ours, in the form of WireGuard's: a line that names
 * one, lines of arguments, an empty line. The answer has lines of its own, JSON or percent-encoded
 * text, and an `errno`.
 *
 * @module
 */

import { Errno } from "../../ffi/mod.ts";
import { ConfigError, ForbiddenFilesError } from "../config/error.ts";
import type { Texts } from "../config/read_file.ts";
import type { Invited, Revoked } from "../gateway/enrolment/enrolment.ts";
import type { InvitationRequest } from "../gateway/enrolment/invitation.ts";
import type { SetRequest } from "./uapi_request.ts";
import { Refusal, RequestError } from "./refusal.ts";

/** What requests do. */
export interface ControlHandlers {
  /** The lines of an answer to `get=1`, in pieces. */
  get(): Iterable<string>;
  /** @returns why nothing was changed, if so. */
  set(request: SetRequest): Refusal | undefined;
  /** Plain values, without a secret, but for iterators: arrays that are made piece by piece. */
  stats(): object | Promise<object>;
  /**
   * Reads the configuration again.
   *
   * @param texts What stands in for files of these names. Missing: all are read.
   * @throws {ConfigError} if nothing was changed.
   */
  reload(texts?: Texts): Promise<ReloadLines>;
  /**
   * Changes single values until the next reload, all of them or none.
   *
   * @param settings As `Proxy.TcpDialTimeout=5`.
   * @throws {ConfigError} naming everything that is wrong.
   */
  change(settings: readonly string[]): ReloadLines;
  /**
   * The live flows as plain values, made one by one as they are asked for; an undefined is none, and
   * says that others should have their turn.
   *
   * @param peer A peer's name or public key, whose flows alone are wanted.
   * @param hasTargets Whether the round trips to targets are wanted too.
   * @throws {RequestError} if there is no such peer.
   */
  flows(peer: string | undefined, hasTargets: boolean): Iterable<unknown>;
  /**
   * The peers as plain values, made one by one as they are asked for.
   *
   * @param text Of those alone that have it in their name, public key, place or a prefix.
   */
  peers(text: string | undefined): Iterable<unknown>;
  /**
   * Ends a flow. @returns what it was, as plain values.
   *
   * @param id Its id, or enough of the first digits.
   * @throws {RequestError} if it is not one flow's.
   */
  kill(id: string): unknown;
  /** Ends the gateway, as a signal does. */
  stop(): void;
  /**
   * Begins a capture: the stream is a pcapng file; where others connect it has their counts at its end.
   *
   * @throws {RequestError} saying what is wrong.
   */
  capture(request: CaptureRequest): {
    /** Where, also if it was not asked for. */
    readonly at: readonly string[];
    readonly listening?: string;
    readonly stream: AnswerStream;
  };
  readonly enrolment: EnrolmentHandlers;
}

/** Machines that join a hub. */
export interface EnrolmentHandlers {
  /**
   * @returns a token, which is secret, and notes.
   * @throws {ConfigError} naming everything that is wrong; then nothing has changed.
   */
  invite(request: InvitationRequest): Promise<Invited>;
  /** Plain values, without a secret. @throws {ConfigError} */
  invites(): readonly unknown[];
  /** @throws {ConfigError} if there is nobody of this name. */
  revoke(name: string): Revoked;
}

/** What a reload has to say, a line each. */
export interface ReloadLines {
  readonly warnings: readonly string[];
  readonly changes: readonly string[];
}

/** What follows an answer, raw, until it ends or the client says that it has enough. */
export interface AnswerStream {
  /** The next piece, borrowed until the next call; undefined at the end. */
  read(): Promise<Uint8Array | undefined>;
  /** The client has said that it has enough, and waits for what is left. */
  stop(): void;
  /** The connection is gone, or at its end. */
  close(): void;
}

/** A capture that a client asks for, as text. */
export interface CaptureRequest {
  readonly at: readonly string[];
  readonly filter: string | undefined;
  readonly snap: string | undefined;
  readonly hasKeys: boolean;
  /** `tcp:ADDRESS:PORT`: for whoever connects there, while the client stays. */
  readonly listen: string | undefined;
}

export interface Answer {
  /**
   * Pieces of it, each of some ten KiB at most; made only as fast as the client takes them. Others have
   * their turn after an empty one.
   */
  readonly lines: Iterable<string>;
  readonly refusal?: Refusal;
  readonly stream?: AnswerStream;
}

/** An argument's values, by its key, in the order given. */
export type Arguments = ReadonlyMap<string, readonly string[]>;

export interface Operation {
  /** Keys that a request may have, each as often as it likes. */
  readonly keys: readonly string[];
  run(handlers: ControlHandlers, values: Arguments): Answer | Promise<Answer>;
}

/** By the first line of a request. A Map: an object would have `toString` for one. */
export const OPERATIONS: ReadonlyMap<string, Operation> = new Map<string, Operation>([
  ["get=1", { keys: [], run: (handlers) => ({ lines: handlers.get() }) }],
  ["wirestack_stats=1", {
    keys: [],
    run: async (handlers) => ({ lines: objectInPieces("stats", await handlers.stats()) }),
  }],
  ["wirestack_reload=1", {
    keys: ["texts"],
    // What is wrong with a file has been logged by then, as after SIGHUP.
    run: (handlers, values) =>
      changed(() => handlers.reload(parseTexts(values.get("texts"))), () => undefined),
  }],
  ["wirestack_set=1", {
    keys: ["setting"],
    run: (handlers, values) => changed(() => handlers.change(values.get("setting") ?? [])),
  }],
  ["wirestack_flows=1", {
    keys: ["peer", "targets"],
    run: (handlers, values) =>
      orRefused(() => ({
        lines: inPieces("flow", handlers.flows(values.get("peer")?.at(-1), values.has("targets"))),
      })),
  }],
  ["wirestack_peers=1", {
    keys: ["match"],
    run: (handlers, values) => ({
      lines: inPieces("peer", handlers.peers(values.get("match")?.at(-1)), PEERS_PIECE),
    }),
  }],
  ["wirestack_stop=1", {
    keys: [],
    run(handlers) {
      handlers.stop();
      return { lines: [] };
    },
  }],
  ["wirestack_kill=1", {
    keys: ["flow"],
    run: (handlers, values) =>
      orRefused(() => ({
        lines: inPieces("flow", [handlers.kill(values.get("flow")?.at(-1) ?? "")]),
      })),
  }],
  ["wirestack_invite=1", {
    keys: ["name", "endpoint", "subnet", "map", "client", "expires", "allowed_ips", "fallback"],
    run: (handlers, values) =>
      orProblems(async () => {
        const { token, notes } = await handlers.enrolment.invite(invitationOf(values));
        return [texts("note", notes), texts("token", [token])];
      }),
  }],
  ["wirestack_invites=1", {
    keys: [],
    run: ({ enrolment }) => orProblems(() => inPieces("member", enrolment.invites())),
  }],
  ["wirestack_revoke=1", {
    keys: ["name"],
    run: ({ enrolment }, values) =>
      orProblems(() => {
        const { done, unwritten } = enrolment.revoke(values.get("name")?.at(-1) ?? "");
        return [
          texts("change", [done]),
          texts("unwritten", unwritten === undefined ? [] : [unwritten]),
        ];
      }),
  }],
  ["wirestack_capture=1", {
    keys: ["at", "filter", "snap", "keys", "listen"],
    run: (handlers, values) => orRefused(() => captured(handlers, values)),
  }],
]);

/** Flows, and peers, that are written down at once: a third of a millisecond. */
const PIECE = 64;
const PEERS_PIECE = 16;

function* inPieces(key: string, values: Iterable<unknown>, piece = PIECE): Iterable<string> {
  let text = "";
  let count = 0;
  for (const value of values) {
    if (value === undefined) {
      yield "";
      continue;
    }
    text += `${key}=${JSON.stringify(value)}\n`;
    if (++count % piece !== 0) continue;
    yield text;
    text = "";
  }
  yield text;
}

/** One line, as `JSON.stringify` has it. */
function* objectInPieces(key: string, object: object): Iterable<string> {
  let text = `${key}={`;
  let comma = "";
  for (const [name, value] of Object.entries(object)) {
    if (value === undefined) continue;
    text += `${comma}${JSON.stringify(name)}:`;
    comma = ",";
    if (!(value instanceof Iterator)) {
      text += JSON.stringify(value);
      continue;
    }
    text += "[";
    let count = 0;
    for (const item of value) {
      text += (count > 0 ? "," : "") + JSON.stringify(item);
      if (++count % PEERS_PIECE !== 0) continue;
      yield text;
      text = "";
    }
    text += "]";
  }
  yield `${text}}\n`;
}

function captured(handlers: ControlHandlers, values: Arguments): Answer {
  const { at, listening, stream } = handlers.capture({
    at: values.get("at") ?? [],
    filter: values.get("filter")?.at(-1),
    snap: values.get("snap")?.at(-1),
    hasKeys: values.has("keys"),
    listen: values.get("listen")?.at(-1),
  });
  return { lines: [texts("at", at), texts("listening", listening ? [listening] : [])], stream };
}

function invitationOf(values: Arguments): InvitationRequest {
  const last = (key: string) => values.get(key)?.at(-1);
  const [expires, allowedIps] = [last("expires"), last("allowed_ips")];
  return {
    name: last("name") ?? "",
    endpoints: values.get("endpoint") ?? [],
    subnets: values.get("subnet") ?? [],
    maps: values.get("map") ?? [],
    isClient: values.has("client"),
    ...(expires !== undefined && { expires }),
    ...(allowedIps !== undefined && { allowedIps }),
    fallbacks: values.get("fallback") ?? [],
  };
}

/**
 * @param make Throws before the first line, or not at all.
 * @param reasonOf What the log is to say of problems. Default: the first.
 */
async function orProblems(
  make: () => Iterable<string> | Promise<Iterable<string>>,
  reasonOf: (problems: readonly string[]) => string | undefined = ([first]) => first,
): Promise<Answer> {
  try {
    return { lines: await make() };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const refusal = new Refusal(Errno.EINVAL, reasonOf(error.problems));
    const isForbidden = error instanceof ForbiddenFilesError;
    return {
      lines: [texts("problem", error.problems), isForbidden ? "forbidden=1\n" : ""],
      refusal,
    };
  }
}

/** @param make Throws before the first line, or not at all. */
function orRefused(make: () => Answer): Answer {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    return {
      lines: [texts("problem", [error.message])],
      refusal: new Refusal(error.errno, error.message),
    };
  }
}

/** @param reasonOf As of {@link orProblems}. */
function changed(
  change: () => ReloadLines | Promise<ReloadLines>,
  reasonOf: (problems: readonly string[]) => string | undefined = unchanged,
): Promise<Answer> {
  return orProblems(async () => {
    const { warnings, changes } = await change();
    return [texts("warning", warnings) + texts("change", changes)];
  }, reasonOf);
}

function unchanged([first, ...others]: readonly string[]): string {
  const more = others.length > 0 ? `, and ${others.length} more` : "";
  return `the configuration stays as it is: ${first}${more}`;
}

/**
 * @param parts Of a JSON object, texts by path.
 * @throws {ConfigError} if it is none.
 */
function parseTexts(parts: readonly string[] | undefined): Texts | undefined {
  if (parts === undefined) return undefined;
  try {
    const texts: unknown = JSON.parse(parts.join(""));
    const entries = Object.entries(texts as Record<string, unknown>);
    if (entries.every((entry): entry is [string, string] => typeof entry[1] === "string")) {
      return new Map(entries);
    }
  } catch { /* said below */ }
  throw new ConfigError(["texts: expected parts of a JSON object, texts by path"]);
}

function texts(key: string, values: readonly string[]): string {
  return values.map((value) => `${key}=${encodeURIComponent(value)}\n`).join("");
}
