/**
 * `up`: runs a gateway until a signal ends it.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import {
  ConfigError,
  type GatewayConfig,
  type LoadedConfig,
  SettingError,
} from "../config/config.ts";
import { summarizeProxy } from "../config/summary.ts";
import type { ControlHandlers } from "../control/operations.ts";
import { type ControlOptions, openControl } from "../control/open.ts";
import { type ControlServer, NameInUseError } from "../control/server.ts";
import type { Applied } from "../gateway/live_settings.ts";
import { SystemTunnelError } from "../system/error.ts";
import { encodeKey } from "../base64.ts";
import { CommandLog } from "./command_log.ts";
import { collectWhenQuiet } from "./garbage.ts";
import { listenForSignals, StopRequests } from "./signals.ts";
import type { Terminal } from "./terminal.ts";

/** How long connections may go on after the first signal. */
const GRACE_MS = 5000;

/** What `up` needs of a gateway. */
export interface RunningGateway {
  /** Bound UDP port. */
  readonly port: number;
  readonly publicKey: Uint8Array;
  /** Resolves once closed; rejects if the gateway cannot go on. */
  readonly closed: Promise<void>;
  stats(): unknown;
  close(options: { graceMs: number }): Promise<unknown>;
}

/** The status listener and the access log: see `Watch`. */
export interface Watching<G> {
  begin(gateway: G): void;
  apply(config: GatewayConfig, isTrial?: boolean): void;
  reopen(): void;
  close(): Promise<void>;
}

/** A device of the operating system around a gateway, and what comes with it: see `SystemTunnel`. */
export interface Surroundings {
  /** Before all else. @throws {SystemTunnelError} */
  claim(): void;
  /** Ends a start that waits, and programs that are waited for. */
  interrupt(): void;
  /** When all is open. @returns what was given up, in one line. */
  confine(): string;
  /** While the gateway runs still. */
  beforeDown(): Promise<void>;
  /** At once; also when this process is about to exit. @param hasFailed Nobody has asked for it. */
  down(hasFailed?: boolean): void;
  afterDown(): Promise<void>;
}

/** The capture from the start, and the end of every other: see `Recorder`. */
export interface Recording<G> {
  begin(gateway: G): void;
  close(): Promise<void>;
}

export interface UpOptions<G extends RunningGateway> {
  readonly start: (config: GatewayConfig) => Promise<G>;
  /** Default: none. */
  readonly surroundings?: Surroundings;
  /**
   * What the control socket and SIGHUP do to it.
   *
   * @param applied Called with each configuration that the gateway has taken over.
   */
  readonly handlers: (gateway: G, applied: Applied) => Omit<ControlHandlers, "stop">;
  readonly control: ControlOptions;
  /** Opens what is to be seen of it from outside. Default: nothing. @throws {SettingError} */
  readonly watch?: (config: GatewayConfig) => Promise<Watching<G>>;
  /** Opens what packets are captured to. Default: nothing. @throws {SettingError} */
  readonly record?: (config: GatewayConfig) => Recording<G>;
  /** How WireGuard's datagrams travel, for the line that says where it listens. */
  readonly udp: string;
  /** What this process has given up, in one line. */
  readonly confinement?: string;
  /** Called when the control socket is open, or cannot be: permissions for it may be given up. */
  readonly onControlOpen?: () => void;
  /** Tests send their own. */
  readonly listen?: typeof listenForSignals;
  readonly exit?: (status: number) => void;
}

