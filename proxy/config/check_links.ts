/**
 * What binds the values of `[Link]` to each other, and to the other sections.
 *
 * @module
 */

import type { LinkConfig } from "./checked.ts";
import type { ConfigPath } from "./error.ts";
import { formatPlace } from "./link_values.ts";
import type { LinkValues, PeerValues, ProxyValues } from "./schema.ts";
import type { ConfigSource } from "./source.ts";

/** RFC 8200 §5. */
const MIN_IPV6_MTU = 1280;

export function checkLinks(
  source: ConfigSource,
  links: readonly (LinkValues | undefined)[],
  peers: readonly (PeerValues | undefined)[],
  proxy: ProxyValues | undefined,
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
  });
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
    source.problem(["links", i, "connect"], "given beside Listen, expected one of them");
  }
  if (place === undefined) {
    source.problem(["links", i], "no other side, expected Listen or Connect");
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
  const { name, listen, connect, framing = "datagram", prefixes, mtu } = link;
  return {
    name,
    place: (listen ?? connect)!,
    isListening: listen !== undefined,
    framing,
    prefixes,
    mtu,
  };
}
