/**
 * The site of the walk-through with a hub that listens in TLS and gRPC too, and an internet that can
 * drop WireGuard's datagrams.
 *
 * @module
 */

import { MadeAuthority } from "../proxy/bind/certificates/made.ts";
import { HUB, HUB_PORT } from "./internet.ts";
import { eventually, type Host, type Lab } from "./lab.ts";
import type { Process } from "./process.ts";
import { RedirectSite, type SiteExtras } from "./redirect_site.ts";

export type Transport = "tls" | "grpc";

export const PORTS: Readonly<Record<Transport, number>> = { tls: 8443, grpc: 8444 };
/** Everybody who runs a gateway here. */
const USER = 65534;

export class FallbackSite implements AsyncDisposable {
  readonly site: RedirectSite;

  private constructor(site: RedirectSite) {
    this.site = site;
  }

  /** @param isBlocked Whether UDP gets through from the beginning. */
  static async start(fallbacks: readonly Transport[], isBlocked: boolean): Promise<FallbackSite> {
    const site = await RedirectSite.start(async (lab, internet) => {
      await block(internet, isBlocked);
      return await relay(lab, fallbacks, HUB);
    });
    return new FallbackSite(site);
  }

  /** Drops WireGuard's datagrams, of everybody, or no more. */
  block(isBlocked: boolean): Promise<void> {
    return block(this.site.internet, isBlocked);
  }

  /** Waits until `log`, from line number `from` on, says that its peer is reached by `transport`. */
  async isBy(transport: Transport | "udp", log: Process, from: number): Promise<void> {
    await log.line(new RegExp(`by ${transport} now`), { from });
  }

  /** Waits until `log`'s peer is reached by UDP: who starts before the other side may take a fallback first. */
  async isByUdp(log: Process): Promise<void> {
    const last = log.lines.findLastIndex((line) => /by \w+ now/.test(line));
    if (last >= 0) await log.line(/by udp now/, { from: last });
  }

  /** Begins a download from the first target that does not end by itself. */
  async download(address: string): Promise<Download> {
    const download = new Download(
      this.site.client.spawn("download", ["python3", "-u", "-c", DOWNLOAD, address]),
    );
    await download.goesOn();
    return download;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.site[Symbol.asyncDispose]();
  }
}

/** When how much had come. */
export class Download {
  readonly #process: Process;

  constructor(process: Process) {
    this.#process = process;
  }

  /** Waits until something has come that had not yet. */
  async goesOn(): Promise<void> {
    const before = this.#process.lines.length;
    await eventually("more of the download", () => this.#process.lines.length > before + 2, {
      timeoutMs: 60_000,
      intervalMs: 20,
    });
  }

  /** The longest time without anything new since `from`, ms. @param from ms since the Unix epoch. */
  stall(from: number): number {
    const times = this.#process.lines.map((line) => Number(line.split(" ")[0]) * 1000);
    return Math.round(Math.max(
      ...times.map((time, i) => i > 0 && time > from ? time - times[i - 1]! : 0),
    ));
  }

  /** Whether every byte was right so far. */
  get isRight(): boolean {
    return this.#process.lines.every((line) => /^\d+\.\d+ \d+$/.test(line));
  }
}

/** A line each 50 ms at most, with the time and the bytes that have come; it ends at a wrong byte. */
const DOWNLOAD = `
import socket, sys, time
s = socket.create_connection((sys.argv[1], 80))
s.sendall(b"GET /endless HTTP/1.0\\r\\nHost: target\\r\\n\\r\\n")
data = b""
while b"\\r\\n\\r\\n" not in data: data += s.recv(65536)
data = data[data.index(b"\\r\\n\\r\\n") + 4:]
pattern = bytes(range(256)) * 1024
count, last = 0, 0
while True:
    if data != pattern[count % 256:][:len(data)]: sys.exit("a wrong byte behind %d" % count)
    count += len(data)
    if time.time() > last + 0.05:
        last = time.time()
        print("%.3f %d" % (last, count))
    data = s.recv(65536)
    if not data: sys.exit("the end, behind %d" % count)
`;

/**
 * Has a router drop WireGuard's datagrams, of everybody, or no more.
 *
 * @param hook Of the packet filter: `input` for a host that drops its own.
 */
export async function block(
  internet: Host,
  isBlocked: boolean,
  hook: "forward" | "input" = "forward",
): Promise<void> {
  const rules = [`udp dport ${HUB_PORT} drop`, `udp sport ${HUB_PORT} drop`];
  const lines = [
    "table inet block",
    "delete table inet block",
    "table inet block {",
    `chain ${hook} {`,
    `type filter hook ${hook} priority 0; policy accept;`,
    ...isBlocked ? rules : [],
    "}",
    "}",
  ];
  await internet.output(["nft", "-f", "-"], { input: `${lines.join("\n")}\n` });
}

/**
 * Certificates, and what the files say of them.
 *
 * @param hubHost The hub, as others call it.
 */
export async function relay(
  lab: Lab,
  fallbacks: readonly Transport[],
  hubHost: string,
): Promise<SiteExtras> {
  const authority = await MadeAuthority.make();
  const write = async (name: string, text: string, user = USER) => {
    const path = `${lab.directory}/${name}`;
    await Deno.writeTextFile(path, text, { mode: name.endsWith(".key") ? 0o600 : 0o644 });
    await Deno.chown(path, user, user);
    return path;
  };
  const ca = await write("ca.pem", authority.cert);
  const hub = await authority.leaf({ name: "hub", usage: "serverAuth", hosts: [hubHost] });
  const of = async (name: string, user: number) => {
    const { cert, key } = await authority.leaf({ name });
    return [
      ...fallbacks.map((transport) => `Fallback = ${transport}://${hubHost}:${PORTS[transport]}`),
      `Cert = ${await write(`${name}.pem`, cert, user)}`,
      `Key = ${await write(`${name}.key`, key, user)}`,
      `Ca = ${ca}`,
    ];
  };
  return {
    hub: [
      "[Relay]",
      ...fallbacks.map((transport) => `Listen = ${transport}:0.0.0.0:${PORTS[transport]}`),
      `Cert = ${await write("hub.pem", hub.cert)}`,
      `Key = ${await write("hub.key", hub.key)}`,
      `ClientCa = ${ca}`,
    ],
    peer: await of("agent", USER),
    // It starts as root, and becomes another user who may not read the key.
    client: await of("client", 0),
  };
}