/** @returns the exit status. */
export async function up<G extends RunningGateway>(
  loaded: LoadedConfig,
  options: UpOptions<G>,
  terminal: Terminal,
): Promise<number> {
  const { config, source } = loaded;
  let logs: CommandLog;
  try {
    logs = new CommandLog(config.log, terminal.error);
  } catch (error) {
    if (!(error instanceof SettingError)) throw error;
    terminal.error(`${source.label(error.path)}: ${error.message}\n`);
    return 2;
  }
  const log = getLogger(["wirestack"]);
  for (const warning of loaded.warnings) {
    getLogger(["wirestack", "config"]).warn("{warning}", { warning });
  }

  const stopped = Promise.withResolvers<void>();
  const requests = new StopRequests();
  let gateway: G | undefined;
  let handlers: ControlHandlers | undefined;
  let control: ControlServer | undefined;
  let watch: Watching<G> | undefined;
  let recording: Recording<G> | undefined;
  let stopCollecting = () => {};
  const hasHungUp = terminal.watchHangUp();
  const stop = (why: string) => {
    log.info("{why}stopping, connections have {seconds} s", { why, seconds: GRACE_MS / 1000 });
    stopped.resolve();
    options.surroundings?.interrupt();
  };
  const unlisten = (options.listen ?? listenForSignals)({
    stop() {
      const request = requests.receive(performance.now());
      if (request === "exit") {
        control?.close();
        options.surroundings?.down();
        (options.exit ?? Deno.exit)(1);
      }
      if (request === "stop") stop("");
    },
    report: () => log.info("stats", { stats: gateway?.stats() }),
    reload() {
      logs.reopen(); // rotated, most likely
      watch?.reopen();
      if (hasHungUp()) stop("the terminal is gone: ");
      else handlers?.reload().catch(logDefect);
    },
  });
  const { surroundings } = options;
  let hasFailed = false;
  try {
    surroundings?.claim();
    // Before all else: a gateway that already runs under this name must not be disturbed.
    control = await openControl(options.control);
    watch = await options.watch?.(config);
    recording = options.record?.(config);
    options.onControlOpen?.();
    gateway = await options.start(config);
    logListening(gateway, config, options.udp);
    watch?.begin(gateway);
    recording?.begin(gateway);
    const confinement = surroundings?.confine() ?? options.confinement;
    if (confinement !== undefined) log.info("{confinement}", { confinement });
    handlers = {
      ...options.handlers(gateway, (config, isTrial) => {
        if (!isTrial) logs.apply(config.log);
        watch?.apply(config, isTrial);
      }),
      stop: () => stop("asked to by the control socket: "),
    };
    if (control !== undefined) {
      control.serve(handlers);
      getLogger(["wirestack", "control"]).info("control socket {path}", { path: control.path });
    }
    stopCollecting = collectWhenQuiet();
    await Promise.race([stopped.promise, gateway.closed]);
    await surroundings?.beforeDown();
    await gateway.close({ graceMs: GRACE_MS });
    log.info("stopped");
    return 0;
  } catch (error) {
    if (error instanceof SettingError) {
      await gateway?.close({ graceMs: 0 });
      terminal.error(`${source.label(error.path)}: ${error.message}\n`);
      return 2;
    }
    if (error instanceof ConfigError) {
      terminal.error(`${error.message}\n`);
      return 2;
    }
    await gateway?.close({ graceMs: 0 });
    if (error instanceof SystemTunnelError) {
      terminal.error(`${error.message}\n`);
      return 1;
    }
    if (error instanceof NameInUseError) {
      terminal.error(`${error.message}, expected another name (--name)\n`);
      return 1;
    }
    hasFailed = true;
    log.error("failed: {error}", { error });
    if (error instanceof Error) log.debug("{stack}", { stack: error.stack });
    return 1;
  } finally {
    stopCollecting();
    try {
      await recording?.close(); // who reads by the control socket gets the rest
    } catch (error) {
      log.error("failed: {error}", { error }); // and this host is given back all the same
    }
    control?.close();
    surroundings?.down(hasFailed);
    await surroundings?.afterDown();
    unlisten();
    await watch?.close();
    await logs.close();
  }
}

function logListening(gateway: RunningGateway, config: GatewayConfig, udp: string): void {
  if (config.privateKey === undefined) {
    getLogger(["wirestack"]).info("forwarding, without WireGuard, for links {links}, {proxy}", {
      links: config.links.map(({ name }) => name).join(" "),
      proxy: config.proxy ? summarizeProxy(config.proxy) : "no proxy",
    });
    return;
  }
  getLogger(["wirestack"]).info(
    "listening on UDP port {port}, public key {publicKey}, address {address}, peers {peers}, {proxy}, {udp}",
    {
      port: gateway.port,
      publicKey: encodeKey(gateway.publicKey),
      address: config.addresses.map(({ address, length }) => `${address}/${length}`).join(" ") ||
        "none",
      peers: config.peers.length,
      proxy: config.proxy ? summarizeProxy(config.proxy) : "no proxy",
      udp,
    },
  );
}

/** What is wrong with a configuration has been logged. */
function logDefect(error: unknown): void {
  if (!(error instanceof ConfigError)) {
    getLogger(["wirestack"]).error("a defect: {error}", { error });
  }
}
