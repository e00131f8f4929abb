/**
 * Where packets can be looked at: each NIC of a gateway, and WireGuard's socket.
 *
 * @module
 */

import type { Engine } from "../engine/engine.ts";
import type { PacketObserver } from "../link/tap.ts";
import { quote } from "../config/values.ts";
import type { SubnetProxy } from "../forward/subnet_proxy.ts";
import { CaptureError } from "./error.ts";
import { ADDRESS_OFFSETS } from "./packet.ts";

/** `nic1`, `nic2`, `outer`, `link:NAME`. */
export type PointName = string;

/** What is looked at. */
export interface PointHost {
  readonly engine: Engine;
  /** NIC 2 is made with the first subnet. */
  readonly proxy: Pick<SubnetProxy, "nic" | "observe">;
  readonly hasWireguard?: boolean;
}

const LINK = "link:";

/** What a point is, for the file. */
export function describePoint(name: PointName): string {
  if (name === "nic1") return "the tunnel: packets of WireGuard's peers, decrypted";
  if (name === "nic2") return "the proxy: what its forwarders take and answer";
  if (name === "outer") return "WireGuard's datagrams; their IP and UDP headers are made up";
  return `the packet link ${name.slice(LINK.length)}`;
}

/** @throws {CaptureError} unless that is a point that there is now. */
export function checkPoint(name: PointName, { engine, proxy, hasWireguard }: PointHost): void {
  if (name === "nic1" || name === "outer") {
    if (hasWireguard !== false) return;
    throw new CaptureError("at", `${name}: there is no WireGuard, expected link:NAME or nic2`);
  }
  if (name === "nic2") {
    if (proxy.nic !== undefined) return;
    throw new CaptureError(
      "at",
      "nic2: there is none, expected nic1 or outer: nothing is proxied, or on NIC 1 itself",
    );
  }
  const names = engine.links.map(({ link }) => link.name);
  const wanted = name.startsWith(LINK) ? name.slice(LINK.length) : undefined;
  if (wanted !== undefined && names.includes(wanted)) return;
  const links = names.length === 0 ? "" : `, ${names.map((name) => LINK + name).join(", ")}`;
  throw new CaptureError(
    "at",
    `${quote(name)}: there is none, expected nic1, nic2, outer${links}` +
      (wanted !== undefined && names.length === 0 ? "; no link is there" : ""),
  );
}

/**
 * Shows `observer` the packets of a NIC. A link that comes later is looked at with the next call.
 *
 * @returns what ends it.
 */
export function observePoint(
  name: PointName,
  { engine, proxy }: PointHost,
  observer: PacketObserver,
): () => void {
  if (name === "nic1") return engine.observe(observer);
  if (name === "nic2") return observeNic2(engine, proxy, observer);
  const link = engine.links.find(({ link }) => link.name === name.slice(LINK.length));
  return link?.observe(observer) ?? (() => {});
}

/**
 * NIC 2 has no link: what its forwarders answer leaves by the NIC that the client is behind. It is what
 * comes from an address that leads to NIC 2.
 */
function observeNic2(
  engine: Engine,
  proxy: PointHost["proxy"],
  observer: PacketObserver,
): () => void {
  const { nic } = proxy;
  if (nic === undefined) return () => {};
  const { routes } = engine.stack;
  const onSent: PacketObserver = (direction, buffer, offset, length, now) => {
    if (direction !== "out") return;
    const version = buffer[offset]! >> 4 === 4 ? 4 : 6;
    const source = offset + ADDRESS_OFFSETS[version].source;
    if (routes.lookup(buffer, source, version) === nic) {
      observer("out", buffer, offset, length, now);
    }
  };
  const undo = [
    engine.observe(onSent),
    ...engine.links.map((link) => link.observe(onSent)),
    proxy.observe(observer),
  ];
  return () => undo.forEach((each) => each());
}
