/**
 * The keys of [Interface].
 *
 * @module
 */

import type { InterfaceInput } from "../input.ts";
import { keysOf } from "./key.ts";

export const INTERFACE_KEYS = keysOf<InterfaceInput>("interface", [
  {
    name: "PrivateKey",
    field: "privateKey",
    secret: true,
    flag: "private-key-file",
    argument: "FILE",
    help: "file with the gateway's private key",
  },
  {
    name: "Address",
    field: "address",
    list: "comma",
    flag: "address",
    argument: "ADDRESS/LENGTH",
    help: "the gateway's addresses in the tunnel",
  },
  {
    name: "AddressPool",
    field: "addressPool",
    list: "comma",
    flag: "address-pool",
    argument: "PREFIX,…",
    help: "networks that add-peer and invite take addresses from (default those of Address)",
  },
  {
    name: "ListenPort",
    field: "listenPort",
    flag: "listen-port",
    argument: "PORT",
    help: "UDP port; any free one when not given",
  },
  {
    name: "ListenAddress",
    field: "listenAddress",
    flag: "listen-address",
    argument: "ADDRESS",
    help: "address of this host to listen on; all when not given",
  },
  {
    name: "MTU",
    field: "mtu",
    flag: "mtu",
    argument: "BYTES",
    help: "largest packet in the tunnel (default 1420)",
  },
  {
    name: "RekeyAfter",
    field: "rekeyAfter",
    flag: "rekey-after",
    argument: "SECONDS",
    help: "make new session keys earlier than after 120 seconds; a lower figure only",
  },
  {
    name: "PeerToPeer",
    field: "peerToPeer",
    flag: "peer-to-peer",
    argument: "true|false",
    help: "let peers reach each other through the gateway (default false)",
  },
  {
    name: "PeersFrom",
    path: "file",
    field: "peersFrom",
    flag: "peers-from",
    argument: "URL|FILE",
    help: "a signed list of more peers, watched: https://… or a file",
  },
  {
    name: "PeersKey",
    field: "peersKey",
    flag: "peers-key",
    argument: "KEY",
    help: "the public key of who signs that list, as pubsignkey prints it",
  },
  {
    name: "PeersCa",
    path: "file",
    field: "peersCa",
    flag: "peers-ca",
    argument: "FILE",
    help: "file with the authority of the list's server (default the well-known ones)",
  },
  {
    name: "PeersInterval",
    field: "peersInterval",
    flag: "peers-interval",
    argument: "SECONDS",
    help: "how often the list is looked for at its URL (default 60)",
  },
  {
    name: "ControlDir",
    path: "file",
    field: "controlDir",
    flag: "control-dir",
    argument: "DIR|off",
    help: "folder of the control socket (default: root's /var/run/wireguard, else the user's own)",
  },
  {
    name: "FwMark",
    field: "fwMark",
    flag: "fw-mark",
    argument: "MARK|off",
    help: "mark of what WireGuard sends, for routing rules (needs --ffi and CAP_NET_ADMIN)",
  },
  {
    name: "DNS",
    field: "dns",
    list: "comma",
    inert: "device",
    flag: "dns",
    argument: "ADDRESS|DOMAIN,…",
    help: "with --tun: name servers and search domains of this host while the tunnel is up",
  },
  {
    name: "Table",
    field: "table",
    inert: "device",
    flag: "table",
    argument: "off|auto|N",
    help: "with --tun: where the routes of AllowedIPs go (default auto, as wg-quick)",
  },
  {
    name: "KillSwitch",
    field: "killSwitch",
    inert: "device",
    flag: "kill-switch",
    argument: "true|false",
    help: "with --tun: nothing leaves this host around the tunnel (default false)",
  },
  // Commands come from the file alone.
  { name: "PreUp", field: "preUp", list: "line", inert: "device" },
  { name: "PostUp", field: "postUp", list: "line", inert: "device" },
  { name: "PreDown", field: "preDown", list: "line", inert: "device" },
  { name: "PostDown", field: "postDown", list: "line", inert: "device" },
  { name: "SaveConfig", field: "saveConfig", inert: "device" },
  { name: "IncludedApplications", field: "includedApplications", list: "comma", inert: "app" },
  { name: "ExcludedApplications", field: "excludedApplications", list: "comma", inert: "app" },
]);
