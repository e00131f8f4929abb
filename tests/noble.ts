/**
 * Preloaded by `deno task test:noble`: whatever would take `node:crypto` takes plain TypeScript.
 *
 * @module
 */

import { nodeCrypto } from "../proxy/crypto.ts";
import { nobleCrypto } from "../wireguard/mod.ts";

Object.assign(nodeCrypto, nobleCrypto);
