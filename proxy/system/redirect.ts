/**
 * A redirect of this host's traffic into a tunnel without a device: what is changed on the host around a
 * gateway, and taken back.
 *
 * @module
 */

import { confineSystemCalls } from "../../ffi/confine/mod.ts";
import { hasNetAdmin, hasNetBindService, keepNetAdminAlone, NftablesError } from "../../ffi/mod.ts";
import type { Prefix } from "../../netstack/mod.ts";
import type { GatewayConfig } from "../config/config.ts";
import type { Gateway } from "../gateway/gateway.ts";
import type { Resolve } from "../gateway/resolver.ts";
import { RedirectInbound } from "../inbound/redirect/redirect.ts";
import { getLogger } from "../log/logger.ts";
import { DoneSteps } from "./done_steps.ts";
import { findEndpoints } from "./endpoints.ts";
import { SystemTunnelError } from "./error.ts";
import { LinuxHost } from "./host.ts";
import { takeBack } from "./leftovers.ts";
import { viewOf } from "./look.ts";
import { type NetworkNamespace, ownNamespace } from "./namespace.ts";
import { removeTable } from "./nft_script.ts";
import { ExemptHosts } from "./redirect_exempt.ts";
import { proxiedTargets, unmarkedHosts } from "./unmarked_hosts.ts";
import { planRedirect } from "./redirect_plan.ts";
import { exemptScript, redirectTable } from "./redirect_script.ts";
import { Keeper } from "./shell.ts";
import { STATE_DIRECTORY } from "./state_file.ts";
import { describeUser, type UserIds } from "./user.ts";

const log = getLogger(["wirestack", "system"]);

export interface SystemRedirectOptions {
  /** Tells this redirect from others of the host, as the name of a device does a tunnel. */
  readonly name: string;
  /** As the control socket has it. */
  readonly gateway?: string;
  readonly config: GatewayConfig;
  readonly cidrs: readonly Prefix[];
  readonly port: number;
  /** Who to become once all is done; missing: nobody else. */
  readonly user?: UserIds;
  /** Whether to give up system calls. */
  readonly confine: boolean;
  readonly resolve: Resolve;
  /** Files that go with it, and which the user it becomes could not remove. */
  readonly files?: readonly string[];
  /** Of state files. */
  readonly directory?: string;
}

/** What the gateway is started with, instead of what the configuration has. */
export interface RedirectStart {
  readonly config: GatewayConfig;
  readonly resolve: Resolve;
}

/** One redirect, from the first look at this host to the last step taken back. */
export class SystemRedirect {
  readonly #options: SystemRedirectOptions;
  readonly #host = new LinuxHost();
  readonly #namespace = ownNamespace();
  readonly #stopped = new AbortController();
  readonly #steps: DoneSteps;
  #exempt: ExemptHosts | undefined;
  #gateway: Gateway | undefined;
  #keeper: Keeper | undefined;
  #isTakenBack = false;
  #isDown = false;

