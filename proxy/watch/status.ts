/**
 * `[Status]`: where a gateway can be asked how it is. `/metrics`, `/healthz` and `/readyz`.
 *
 * @module
 */

import type { StatusConfig, StatusListen } from "../config/checked.ts";
import { SettingError } from "../config/error.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { listenPrivately, NameInUseError } from "../gateway/private_socket.ts";
import { getLogger } from "../log/logger.ts";
import { parseIpAddress, uriHost } from "../address.ts";
import type { AccessLog } from "./access_log.ts";
import { CONTENT_TYPE } from "./metrics/exposition.ts";
import { Guard, type GuardRefusal } from "./guard.ts";
import { type Health, livenessOf, readinessOf } from "./health.ts";
import { type Answer, type HttpLimits, type HttpRequest, HttpServer } from "./http_server.ts";
import { LoopDelay } from "./loop_delay.ts";
import { Metrics } from "./metrics/metrics.ts";
import { isReadableByAll, readToken } from "./token_file.ts";

const log = getLogger(["wirestack", "status"]);

/** Who asks more often is given the same figures again, ms. */
const REUSE_MS = 100;

export class StatusServer {
  readonly #server: HttpServer;
  readonly #guard = new Guard();
  readonly #loop = new LoopDelay();
  readonly #metrics = new Metrics();
  readonly #listen: StatusListen;
  #maxPeers: number;
  #gateway: Gateway | undefined;
  #accessLog: AccessLog | undefined;
  #unlisted: () => void = () => {};
  #port = 0;
  #inode: number | null = null;
  #text = "";
  #textAt = -Infinity;
  /** The text that is being made, for all who wait for it. */
  #making: Promise<string> | undefined;
  #isClosed = false;

  /**
   * Listens. Until {@link serve} it is not ready, and has no metrics.
   *
   * @throws {SettingError} if the system refuses the place, or the token's file is wrong.
   */
  static async open(config: StatusConfig, limits?: HttpLimits): Promise<StatusServer> {
    const status = new StatusServer(config, limits);
    status.apply(config);
    try {
      await status.#open();
      return status;
    } catch (error) {
      status.#server.close();
      throw new SettingError(["status", "listen"], problemOf(config.listen, error as Error), {
        cause: error,
      });
    }
  }

  private constructor({ listen, maxPeers }: StatusConfig, limits: HttpLimits | undefined) {
    this.#listen = listen;
    this.#maxPeers = maxPeers;
    this.#server = new HttpServer((request) => this.#answer(request), limits);
  }

  /** TCP; 0 for a Unix socket. */
  get port(): number {
    return this.#port;
  }

