/**
 * Preloaded by `deno task test:noble`: whatever would take `node:crypto` or the kernels takes plain TypeScript.
 *
 * @module
 */

import { nodeCrypto } from "../proxy/arena/crypto.ts";
import { dataPathDefault } from "../proxy/arena/arena.ts";
import { nobleCrypto } from "../wireguard/mod.ts";

Object.assign(nodeCrypto, nobleCrypto);
dataPathDefault.crypto = nobleCrypto;
