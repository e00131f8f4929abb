/**
 * The keys of [Link].
 *
 * @module
 */

import type { LinkInput } from "../input.ts";
import { keysOf } from "./key.ts";

export const LINK_KEYS = keysOf<LinkInput>("links", [
  {
    name: "Name",
    field: "name",
    flag: "link",
    argument: "NAME",
    help: "a link; the options below that follow it are this link's. The file's no longer count",
  },
  {
    name: "Listen",
    field: "listen",
    flag: "link-listen",
    argument: "PLACE",
    help:
      "where the other side comes: unix:PATH, unixgram:PATH, tcp:ADDRESS:PORT, udp:ADDRESS:PORT",
  },
  {
    name: "Connect",
    field: "connect",
    flag: "link-connect",
    argument: "PLACE",
    help: "where the other side is, instead",
  },
  {
    name: "Framing",
    field: "framing",
    flag: "link-framing",
    argument: "length16|length32|datagram",
    help: "how packets are told apart (default for unixgram and udp: datagram)",
  },
  {
    name: "Prefixes",
    field: "prefixes",
    list: "comma",
    flag: "link-prefixes",
    argument: "PREFIX,…",
    help: "what is behind it (default: anything that is nowhere else)",
  },
  {
    name: "Mtu",
    field: "mtu",
    flag: "link-mtu",
    argument: "BYTES",
    help: "largest packet of the link (default 1500)",
  },
]);