  /** Answers for `gateway` from now on, and keeps its peers from getting here. */
  serve(gateway: Gateway, accessLog?: AccessLog): void {
    this.#gateway = gateway;
    this.#accessLog = accessLog;
    this.#loop.start();
    const listen = this.#listen;
    if (listen.transport === "unix") {
      log.info("status at {path}", { path: listen.path });
      return;
    }
    this.#unlisted = gateway.proxy.listeners.add({
      protocol: "tcp",
      port: this.#port,
      address: parseIpAddress(listen.hostname),
    });
    gateway.proxy.reviewSoon();
    const host = uriHost(listen.hostname);
    log.info("status at http://{host}:{port}/metrics", { host, port: this.#port });
  }

  /**
   * Takes over names, number of peers and the token, which is read again. Where it listens stays.
   *
   * @param isTrial Whether to read the token's file only.
   * @throws {SettingError} if the token's file is wrong; then the old token goes on.
   */
  apply({ tokenFile, allowedHosts, maxPeers }: StatusConfig, isTrial = false): void {
    if (!isTrial) {
      this.#guard.setHosts(allowedHosts);
      this.#maxPeers = maxPeers;
    }
    let token: string | undefined;
    try {
      if (tokenFile !== undefined) token = readToken(tokenFile);
    } catch (error) {
      throw new SettingError(["status", "tokenFile"], (error as Error).message, { cause: error });
    }
    if (isTrial) return;
    if (tokenFile !== undefined && isReadableByAll(tokenFile)) {
      log.warn("{path}: is world accessible, expected mode 600", { path: tokenFile });
    }
    // A listener that others reach is never left without one.
    const isOpen = this.#listen.transport === "unix" || isLoopback(this.#listen.hostname);
    if (token !== undefined || isOpen) this.#guard.setToken(token);
  }

  /** Ends all of it at once. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#loop.stop();
    this.#unlisted();
    this.#server.close();
    if (this.#listen.transport === "unix") removeSocket(this.#listen.path, this.#inode);
  }

  async #open(): Promise<void> {
    const server = this.#server;
    const listen = this.#listen;
    if (listen.transport === "tcp") {
      this.#port = await server.listen({ host: listen.hostname, port: listen.port });
      return;
    }
    const { inode } = await listenPrivately(
      listen.path,
      0o600,
      (path) => server.listen({ path }),
      () => server.close(),
    );
    this.#inode = inode;
  }

  async #answer({ host, authorization, method, path }: HttpRequest): Promise<Answer> {
    const refusal = this.#guard.check({ host, authorization });
    if (refusal !== undefined) return refused(refusal);
    if (method !== "GET" && method !== "HEAD") {
      return { ...text(405, "expected GET or HEAD"), headers: { "Allow": "GET, HEAD" } };
    }
    switch (path) {
      case "/metrics":
        return this.#gateway === undefined
          ? text(503, "the gateway is being started")
          : { status: 200, type: CONTENT_TYPE, text: await this.#metricsText(this.#gateway) };
      case "/healthz":
        return health(livenessOf(this.#loop.current));
      case "/readyz":
        return health(this.#readiness());
      default:
        return text(404, "expected /metrics, /healthz or /readyz");
    }
  }

  #readiness(): Health {
    const gateway = this.#gateway;
    if (gateway === undefined) return { ok: false, reason: "the gateway is being started" };
    return readinessOf({
      port: gateway.port,
      peers: gateway.engine.device.peers(),
      wallClock: Date.now(),
    });
  }

  #metricsText(gateway: Gateway): string | Promise<string> {
    if (performance.now() - this.#textAt < REUSE_MS) return this.#text;
    return this.#making ??= this.#make(gateway).finally(() => this.#making = undefined);
  }

  async #make(gateway: Gateway): Promise<string> {
    await gateway.settle();
    const now = performance.now();
    this.#text = this.#metrics.text({
      gateway,
      loop: this.#loop,
      maxPeers: this.#maxPeers,
      server: this.#server,
      accessLog: this.#accessLog,
    }, now);
    this.#textAt = now;
    return this.#text;
  }
}

function isLoopback(hostname: string): boolean {
  return parseIpAddress(hostname)?.isLoopback === true;
}

function problemOf(listen: StatusListen, error: Error & { readonly code?: string }): string {
  if (error instanceof NameInUseError) return `${error.message}, expected another path`;
  if (listen.transport === "unix") return `${listen.path}: ${error.message}`;
  if (error.code === "EADDRINUSE") return `port ${listen.port} is in use, expected a free TCP port`;
  if (error.code === "EADDRNOTAVAIL" || error.code === "EINVAL") {
    return `${listen.hostname} is not this host's, expected one of its addresses`;
  }
  if (error.code === "EACCES") {
    return `this user may not listen on port ${listen.port}, expected 1024 or above`;
  }
  return error.message;
}

/** Unless another process has put its own there. */
function removeSocket(path: string, inode: number | null): void {
  try {
    if (Deno.lstatSync(path).ino === inode) Deno.removeSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    log.warn("{path} stays behind: {error}", { path, error });
  }
}

function refused(status: GuardRefusal): Answer {
  if (status === 421) return text(421, "this name is not this gateway's: see AllowedHosts");
  return {
    ...text(401, "expected the token as a bearer"),
    headers: { "WWW-Authenticate": "Bearer" },
  };
}

function health({ ok, ...rest }: Health): Answer {
  const body = JSON.stringify({ status: ok ? "ok" : "unavailable", ...rest });
  return { status: ok ? 200 : 503, type: "application/json", text: `${body}\n` };
}

function text(status: number, words: string): Answer {
  return { status, type: "text/plain; charset=utf-8", text: `${words}\n` };
}
