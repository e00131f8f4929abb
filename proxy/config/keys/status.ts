/**
 * The keys of [Status].
 *
 * @module
 */

import { DEFAULT_STATUS } from "../defaults.ts";
import type { StatusInput } from "../input.ts";
import { keysOf } from "./key.ts";

export const STATUS_KEYS = keysOf<StatusInput>("status", [
  {
    name: "Listen",
    path: "socket",
    field: "listen",
    flag: "status",
    argument: "ADDRESS:PORT|unix:PATH",
    help: `answer /metrics, /healthz and /readyz there (${DEFAULT_STATUS.listen} in [Status])`,
  },
  {
    name: "TokenFile",
    path: "file",
    field: "tokenFile",
    flag: "status-token-file",
    argument: "FILE",
    help: "file with the token that a request must bear; needed beyond loopback",
  },
  {
    name: "AllowedHosts",
    field: "allowedHosts",
    list: "comma",
    flag: "status-allowed-hosts",
    argument: "NAME,…",
    help: "names that a request may ask for beside addresses and localhost",
  },
  {
    name: "MaxPeers",
    field: "maxPeers",
    flag: "status-max-peers",
    argument: "N",
    help: `peers with figures of their own, the busiest (default ${DEFAULT_STATUS.maxPeers})`,
  },
]);
