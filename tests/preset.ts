/**
 * What every gateway of the tests is started with, unless a test says otherwise. The tasks `test:ffi`
 * and `test:noble` preload a module that sets it: the same tests then run over another kind of socket,
 * or with other cryptography.
 *
 * @module
 */

import type { Crypto } from "../wireguard/mod.ts";
import { nodeCrypto } from "../proxy/arena/crypto.ts";

export const preset: { ffi: boolean; crypto?: Crypto } = { ffi: false };

/** For tests of WireGuard alone that would take too long with `@noble`'s. */
export function fastCrypto(): Crypto {
  return preset.crypto ?? nodeCrypto;
}
