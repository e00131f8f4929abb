/**
 * A way through an HTTP proxy: CONNECT, RFC 9110 §9.3.6. Which proxy, and for whom, is said as
 * everywhere by HTTPS_PROXY and NO_PROXY.
 *
 * @module
 */

import type { Socket } from "node:net";
import { Buffer } from "node:buffer";
import { bareHost, hostAndPort, parseIpAddress, parsePrefix, placeOfUrl } from "../../address.ts";

/** An HTTP proxy, and what it is shown. */
export interface HttpProxy {
  readonly host: string;
  readonly port: number;
  /** The header's value, which no log may have; undefined if it wants none. */
  readonly authorization: string | undefined;
}

/** How long the proxy may take to answer, its own connecting included. */
const ANSWER_LIMIT_MS = 10_000;
const MAX_HEAD = 16 << 10;
const DEFAULT_PORT = 80;

/**
 * The proxy that HTTPS_PROXY names.
 *
 * @param value `[http://][USER:PASSWORD@]HOST[:PORT]`; user and password percent-encoded.
 * @throws {Error} with what is wrong and expected, and nothing of the value, which may be a password.
 */
export function parseProxy(value: string): HttpProxy {
  const text = value.trim();
  const expected = "expected http://HOST:PORT";
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  if (scheme !== undefined && scheme !== "http") {
    throw new Error(`HTTPS_PROXY has the scheme ${scheme}, ${expected}`);
  }
  const url = URL.parse(scheme === undefined ? `http://${text}` : text);
  if (url === null || url.hostname === "" || url.port === "0") {
    throw new Error(`HTTPS_PROXY is no URL, ${expected}`);
  }
  let authorization: string | undefined;
  if (url.username !== "" || url.password !== "") {
    let pair: string;
    try {
      pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    } catch {
      throw new Error("HTTPS_PROXY has a user or password with a bare %, expected it as %25");
    }
    authorization = `Basic ${Buffer.from(pair).toString("base64")}`;
  }
  const { hostname: host, port } = placeOfUrl(url, DEFAULT_PORT);
  return { host, port, authorization };
}

/**
 * Whether a host is reached without the proxy.
 *
 * @param value NO_PROXY: `*`, or a list of names (with all below them, a leading dot or `*.` or
 * not), addresses and prefixes, each with a port behind it or not.
 */
export function isExempt(value: string, host: string, port: number): boolean {
  return value.split(/[\s,]+/).some((entry) => entry !== "" && covers(entry, host, port));
}

function covers(entry: string, host: string, port: number): boolean {
  if (entry === "*") return true;
  const address = parseIpAddress(host);
  const prefix = parsePrefix(bareHost(entry));
  if (prefix !== undefined) return address !== undefined && prefix.contains(address);
  const [, name, only] = /^\[?([^\]]*?)\]?(?::(\d+))?$/.exec(entry) ?? [];
  if (name === undefined || (only !== undefined && Number(only) !== port)) return false;
  const exempt = parseIpAddress(name);
  if (exempt !== undefined) return address !== undefined && `${exempt}` === `${address}`;
  const wanted = name.toLowerCase().replace(/^\*?\./, "");
  const given = host.toLowerCase().replace(/\.$/, "");
  return wanted !== "" && (given === wanted || given.endsWith(`.${wanted}`));
}

/**
 * Asks a proxy for a way to a host. The socket is then connected to that.
 *
 * @param socket Connected to the proxy. Whoever called destroys it when this fails.
 * @param signal Ends the attempt.
 * @throws {Error} with one line of what is wrong.
 */
export async function connectThrough(
  socket: Socket,
  proxy: HttpProxy,
  host: string,
  port: number,
  { signal, limitMs = ANSWER_LIMIT_MS }: { signal?: AbortSignal; limitMs?: number } = {},
): Promise<void> {
  const name = `the proxy ${hostAndPort(proxy.host, proxy.port)}`;
  const target = hostAndPort(host, port);
  const lines = [`CONNECT ${target} HTTP/1.1`, `Host: ${target}`];
  if (proxy.authorization !== undefined) lines.push(`Proxy-Authorization: ${proxy.authorization}`);
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  const head = await readHead(socket, name, limitMs, signal);
  const [, code, reason] = /^HTTP\/1\.[01] (\d{3})(?: ([^\r\n]*))?\r?\n/.exec(head) ?? [];
  if (code === undefined) throw new Error(`${name} does not answer as an HTTP proxy does`);
  if (code.startsWith("2")) return;
  if (code === "407") {
    throw new Error(
      proxy.authorization === undefined
        ? `${name} wants a user and a password, expected them in HTTPS_PROXY`
        : `${name} refuses the user and password of HTTPS_PROXY`,
    );
  }
  const words = (reason ?? "").replaceAll(/[^ -~]/g, "?").slice(0, 80).trim();
  throw new Error(`${name} does not connect to ${target}: ${`${code} ${words}`.trim()}`);
}

/** The answer's head; empty where there is none in what came. */
function readHead(
  socket: Socket,
  name: string,
  limitMs: number,
  signal: AbortSignal | undefined,
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let head = "";
  const onData = (bytes: Uint8Array) => {
    head += Buffer.from(bytes).toString("latin1");
    const end = /\r?\n\r?\n/.exec(head);
    if (end === null) {
      if (head.length > MAX_HEAD || !mayBecomeHttp(head)) resolve("");
      return;
    }
    const isMore = end.index + end[0].length < head.length;
    // Whom it connects to speaks second in TLS: what comes now is not from there.
    if (isMore && /^HTTP\/1\.[01] 2/.test(head)) {
      reject(new Error(`${name} sends more than its answer`));
    } else resolve(head);
  };
  const onError = (error: Error) => reject(new Error(`${name}: ${error.message}`));
  const onEnd = () => reject(new Error(`${name} has closed the connection without an answer`));
  const onAbort = () => reject(new Error("called off"));
  const timer = setTimeout(
    () => reject(new Error(`${name} has not answered within ${Math.ceil(limitMs / 1000)} s`)),
    limitMs,
  );
  socket.on("data", onData).on("error", onError).on("end", onEnd).on("close", onEnd);
  signal?.addEventListener("abort", onAbort);
  if (signal?.aborted) onAbort();
  return promise.finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
    socket.pause();
    socket.off("data", onData).off("error", onError).off("end", onEnd).off("close", onEnd);
  });
}

/** Garbage need not be waited for to its end. */
function mayBecomeHttp(head: string): boolean {
  return head.length < 9 ? "HTTP/1.".startsWith(head.slice(0, 7)) : /^HTTP\/1\.[01] /.test(head);
}
