/**
 * What binds the values of `[Link]` to each other, and to the other sections.
 *
 * @module
 */

import type { LinkConfig } from "./checked.ts";
import type { ConfigPath } from "./error.ts";
import { formatPlace } from "./link_values.ts";
import type { InterfaceValues, LinkValues, PeerValues, ProxyValues } from "./schema.ts";
import type { ConfigSource } from "./source.ts";

/** RFC 8200 §5. */
const MIN_IPV6_MTU = 1280;

export function checkLinks(
  source: ConfigSource,
  links: readonly (LinkValues | undefined)[],
  peers: readonly (PeerValues | undefined)[],
  proxy: ProxyValues | undefined,
  iface: InterfaceValues | undefined,
): void {
  /** Names, places and prefixes, and where each was given. */
  const taken = new Map<string, ConfigPath>();
  peers.forEach((peer, i) => {
    if (peer?.name !== undefined) taken.set(peer.name.toLowerCase(), ["peers", i, "name"]);
    peer?.allowedIps.forEach((prefix, j) => taken.set(`${prefix}`, ["peers", i, "allowedIps", j]));
  });
  proxy?.subnets.forEach((prefix, i) => taken.set(`${prefix}`, ["proxy", "subnets", i]));
  links.forEach((link, i) => {
    if (link === undefined) return;
    const once = (key: string, path: ConfigPath, what: string) => {
      const first = taken.get(key);
      if (first === undefined) taken.set(key, path);
      else source.problem(path, `${what} (the first is at ${source.place(first)})`);
    };
    const name = `${link.name} is another link's or a peer's too, expected each name once`;
    once(link.name.toLowerCase(), ["links", i, "name"], name);
    checkPlace(source, link, i, once);
    link.prefixes.forEach((prefix, j) => {
      const path = ["links", i, "prefixes", j];
      once(`${prefix}`, path, `${prefix} is somewhere else too, expected it once`);
      if (prefix.version === 6 && link.mtu < MIN_IPV6_MTU) {
        source.problem(
          ["links", i, "mtu"],
          `${link.mtu} is too small for IPv6, expected 1280 or more`,
        );
      }
    });
    checkNat(source, link, i, iface, once);
  });
}

function checkNat(
  source: ConfigSource,
  link: LinkValues,
  i: number,
  iface: InterfaceValues | undefined,
  once: (key: string, path: ConfigPath, what: string) => void,
): void {
  const { nat, natFiltering, natPorts, prefixes } = link;
  if (nat.length === 0) {
    for (const [key, given] of Object.entries({ natFiltering, natPorts })) {
      if (given !== undefined) {
        const path = ["links", i, key];
        const missing = source.called(["links", i, "nat"], path);
        source.problem(path, `given without ${missing}, expected it too`);
      }
    }
    return;
  }
  for (const [j, address] of nat.entries()) {
    const path = ["links", i, "nat", j];
    const prefix = `${address}/${8 * address.bytes.length}`;
    if (nat.findIndex(({ version }) => version === address.version) < j) {
      source.problem(path, `${address} is the second of its family, expected one of each`);
    }
    if (iface?.address.some((own) => own.address.equals(address))) {
      source.problem(path, `${address} is the gateway's own, expected one that nobody has`);
    }
    // As a phone's tunnel has it, the address may be that of the only host behind the link.
    if (prefixes.some((own) => `${own}` === prefix)) continue;
    once(prefix, path, `${address} is somewhere else too, expected it once`);
  }
}

function checkPlace(
  source: ConfigSource,
  link: LinkValues,
  i: number,
  once: (key: string, path: ConfigPath, what: string) => void,
): void {
  const { listen, connect, framing } = link;
  const place = listen ?? connect;
  if (listen !== undefined && connect !== undefined) {
    const path = ["links", i, "connect"];
    const other = source.called(["links", i, "listen"], path);
    source.problem(path, `given beside ${other}, expected one of them`);
  }
  if (place === undefined) {
    const path = ["links", i];
    const [listen, connect] = ["listen", "connect"].map((field) =>
      source.called([...path, field], path)
    );
    source.problem(path, `no other side, expected ${listen} or ${connect}`);
    return;
  }
  if (listen !== undefined && !("port" in listen && listen.port === 0)) {
    const where = formatPlace(listen);
    once(where, ["links", i, "listen"], `${where} is another link's too, expected it once`);
  }
  const isStream = place.transport === "unix" || place.transport === "tcp";
  if (isStream && (framing === undefined || framing === "datagram")) {
    const what = framing === undefined ? "missing" : "datagram has no place in a stream";
    source.problem(
      ["links", i, "framing"],
      `${what}, expected length16 or length32 for ${place.transport}:`,
    );
  } else if (!isStream && framing !== undefined && framing !== "datagram") {
    source.problem(
      ["links", i, "framing"],
      `${framing} is for streams, expected datagram for ${place.transport}:`,
    );
  }
}

/** A link that has been checked. */
export function linkConfig(link: LinkValues): LinkConfig {
  const { name, listen, connect, framing = "datagram", prefixes, mtu, nat } = link;
  const { natFiltering: filtering, natPorts: ports } = link;
  return {
    name,
    place: (listen ?? connect)!,
    isListening: listen !== undefined,
    framing,
    prefixes,
    mtu,
    ...(nat.length > 0 && {
      nat: { addresses: nat, ...(filtering && { filtering }), ...(ports && { ports }) },
    }),
  };
}
