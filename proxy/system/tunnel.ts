/**
 * A tunnel for all of this host: what `wg-quick up` and `wg-quick down` do around a gateway.
 *
 * @module
 */

import { confineSystemCalls } from "../../ffi/confine/mod.ts";
import { keepNetAdminAlone } from "../../ffi/mod.ts";
import { TunError } from "../../ffi/tun/mod.ts";
import type { GatewayConfig } from "../config/config.ts";
import type { ConfigPath } from "../config/error.ts";
import type { Gateway } from "../gateway/gateway.ts";
import type { Resolve } from "../gateway/resolver.ts";
import type { IpAddress, Prefix } from "../../netstack/mod.ts";
import { getLogger } from "../log/logger.ts";
import { RESOLVCONF_UNSET } from "./dns.ts";
import { DoneSteps } from "./done_steps.ts";
import { Bypass } from "./bypass.ts";
import { bypassScript, bypassSteps, type Destination } from "./bypass_steps.ts";
import { findEndpoints } from "./endpoints.ts";
import { SystemTunnelError } from "./error.ts";
import { Hooks } from "./hooks.ts";
import { LinuxHost } from "./host.ts";
import { takeBack } from "./leftovers.ts";
import {
  checkAbilities,
  checkDeviceName,
  defaultRouteMtu,
  routeMtu,
  routingView,
  viewOf,
} from "./look.ts";
import { tunnelMtu } from "./mtu.ts";
import { ownNamespace } from "./namespace.ts";
import { LiveRoutes } from "./live_routes.ts";
import { type HostView, type Plan, planTunnel, type TunnelSettings } from "./plan.ts";
import type { BypassPriorities } from "./routing.ts";
import { type ConfigFrame, SAVE_SCRIPT, savedText } from "./save_config.ts";
import { killSwitchTable } from "./kill_switch_script.ts";
import { Keeper } from "./shell.ts";
import type { RecordedStep } from "./state_file.ts";
import type { Step } from "./step.ts";
import { describeTunnel } from "./summary.ts";
import { describeUser, type UserIds } from "./user.ts";

const log = getLogger(["wirestack", "system"]);

export interface SystemTunnelOptions {
  /** Name of the device to be made. */
  readonly device: string;
  /** As the control socket has it. */
  readonly gateway?: string;
  readonly config: GatewayConfig;
  /** Where a value stands, for messages. */
  label(path: ConfigPath): string;
  /** Who to become once all is done; missing: nobody else. */
  readonly user?: UserIds;
  /** Whether to give up system calls. */
  readonly confine: boolean;
  readonly resolve: Resolve;
  /**
   * Done after the tunnel's own steps; taken back before them.
   *
   * @param does Does one later, while the tunnel is up.
   */
  more?(
    host: LinuxHost,
    settings: TunnelSettings,
    view: HostView,
    does: (step: Step) => void,
  ): MoreSteps;
  /** Written anew when the tunnel goes down. Default: no file is. */
  readonly save?: { readonly path: string; readonly frame: ConfigFrame };
  /** Files that go with the tunnel, and which the user it becomes could not remove. */
  readonly files?: readonly string[];
  /** Of state files. */
  readonly directory?: string;
}

/** What is done beside a tunnel's own steps. */
export interface MoreSteps {
  readonly steps: readonly Step[];
  /** A prefix has become a peer's, or is nobody's any more. */
  allowedIpChanged(prefix: Prefix, isThere: boolean): void;
  /** The steps are about to be taken back: nothing is changed any more. */
  close(): void;
}

/** What the gateway is started with, instead of what the configuration has. */
export interface DeviceStart {
  readonly device: string;
  readonly config: GatewayConfig;
  readonly resolve: Resolve;
  /** Where fallbacks are dialled: what goes around the tunnel. */
  dialledAddresses(host: string): readonly IpAddress[];
}

/** One tunnel, from the first look at this host to the last step taken back. */
export class SystemTunnel {
  readonly #options: SystemTunnelOptions;
  readonly #host = new LinuxHost();
  readonly #hooks: Hooks;
  readonly #namespace = ownNamespace();
  readonly #steps: DoneSteps;
  #bypass: Bypass | undefined;
  #bypassPriorities: BypassPriorities = {};
  #routes: LiveRoutes | undefined;
  #more: MoreSteps | undefined;
  #keeper: Keeper | undefined;
  #save: () => string = () => "";
  #saved = "";
  readonly #stopped = new AbortController();
  #isUp = false;
  #isDown = false;
  #isTakenBack = false;

