/**
 * Steps done to this host, and taken back: by netlink, nftables and /proc/sys, from the thread that
 * calls, whose capabilities count.
 *
 * @module
 */

import { Errno, LinuxSystem, Nftables, SystemCallError } from "../../ffi/mod.ts";
import { Netlink, NetlinkError, type RouteSpec } from "../../ffi/netlink/mod.ts";
import { type ResolvConf, setDns, unsetDns } from "./dns.ts";
import { SystemTunnelError } from "./error.ts";
import { removeTable } from "./nft_script.ts";
import {
  type Action,
  type LocalRouteAction,
  type NftRuleUndo,
  type RouteAction,
  type RuleAction,
  sysctlPath,
  type Undo,
} from "./step.ts";

const LOOPBACK = "lo";
/** What was taken back already, or never done. */
const ABSENT = ["ENOENT", "ESRCH", "ENODEV", "EADDRNOTAVAIL", "EAFNOSUPPORT"];

export class LinuxHost implements Disposable {
  readonly netlink: Netlink;
  readonly system: LinuxSystem;
  #nftables: Nftables | undefined;

  /** @throws {Error} without FFI. */
  constructor() {
    this.netlink = new Netlink();
    this.system = new LinuxSystem();
  }

  /** @returns undefined if there is no such setting. */
  sysctl(key: string): string | undefined {
    return this.system.readText(sysctlPath(key))?.trim();
  }

  /**
   * Does what a step says.
   *
   * @returns /etc/resolv.conf, open, if the step has written to it.
   * @throws {SystemTunnelError} with the reason.
   */
  perform(title: string, action: Action): ResolvConf | undefined {
    try {
      if (action.kind === "dns") return setDns(action);
      this.#perform(action);
      return undefined;
    } catch (error) {
      if (error instanceof SystemTunnelError) throw error;
      throw new SystemTunnelError(`${title}: ${reasonOf(error, action)}`);
    }
  }

  /**
   * Takes a step back; nothing happens if there is nothing to take back.
   *
   * @param isHeld Whether another tunnel needs a setting of sysctl still.
   * @throws {Error} if it cannot be.
   */
  undo(undo: Undo, isHeld: (key: string) => boolean, resolvConf?: ResolvConf): void {
    switch (undo.kind) {
      case "rule":
        return orAbsent(() => this.netlink.removeRule(ruleOf(undo)));
      case "local-route":
        return orAbsent(() => this.netlink.removeRoute(this.#localRoute(undo)));
      case "nft-table":
        return void this.nftables.run(removeTable(undo));
      case "nft-rule":
        return this.#removeRule(undo);
      case "sysctl":
        if (isHeld(undo.key) || this.sysctl(undo.key) !== undo.value) return;
        return this.#setSysctl(undo.key, undo.before);
      case "dns":
        return unsetDns(undo, resolvConf);
    }
  }

  /** Of a device that is there. @throws {NetlinkError} */
  removeRoute(action: RouteAction): void {
    this.netlink.removeRoute(this.#route(action));
  }

  /** @throws {NftablesError} if the library is not installed. */
  get nftables(): Nftables {
    return this.#nftables ??= new Nftables();
  }

  [Symbol.dispose](): void {
    this.netlink.close();
    this.system[Symbol.dispose]();
    this.#nftables?.close();
  }

  #perform(action: Exclude<Action, { readonly kind: "dns" }>): void {
    const { netlink } = this;
    switch (action.kind) {
      case "address":
        return netlink.addAddress(this.#index(action.device), action.address);
      case "link": {
        const index = this.#index(action.device);
        netlink.setLink(index, { mtu: action.mtu, withoutLinkLocal: true });
        return netlink.setLink(index, { up: true });
      }
      case "route":
        return netlink.addRoute(this.#route(action));
      case "local-route":
        return netlink.addRoute(this.#localRoute(action));
      case "rule":
        return netlink.addRule(ruleOf(action));
      case "nft":
        return void this.nftables.run(action.script);
      case "sysctl":
        return this.#setSysctl(action.key, action.value);
    }
  }

  #route({ device, destination, table }: RouteAction) {
    return { destination, device: this.#index(device), ...(table !== undefined && { table }) };
  }

  #localRoute({ family, table }: LocalRouteAction): RouteSpec {
    return {
      destination: family === 4 ? "0.0.0.0/0" : "::/0",
      device: this.#index(LOOPBACK),
      table,
      type: "local",
    };
  }

  #index(device: string): number {
    const found = this.netlink.link(device);
    if (found === undefined) throw new SystemTunnelError(`${device}: is gone`);
    return found.index;
  }

  #setSysctl(key: string, value: string): void {
    if (this.sysctl(key) === value) return;
    try {
      this.system.writeText(sysctlPath(key), value);
    } catch (error) {
      // A device's own setting goes with it.
      if (!(error instanceof SystemCallError && error.errno === Errno.ENOENT)) throw error;
    }
  }

  /** By its handle, which is known only to who asks. */
  #removeRule({ family, table, chain, comment }: NftRuleUndo): void {
    let listed: string;
    try {
      listed = this.nftables.run(`list chain ${family} ${table} ${chain}`, { json: true });
    } catch {
      return; // the chain is gone, and the rule with it
    }
    const { nftables } = JSON.parse(listed) as {
      nftables: readonly { rule?: { handle: number; comment?: string } }[];
    };
    for (const { rule } of nftables) {
      if (rule?.comment !== comment) continue;
      this.nftables.run(`delete rule ${family} ${table} ${chain} handle ${rule.handle}`);
    }
  }
}

function ruleOf({ kind: _, ...rule }: RuleAction) {
  return rule;
}

function orAbsent(remove: () => void): void {
  try {
    remove();
  } catch (error) {
    if (!(error instanceof NetlinkError && ABSENT.includes(error.code))) throw error;
  }
}

function reasonOf(error: unknown, action: Action): string {
  if (error instanceof NetlinkError && error.code === "EEXIST" && action.kind === "route") {
    return "this host has a route there already, expected another prefix in AllowedIPs, or Table = off";
  }
  return (error as Error).message;
}
