/**
 * Preloaded by `deno task test:ffi`: every gateway of the tests has its UDP over FFI.
 *
 * @module
 */

import { udpBindDefault } from "../proxy/bind/udp_open.ts";

udpBindDefault.ffi = true;
