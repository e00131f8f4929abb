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

/** What a gateway has, of which it depends where packets can be looked at. */
export interface PointsThere {
  readonly hasWireguard: boolean;
  readonly hasNic2: boolean;
  /** The names of links, a device's among them. */
  readonly links: readonly string[];
}

/** @throws {CaptureError} unless that is a point that there is. */
export function checkPoint(name: PointName, { hasWireguard, hasNic2, links }: PointsThere): void {
  const there = [
    ...(hasWireguard ? ["nic1"] : []),
    ...(hasNic2 ? ["nic2"] : []),
    ...(hasWireguard ? ["outer"] : []),
    ...links.map((link) => LINK + link),
  ];
  if (there.includes(name)) return;
  const expected = `expected ${there.join(", ") || "a gateway with one"}`;
  if (name === "nic1" || name === "outer") {
    throw new CaptureError("at", `${name}: there is no WireGuard, ${expected}`);
  }
  if (name === "nic2") {
    throw new CaptureError(
      "at",
      `nic2: nothing is proxied, or on NIC 1 itself, ${expected}`,
    );
  }
  const noLink = name.startsWith(LINK) && links.length === 0;
  throw new CaptureError(
    "at",
    `${quote(name)}: there is none, ${expected}${noLink ? "; no link is there" : ""}`,
  );
}

/** What a gateway has now. */
export function pointsOf({ engine, proxy, hasWireguard = true }: PointHost): PointsThere {
  return {
    hasWireguard,
    hasNic2: proxy.nic !== undefined,
    links: engine.links.map(({ link }) => link.name),
  };
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
