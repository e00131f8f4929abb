/**
 * The keys of [Capture].
 *
 * @module
 */

import type { CaptureInput } from "../input.ts";
import { keysOf } from "./key.ts";

export const CAPTURE_KEYS = keysOf<CaptureInput>("capture", [
  {
    name: "Write",
    path: "file",
    field: "write",
    flag: "capture",
    argument: "FILE|-|tcp:ADDRESS:PORT",
    help: "capture packets from the start, into a file, to standard output, or for who connects",
  },
  {
    name: "At",
    field: "at",
    list: "comma",
    flag: "capture-at",
    argument: "nic1,nic2,link:NAME,outer",
    help: "where packets are captured (default nic1, the tunnel; without WireGuard all links)",
  },
  {
    name: "Filter",
    field: "filter",
    flag: "capture-filter",
    argument: "EXPR",
    help: "which packets, as 'host 10.0.0.1 and tcp' (default all)",
  },
  {
    name: "Snap",
    field: "snap",
    flag: "capture-snap",
    argument: "BYTES",
    help: "how much of each packet (default 0, all of it)",
  },
  {
    name: "Rotate",
    field: "rotate",
    flag: "capture-rotate",
    argument: "SIZE,COUNT",
    help: "files that take turns, as 100M,10: of that many bytes, that many of them",
  },
]);
