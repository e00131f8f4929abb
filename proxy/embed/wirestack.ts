/**
 * A gateway in one class, for programs that have it inside.
 *
 * @module
 */

import type { IpAddress, Prefix, TcpEndpoint } from "../../netstack/mod.ts";
import { parsePrefix } from "../address.ts";
import { type ConfigInput, loadConfig } from "../config/config.ts";
import {
  type CloseOptions,
  Gateway,
  type GatewayOptions,
  type GatewayStats,
} from "../gateway/gateway.ts";
import { getLogger } from "../log/logger.ts";
import type { Protocols } from "../forward/subnet_proxy.ts";
import { TunnelConn } from "../tunnel/conn.ts";
import { tunnelAddress, TunnelDatagramConn, TunnelListener } from "../tunnel/listener.ts";

/** Where a configuration comes from: an object, the text of a wg-quick file, or its name. */
export type ConfigSourceInput = string | ConfigInput | { config: string } | { file: string };

export interface ConnectOptions {
  /** An address inside the tunnel. */
  readonly hostname: string;
  readonly port: number;
  /** Gives up the connection while it is being made. */
  readonly signal?: AbortSignal;
}

export interface ListenOptions {
  /** One of the tunnel's own addresses. Missing: every one. */
  readonly hostname?: string;
  /** 0: any free one. */
  readonly port: number;
  /** Connections that may wait for `accept`. Default 128. */
  readonly backlog?: number;
}

export interface ListenDatagramOptions {
  /** One of the tunnel's own addresses. Missing: every one. */
  readonly hostname?: string;
  /** Missing or 0: any free one. */
  readonly port?: number;
}

/**
 * A running WireGuard gateway: a way into the tunnel for this program, and a proxy for the peers'.
 *
 * @example A client that fetches from a service behind a gateway
 * ```ts ignore
 * await using net = await Wirestack.start({ file: "wg0.conf" });
 * const conn = await net.connect({ hostname: "10.50.0.1", port: 80 });
 * await conn.write(new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n"));
 * console.log(await new Response(conn.readable).text());
 * ```
 */
export class Wirestack implements AsyncDisposable {
  readonly #gateway: Gateway;
  readonly #open = new Set<TunnelListener | TunnelDatagramConn>();
  #isClosed = false;

