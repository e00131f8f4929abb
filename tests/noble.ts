/**
 * Preloaded by `deno task test:noble`: gateways, and whatever would take `node:crypto`, take plain
 * TypeScript.
 *
 * @module
 */

import { nobleCrypto } from "../wireguard/mod.ts";
import { preset } from "./preset.ts";

preset.crypto = nobleCrypto;
