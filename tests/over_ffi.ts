/**
 * Preloaded by `deno task test:ffi`: every gateway of the tests has its UDP over FFI.
 *
 * @module
 */

import { preset } from "./preset.ts";

preset.ffi = true;