  private constructor(gateway: Gateway) {
    this.#gateway = gateway;
    gateway.closed.catch(() => {}).finally(() => this.#isClosed = true);
  }

  /**
   * Listens, and shakes hands with the peers that are to be kept alive.
   *
   * @throws {ConfigError} naming everything that is wrong with the configuration.
   * @throws {SettingError} if the system refuses a value: a port in use.
   */
  static async start(source: ConfigSourceInput, options: GatewayOptions = {}): Promise<Wirestack> {
    const { config, warnings } = await load(source);
    const log = getLogger(["wirestack", "config"]);
    for (const warning of warnings) log.warn("{warning}", { warning });
    return new Wirestack(await Gateway.start(config, options));
  }

  /** Bound UDP port. */
  get port(): number {
    return this.#gateway.port;
  }

  /** 32 bytes. */
  get publicKey(): Uint8Array {
    return this.#gateway.publicKey;
  }

  /** Resolves once closed; rejects if the gateway cannot go on. */
  get closed(): Promise<void> {
    return this.#gateway.closed;
  }

  /**
   * Opens a TCP connection inside the tunnel.
   *
   * @throws {TypeError} if `hostname` is not an IP address.
   * @throws {Deno.errors.ConnectionRefused} if the port is closed.
   * @throws {Deno.errors.TimedOut} if nobody answers.
   * @throws {Deno.errors.NetworkUnreachable} if nothing leads there.
   * @throws {Deno.errors.BadResource} after {@link close}.
   * @throws `signal.reason` when it is aborted.
   */
  async connect({ hostname, port, signal }: ConnectOptions): Promise<TunnelConn> {
    this.#checkOpen();
    signal?.throwIfAborted();
    const { stack, device, nic1 } = this.#gateway.engine;
    const remote = tunnelAddress(hostname);
    // A network the interface is in leads to NIC 1 as a whole, but only peers are there.
    const peer = device.peerAt(remote.bytes, 0, remote.version);
    if (stack.routes.lookupAddress(remote) !== nic1 || peer === undefined) {
      throw new Deno.errors.NetworkUnreachable(`connect: no peer's AllowedIPs hold ${remote}`);
    }
    const conn = new TunnelConn(this.#dial(remote, port));
    await conn.connected(signal);
    return conn;
  }

  /**
   * Listens for TCP connections from the tunnel.
   *
   * @throws {Deno.errors.AddrInUse} if somebody listens there already.
   * @throws {Deno.errors.BadResource} after {@link close}.
   */
  listen({ hostname, port, backlog = 128 }: ListenOptions): TunnelListener {
    this.#checkOpen();
    const address = hostname === undefined ? undefined : this.#ownAddress(hostname);
    const { tcp } = this.#gateway.engine.stack;
    try {
      const listener = new TunnelListener(
        (accepted) => tcp.listen({ ...(address && { address }), port, backlog }, { accepted }),
        backlog,
        (listener) => this.#open.delete(listener),
      );
      this.#open.add(listener);
      return listener;
    } catch (error) {
      throw inUse(error, port);
    }
  }

  /**
   * Opens a UDP socket inside the tunnel.
   *
   * @throws {Deno.errors.AddrInUse} if somebody has that port already.
   * @throws {Deno.errors.BadResource} after {@link close}.
   */
  listenDatagram({ hostname, port = 0 }: ListenDatagramOptions = {}): TunnelDatagramConn {
    this.#checkOpen();
    const address = hostname === undefined ? undefined : this.#ownAddress(hostname);
    const { engine } = this.#gateway;
    try {
      const socket = new TunnelDatagramConn(
        engine.stack.bindUdp({ ...(address && { address }), ...(port > 0 && { port }) }),
        () => engine.now(),
        (socket) => this.#open.delete(socket),
      );
      this.#open.add(socket);
      return socket;
    } catch (error) {
      throw inUse(error, port);
    }
  }

  /**
   * Lets peers reach subnets on this side, through NIC 2: at creation, later, or never.
   *
   * @param prefixes As `10.50.0.0/16`.
   * @throws {TypeError} if one is not a prefix.
   */
  enableProxyOnSubnet(
    prefixes: readonly string[],
    { tcp = true, udp = true }: Partial<Protocols> = {},
  ): void {
    this.#checkOpen();
    this.#gateway.enableProxyOnSubnet(prefixes.map(prefixOf), { tcp, udp });
  }

  /** Ends that, and the connections to these. @throws {TypeError} if one is not a prefix. */
  disableProxyOnSubnet(prefixes: readonly string[]): void {
    this.#checkOpen();
    this.#gateway.disableProxyOnSubnet(prefixes.map(prefixOf));
  }

  /** Single-interface mode: NIC 1 itself forwards TCP, for every address. Logs a warning. */
  enableTcpProxy(): void {
    this.#checkOpen();
    this.#gateway.enableTcpProxy();
  }

  /** Single-interface mode: NIC 1 itself forwards UDP, for every address. Logs a warning. */
  enableUdpProxy(): void {
    this.#checkOpen();
    this.#gateway.enableUdpProxy();
  }

  /** Plain values: peers, connections, counters by reason, resources in use. No secret. */
  stats(): GatewayStats {
    return this.#gateway.stats();
  }

  /** Takes no new connections, lets those that are finish for `graceMs` (0), resets the rest. */
  async close(options: CloseOptions = {}): Promise<void> {
    this.#isClosed = true;
    for (const open of [...this.#open]) open.close();
    await this.#gateway.close(options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new Deno.errors.BadResource("the gateway is closed");
  }

  #dial(remote: IpAddress, remotePort: number): TcpEndpoint {
    const { engine } = this.#gateway;
    try {
      return engine.stack.tcp.connect({ remote, remotePort }, engine.now());
    } catch (error) {
      if (error instanceof RangeError) throw error;
      const { message } = error as Error;
      throw new Deno.errors.NetworkUnreachable(`connect: ${message}`, { cause: error });
    }
  }

  #ownAddress(hostname: string) {
    const address = tunnelAddress(hostname);
    if (address.isUnspecified) return undefined;
    if (!this.#gateway.engine.nic1.owns(address.bytes, 0, address.version)) {
      throw new Deno.errors.AddrNotAvailable(`${address} is not an address of this tunnel's end`);
    }
    return address;
  }
}

async function load(source: ConfigSourceInput) {
  if (typeof source === "string") return loadConfig(source);
  if ("file" in source) {
    return loadConfig(await Deno.readTextFile(source.file), { file: source.file });
  }
  return loadConfig("config" in source ? source.config : source);
}

function prefixOf(text: string): Prefix {
  const prefix = parsePrefix(text);
  if (prefix === undefined) {
    throw new TypeError(`expected a prefix as 10.50.0.0/16, got ${JSON.stringify(text)}`);
  }
  return prefix;
}

function inUse(error: unknown, port: number): unknown {
  if (!(error instanceof Error) || error instanceof RangeError) return error;
  return new Deno.errors.AddrInUse(`port ${port}: ${error.message}`, { cause: error });
}