  constructor(options: SystemRedirectOptions) {
    this.#options = options;
    const { name, gateway, directory } = options;
    this.#steps = new DoneSteps({
      ...{ host: this.#host, device: name, namespace: this.#namespace },
      ...(gateway !== undefined && { gateway }),
      ...(directory !== undefined && { directory }),
    });
  }

  /**
   * Takes the name, and back what an earlier process left of it. Nothing else is changed yet.
   *
   * @throws {SystemTunnelError}
   */
  claim(): void {
    const { name, directory } = this.#options;
    const count = cleanUpRedirect(name, directory, this.#host, this.#namespace);
    if (count > 0) {
      log.info("{count} steps of an earlier {device} taken back", { count, device: name });
    }
    this.#steps.open();
  }

  /**
   * Has the gateway started, listens, and only then hands this host's traffic to it.
   *
   * @throws {SystemTunnelError} Then {@link down} is to be called all the same, as later.
   */
  async up(start: (start: RedirectStart) => Promise<Gateway>): Promise<Gateway> {
    const { config, name, cidrs, port, directory } = this.#options;
    const host = this.#host;
    const { resolve } = this.#options;
    const found = await findEndpoints(config.peers, resolve, this.#stopped.signal);
    const exempt = this.#exempt = new ExemptHosts({
      hosts: () => unmarkedHosts(config, this.#gateway),
      prefixes: proxiedTargets(config),
      resolve,
      now: () => performance.now(),
      apply: (prefixes) => void host.nftables.run(exemptScript(name, prefixes)),
    });
    await exempt.look();
    // From the look to the last step: two that start at once must not choose the same table.
    using _turn = takeTurn(directory);
    const { mark, steps } = planRedirect({
      name,
      cidrs,
      exempt: exempt.prefixes,
      port,
      ...(config.fwMark !== undefined && { fwMark: config.fwMark }),
    }, viewOf(host, this.#steps.look()));
    const gateway = await start({ config: { ...config, fwMark: mark }, resolve: found.resolve });
    this.#gateway = gateway;
    try {
      listen(gateway, port, mark);
      for (const step of steps) this.#steps.do(step);
      exempt.start();
    } catch (error) {
      await gateway.close({ graceMs: 0 });
      throw error;
    }
    log.info("redirect: TCP and UDP to {prefixes} by port {port}, mark {mark}, not {exempt}", {
      prefixes: cidrs.join(", "),
      port,
      mark,
      exempt: exempt.prefixes.join(", ") || "what is this host's own",
    });
    return gateway;
  }

  /** Ends an {@link up} that waits for name servers. */
  interrupt(): void {
    this.#stopped.abort();
  }

  /**
   * Gives up the user, every capability that is not needed, and system calls.
   *
   * @returns what that is, in one line.
   */
  confine(): string {
    const { user, confine, files = [] } = this.#options;
    if (user !== undefined) {
      const script = 'if [ "$word" = done ]; then rm -f -- "$1"; fi\nshift 1\nrm -f -- "$@"';
      this.#keeper = new Keeper(script, [this.#steps.path, ...files]);
    }
    keepNetAdminAlone({ ...(user && { user }), bindsPorts: true });
    const refused = confine ? confineSystemCalls({ netfilter: true }) : "--no-confine";
    return [
      user === undefined ? "user as it was" : `user ${describeUser(user)}`,
      hasNetBindService()
        ? "capabilities CAP_NET_ADMIN and CAP_NET_BIND_SERVICE alone"
        : "capabilities CAP_NET_ADMIN alone: no answers from UDP ports below 1024",
      refused === undefined ? "system calls by seccomp" : `no seccomp: ${refused}`,
      "files as that user may (no Landlock)",
    ].join(", ");
  }

  /** Nothing is to be done while the gateway runs still. */
  async beforeDown(): Promise<void> {}

  /** Takes everything back, at once. What cannot be is logged, and stays in the state file. */
  down(): void {
    if (this.#isDown || !this.#steps.isOpen) return;
    this.#isDown = true;
    this.#exempt?.close();
    const problems = this.#steps.undo(this.#steps.all);
    for (const problem of problems) log.error("{problem}", { problem });
    this.#isTakenBack = problems.length === 0;
    this.#steps.close(this.#isTakenBack);
    if (this.#isTakenBack) return;
    const { name } = this.#options;
    log.error("not all is taken back, expected wirestack down {device}", { device: name });
  }

  /** The rest of it, which takes another user. */
  async afterDown(): Promise<void> {
    await this.#keeper?.finish("", this.#isTakenBack);
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#host[Symbol.dispose]();
  }
}

/**
 * Takes back what an earlier process of this name has left, whether it is written down or not.
 *
 * @returns how many steps that were.
 * @throws {SystemTunnelError} if it runs, or this user may not.
 */
export function cleanUpRedirect(
  name: string,
  directory?: string,
  opened?: LinuxHost,
  namespace: NetworkNamespace = ownNamespace(),
): number {
  if (!hasNetAdmin()) {
    throw new SystemTunnelError(
      "redirect: this user may not administer the network, expected root, or CAP_NET_ADMIN",
    );
  }
  const host = opened ?? new LinuxHost();
  try {
    const count = takeBack(host, name, namespace, directory);
    const table = redirectTable(name);
    try {
      host.nftables.run(`list table ${table.family} ${table.table}`);
    } catch (error) {
      if (error instanceof NftablesError && /No such file/.test(error.message)) return count;
      throw new SystemTunnelError((error as Error).message);
    }
    host.nftables.run(removeTable(table));
    return count + 1;
  } finally {
    if (opened === undefined) host[Symbol.dispose]();
  }
}

/** @throws {SystemTunnelError} if the port is another program's. */
function listen(gateway: Gateway, port: number, mark: number): void {
  try {
    gateway.inbounds.open((host) => new RedirectInbound(host, { port, mark }));
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) {
      throw new SystemTunnelError(`--port ${port}: is in use, expected another`);
    }
    throw new SystemTunnelError(`--port ${port}: ${(error as Error).message}`);
  }
}

/** Until it is disposed others that want it wait. */
function takeTurn(directory: string = STATE_DIRECTORY): Deno.FsFile {
  const file = Deno.openSync(directory);
  file.lockSync(true);
  return file;
}
