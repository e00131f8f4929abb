/**
 * The keys of [Rule].
 *
 * @module
 */

import type { RuleInput } from "../input.ts";
import { keysOf } from "./key.ts";

export const RULE_KEYS = keysOf<RuleInput>("rules", [
  {
    name: "From",
    field: "from",
    list: "names",
    flag: "rule-from",
    argument: "PEER|PREFIX,…",
    help: "whose flows it is about (default everybody's)",
  },
  {
    name: "To",
    field: "to",
    list: "comma",
    flag: "rule-to",
    argument: "PREFIX|HOST,…",
    help: "where they want to go (default everywhere in the proxied subnets)",
  },
  {
    name: "Ports",
    field: "ports",
    list: "comma",
    flag: "rule-ports",
    argument: "tcp/80,udp/53,icmp,…",
    help: "protocols, and ports or ranges of ports (default all)",
  },
  {
    name: "Action",
    field: "action",
    flag: "rule",
    argument: "allow|reject|drop",
    help: "a rule; the options below that follow it are this rule's. The file's no longer count",
  },
  {
    name: "Rewrite",
    field: "rewrite",
    flag: "rule-rewrite",
    argument: "TARGET",
    help: "dial ADDRESS, PREFIX or HOST instead, with :PORT behind it another port",
  },
  {
    name: "Rate",
    field: "rate",
    flag: "rule-rate",
    argument: "RATE",
    help: "of all its flows together, each way, as 20Mbit",
  },
  {
    name: "FlowRate",
    field: "flowRate",
    flag: "rule-flow-rate",
    argument: "RATE",
    help: "of each of its flows, each way",
  },
  {
    name: "MaxConnections",
    field: "maxConnections",
    flag: "rule-max-connections",
    argument: "N",
    help: "connections and sessions at once",
  },
  {
    name: "SendProxyProtocol",
    field: "sendProxyProtocol",
    flag: "rule-send-proxy-protocol",
    argument: "v1|v2",
    help: "tell the target who the client is",
  },
  {
    name: "WarmConnections",
    field: "warmConnections",
    flag: "rule-warm-connections",
    argument: "N",
    help: "connections to the target that are kept ready (default 0)",
  },
]);