  constructor(options: SystemTunnelOptions) {
    this.#options = options;
    const { device, gateway, directory, config, label } = options;
    this.#steps = new DoneSteps({
      ...{ host: this.#host, device, namespace: this.#namespace },
      ...(gateway !== undefined && { gateway }),
      ...(directory !== undefined && { directory }),
    });
    this.#hooks = new Hooks({
      device,
      lines: config.device,
      label: (which, index) => label(["interface", which, index]),
      signal: (group, signal) => this.#host.system.signalGroup(group, signal),
    });
  }

  /**
   * Takes the device's name, and back what an earlier process left of it. Nothing else is changed yet.
   *
   * @throws {SystemTunnelError}
   */
  claim(): void {
    const { device, directory } = this.#options;
    checkAbilities(this.#host.system);
    const count = takeBack(this.#host, device, this.#namespace, directory);
    if (count > 0) log.info("{count} steps of an earlier {device} taken back", { count, device });
    checkDeviceName(this.#host, device);
    this.#steps.open();
  }

  /**
   * Makes the device, has the gateway started on it, and gives this host to the tunnel; then gives up
   * what that took.
   *
   * @throws {SystemTunnelError} Then {@link down} is to be called all the same, as later.
   */
  async up(start: (start: DeviceStart) => Promise<Gateway>): Promise<Gateway> {
    const { device, config } = this.#options;
    const host = this.#host;
    const found = await findEndpoints(config.peers, this.#options.resolve, this.#stopped.signal);
    const bypass = this.#bypass = new Bypass({
      config,
      resolve: this.#options.resolve,
      now: () => performance.now(),
      apply: (destinations) => this.#goAround(destinations),
    });
    await bypass.find(this.#stopped.signal);
    const mtu = tunnelMtu({
      ...(config.device.mtu !== undefined && { mtu: config.device.mtu }),
      endpoints: found.addresses,
      hasIpv6: hasIpv6(config),
      routeMtu: (address) => routeMtu(host, address),
      defaultMtu: () => defaultRouteMtu(host),
    });
    const view = viewOf(host, this.#steps.look());
    const settings = {
      ...settingsOf(device, config, mtu),
      bypass: bypass.destinations,
      circular: bypass.circular().map(({ prefix }) => prefix),
    };
    const plan = planTunnel(settings, view);
    const { mark, steps } = plan;
    this.#bypassPriorities = plan.bypassPriorities;
    await this.#hooks.up("preUp");
    this.#isUp = true;
    let gateway: Gateway;
    try {
      gateway = await start({
        device,
        config: { ...config, mtu, ...(mark !== undefined && { fwMark: mark }) },
        resolve: found.resolve,
        dialledAddresses: (host) => bypass.addressesOf(host),
      });
    } catch (error) {
      if (error instanceof TunError) throw new SystemTunnelError(error.message);
      throw error;
    }
    try {
      for (const step of steps) this.#steps.do(step);
      const more = this.#more = this.#options.more?.(
        ...[host, settings, view] as const,
        (step) => this.#steps.do(step),
      );
      for (const step of more?.steps ?? []) this.#steps.do(step);
      log.info("{tunnel}", { tunnel: describeTunnel(settings, view, mark, more?.steps) });
      await this.#hooks.up("postUp");
      const { save } = this.#options;
      if (save !== undefined) this.#save = () => savedText(gateway, save.frame.hasPort);
      bypass.follow(gateway, settings);
      const routes = this.#routes = this.#liveRoutes(gateway, settings, plan);
      gateway.routes.onAllowedIpChanged = (prefix, isThere) => {
        routes.change(prefix, isThere);
        bypass.lookSoon();
        more?.allowedIpChanged(prefix, isThere);
      };
      // Those of a list, or enrolled, have come with the start.
      for (const peer of gateway.engine.device.peers()) {
        for (const prefix of gateway.peers.allowedIps(peer)) {
          gateway.routes.onAllowedIpChanged(prefix, true);
        }
      }
      return gateway;
    } catch (error) {
      await gateway.close({ graceMs: 0 });
      throw error;
    }
  }

  /** Ends an {@link up} that waits for name servers, and a hook that runs. */
  interrupt(): void {
    this.#stopped.abort();
    this.#hooks.interrupt();
  }

  /**
   * Gives up the user, every capability but CAP_NET_ADMIN, and system calls.
   *
   * @returns what that is, in one line.
   */
  confine(): string {
    const { user, config, confine, files = [], device } = this.#options;
    const { preDown, postDown } = config.device;
    const programs = preDown.length > 0 || postDown.length > 0;
    const needsKeeper = this.#steps.all.some(({ undo }) =>
      undo.kind === "dns" && undo.method === "resolvconf"
    );
    if (user !== undefined) {
      const { save } = this.#options;
      const script = `${needsKeeper ? `${RESOLVCONF_UNSET}\n` : ""}save=$2\n${SAVE_SCRIPT}` +
        'if [ "$word" = done ]; then rm -f -- "$3"; fi\nshift 3\nrm -f -- "$@"';
      this.#keeper = new Keeper(
        script,
        [device, save?.path ?? "", this.#steps.path, ...files],
        save && { WIRESTACK_HEAD: save.frame.head, WIRESTACK_REST: save.frame.rest },
      );
    }
    keepNetAdminAlone({ ...(user && { user }), forPrograms: programs });
    const parts = [user === undefined ? "user as it was" : `user ${describeUser(user)}`];
    parts.push("capabilities CAP_NET_ADMIN alone");
    const runsPrograms = programs || user === undefined && needsKeeper;
    const refused = confine
      ? confineSystemCalls({ netfilter: true, programs: runsPrograms })
      : "--no-confine";
    parts.push(refused === undefined ? "system calls by seccomp" : `no seccomp: ${refused}`);
    if (refused === undefined && runsPrograms) parts.push("programs may be started");
    parts.push("files as that user may (no Landlock)");
    return parts.join(", ");
  }

  /** Runs what is to run before the device goes. What fails is logged. */
  async beforeDown(): Promise<void> {
    if (this.#isUp && !this.#isDown) await this.#hooks.down("preDown");
    this.#saved = this.#save();
  }

  /**
   * Takes everything back, at once. What cannot be is logged, and stays in the state file.
   *
   * @param hasFailed Nobody has asked for the end: the kill switch stays, as when the process is killed.
   */
  down(hasFailed = false): void {
    this.#hooks.kill();
    const steps = this.#steps;
    if (this.#isDown || !steps.isOpen) return;
    this.#isDown = true;
    this.#bypass?.close();
    this.#routes?.close();
    this.#more?.close();
    const { device } = this.#options;
    const killSwitch = killSwitchTable(device).table;
    const stays = ({ undo }: RecordedStep) =>
      hasFailed && undo.kind === "nft-table" && undo.table === killSwitch;
    const keepsKillSwitch = steps.all.some(stays);
    const mine = steps.all.filter((step) => !this.#isKeepers(step.undo.kind) && !stays(step));
    const problems = steps.undo(mine);
    for (const problem of problems) log.error("{problem}", { problem });
    if (problems.length > 0) {
      log.error("not all is taken back, expected wirestack down {device}", { device });
      steps.close(false);
      return;
    }
    if (keepsKillSwitch) {
      log.error("the kill switch stays, until the next start or wirestack down {device}", {
        device,
      });
      steps.close(false);
      return;
    }
    this.#isTakenBack = true;
    // What the keeper takes back is to be known until it has: it removes the file.
    steps.close(mine.length === steps.all.length);
  }

  /** The rest of it, which takes other programs. */
  async afterDown(): Promise<void> {
    await this.#keeper?.finish(this.#saved, this.#isTakenBack);
    if (this.#isUp) await this.#hooks.down("postDown");
    this.#host[Symbol.dispose]();
  }

  #liveRoutes(gateway: Gateway, settings: TunnelSettings, plan: Plan): LiveRoutes {
    return new LiveRoutes({
      host: this.#host,
      settings,
      plan,
      view: () => routingView(this.#host, this.#steps.lookAgain()),
      do: (step) => this.#steps.do(step),
      takeBack: ({ title }) => {
        const step = this.#steps.all.find((step) => step.title === title);
        if (step !== undefined) this.#steps.takeBack(step);
      },
      setMark: (mark) => gateway.udp.setMark(mark),
      goAround: (priorities) => {
        this.#bypassPriorities = priorities;
        this.#goAround(this.#bypass!.destinations);
      },
    });
  }

  /** As the plan has done for what was known at the start. @throws {Error} if it cannot be. */
  #goAround(destinations: readonly Destination[]): void {
    const { device, config } = this.#options;
    const steps = new Map(
      bypassSteps(destinations, this.#bypassPriorities).map((step) => [step.title, step]),
    );
    if (config.device.killSwitch) {
      this.#host.perform("nft", { kind: "nft", script: bypassScript(device, destinations) });
    }
    for (const step of [...this.#steps.all]) {
      const { undo, title } = step;
      if (undo.kind !== "rule" || undo.destination === undefined || steps.delete(title)) continue;
      this.#steps.takeBack(step);
    }
    for (const step of steps.values()) this.#steps.do(step);
  }

  /** Whether a step is taken back by the keeper, who still may. */
  #isKeepers(kind: string): boolean {
    return this.#keeper !== undefined && kind === "dns" && this.#steps.resolvConf === undefined;
  }
}

function settingsOf(device: string, config: GatewayConfig, mtu: number): TunnelSettings {
  const { table, killSwitch, dns } = config.device;
  return {
    device,
    addresses: config.addresses,
    allowedIps: config.peers.flatMap(({ allowedIps }) => allowedIps),
    table,
    ...(config.fwMark !== undefined && { fwMark: config.fwMark }),
    mtu,
    killSwitch,
    dns,
  };
}

function hasIpv6({ addresses, peers }: GatewayConfig): boolean {
  return addresses.some(({ address }) => address.version === 6) ||
    peers.some(({ allowedIps }) => allowedIps.some(({ version }) => version === 6));
}
