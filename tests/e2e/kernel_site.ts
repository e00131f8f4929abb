/**
 * A Linux host and a stack of ours, joined by a lossy link, with services on both.
 *
 * @module
 */

import { createHash, randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import type { TcpSettings } from "../../netstack/mod.ts";
import { parseIpAddress } from "../../proxy/address.ts";
import { TunnelConn } from "../../proxy/tunnel/conn.ts";
import { TunnelListener } from "../../proxy/tunnel/listener.ts";
import { digest, duplex, echo } from "./answers.ts";
import { Recording } from "./capture.ts";
import { type Host, Lab } from "./lab.ts";
import type { LossyLinkOptions } from "./lossy_link.ts";
import { PORTS } from "./ports.ts";
import { ask, type Family } from "./site.ts";
import { Cable, KernelPort, StackPort } from "./tun_lab.ts";

export const KERNEL: Record<Family, string> = { 4: "10.77.0.1", 6: "fd77::1" };
export const OURS: Record<Family, string> = { 4: "10.77.0.2", 6: "fd77::2" };

const SERVICES = fileURLToPath(new URL("./services.ts", import.meta.url));

/** Fast and short, so that a test takes no longer than it must. */
const LINK: LossyLinkOptions = { rate: 200e6, delay: 2, queue: 250e3, loss: 0, seed: 1 };

export interface KernelSiteOptions {
  readonly link?: Partial<LossyLinkOptions>;
  readonly mtu?: number;
  readonly tcp?: Partial<TcpSettings>;
  readonly fileBytes?: number;
  /** For the host's kernel, e.g. `net.ipv4.tcp_sack=0`. */
  readonly sysctl?: string[];
}

export class KernelSite implements AsyncDisposable {
  readonly host: Host;
  readonly cable: Cable;
  readonly port: StackPort;
  readonly capture: Recording;
  readonly file: { readonly path: string; readonly bytes: Uint8Array; readonly sha256: string };
  /** Addresses that fit the MTU. */
  readonly families: readonly Family[];
  readonly #resources: AsyncDisposableStack;
  readonly #listeners = new Set<TunnelListener>();

  private constructor(
    resources: AsyncDisposableStack,
    parts: Pick<KernelSite, "host" | "cable" | "port" | "capture" | "file" | "families">,
  ) {
    this.#resources = resources;
    this.host = parts.host;
    this.cable = parts.cable;
    this.port = parts.port;
    this.capture = parts.capture;
    this.file = parts.file;
    this.families = parts.families;
  }

  /** Both ends up; services on the host listen, and on ours echo, digest and duplex do. */
  static async start(options: KernelSiteOptions = {}): Promise<KernelSite> {
    const { mtu = 1500, fileBytes = 300_000 } = options;
    const families: Family[] = mtu < 1280 ? [4] : [4, 6];
    const addresses = (of: Record<Family, string>) =>
      families.map((family) => `${of[family]}/${family === 4 ? 24 : 64}`);
    await using stack = new AsyncDisposableStack();
    const lab = stack.use(await Lab.create());
    const host = await lab.host("kernel");
    await host.sysctl("net.ipv4.tcp_no_metrics_save=1", ...options.sysctl ?? []);
    const kernel = stack.use(await KernelPort.open(host, addresses(KERNEL), mtu));
    const port = stack.use(
      new StackPort({ mtu, addresses: addresses(OURS), tcp: options.tcp ?? {} }),
    );
    const cable = stack.use(new Cable(kernel, port, { ...LINK, ...options.link }));
    const capture = await Recording.start(host, "tun", lab.directory);

    const bytes = randomBytes(fileBytes);
    const path = `${lab.directory}/file`;
    await Deno.writeFile(path, bytes);
    const services = host.spawn("services", [
      ...[Deno.execPath(), "run", "--no-lock", "--allow-net", "--allow-read", SERVICES, path],
      ...families.map((family) => KERNEL[family]),
    ]);
    await services.line(/ready/);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const parts = { host, cable, port, capture, file: { path, bytes, sha256 }, families };
    const site = new KernelSite(stack.move(), parts);
    site.serve(PORTS.echo, echo);
    site.serve(PORTS.digest, digest);
    site.serve(PORTS.duplex, (conn) => duplex(conn, bytes));
    return site;
  }

  /** Answers connections to a port of ours. What goes wrong on one shows at its other end. */
  serve(port: number, answer: (conn: TunnelConn) => Promise<void>): void {
    const { tcp } = this.port.stack;
    const listener = new TunnelListener(
      (accepted) => tcp.listen({ port, backlog: 1024 }, { accepted }),
      {
        address: parseIpAddress("0.0.0.0")!,
        backlog: 1024,
        connOf: (endpoint) => new TunnelConn(endpoint),
        onClosed: (closed) => this.#listeners.delete(closed),
      },
    );
    this.#listeners.add(listener);
    (async () => {
      for await (const conn of listener) answer(conn).catch(() => {});
    })();
  }

  /** A connection of ours to a service of the host. */
  async connect(family: Family, remotePort: number): Promise<TunnelConn> {
    const remote = parseIpAddress(KERNEL[family])!;
    const endpoint = this.port.stack.tcp.connect({ remote, remotePort }, this.port.now());
    const conn = new TunnelConn(endpoint);
    await conn.connected();
    return conn;
  }

  /** Runs a command of client.ts on the host, against ours. */
  // deno-lint-ignore no-explicit-any
  ask(command: string, family: Family, port: number, ...args: (string | number)[]): Promise<any> {
    return ask(this.host, command, OURS[family], port, ...args);
  }

  /** Connections of ours that are not over; TIME-WAIT does not count. */
  get connections(): number {
    const { tcpConnections, tcpHalfOpen } = this.port.stack.resources();
    return tcpConnections + tcpHalfOpen;
  }

  /** No port is listened on any more. */
  closeListeners(): void {
    for (const listener of [...this.#listeners]) listener.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closeListeners();
    await this.#resources.disposeAsync();
  }
}
