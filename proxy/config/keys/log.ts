/**
 * The keys of [Log].
 *
 * @module
 */

import type { LogInput } from "../input.ts";
import { keysOf } from "./key.ts";

export const LOG_KEYS = keysOf<LogInput>("log", [
  {
    name: "Level",
    field: "level",
    flag: "log-level",
    argument: "LEVEL",
    help: "least that is logged: trace, debug, info (default), warning or error",
  },
  {
    name: "Format",
    field: "format",
    flag: "log-format",
    argument: "text|json",
    help: "form of the log (default text)",
  },
  {
    name: "Output",
    path: "file",
    field: "output",
    flag: "log-file",
    argument: "FILE|stderr|stdout",
    help: "where the log goes (default stderr); SIGHUP opens a file again",
  },
  {
    name: "Access",
    path: "file",
    field: "access",
    flag: "access-log",
    argument: "FILE|stderr|stdout",
    help: "one JSON line for each connection, session and ping that has ended",
  },
  {
    name: "AccessProtocols",
    field: "accessProtocols",
    list: "comma",
    flag: "access-protocols",
    argument: "tcp,udp,icmp",
    help: "which of them have a line (default all)",
  },
]);
