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
    path: "socket",
    field: "listen",
    flag: "link-listen",
    argument: "PLACE",
    help:
      "where the other side comes: unix:PATH, unixgram:PATH, tcp:ADDRESS:PORT, udp:ADDRESS:PORT",
  },
  {
    name: "Connect",
    path: "socket",
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
  {
    name: "Nat",
    field: "nat",
    list: "comma",
    flag: "link-nat",
    argument: "ADDRESS,…",
    help: "what all of it appears as to peers and other links: one address of each family at most",
  },
  {
    name: "NatFiltering",
    field: "natFiltering",
    flag: "link-nat-filtering",
    argument: "endpoint|address|address-port",
    help: "who may answer there: anybody, or whom it was sent to (default address)",
  },
  {
    name: "NatPorts",
    field: "natPorts",
    flag: "link-nat-ports",
    argument: "FIRST-LAST",
    help: "ports that stand for those behind it (default 1-65535)",
  },
]);
