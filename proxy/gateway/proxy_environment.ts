/**
 * Through which HTTP proxy a hub is called, as the environment says it.
 *
 * @module
 */

import { type HttpProxy, isExempt, parseProxy } from "../bind/stream/http_proxy.ts";
import { permittedEnvironment } from "../state/directory.ts";

/**
 * By HTTPS_PROXY and NO_PROXY, or the same in small letters, which is looked at first, as elsewhere.
 *
 * @param environment What a variable says; undefined if nothing, or if this process may not look.
 * @returns undefined if it is called directly.
 * @throws {Error} with what is wrong with HTTPS_PROXY, and nothing of what it says.
 */
export function proxyFor(
  host: string,
  port: number,
  environment: (variable: string) => string | undefined = permittedEnvironment,
): HttpProxy | undefined {
  const either = (name: string) => environment(name.toLowerCase()) || environment(name);
  const value = either("HTTPS_PROXY")?.trim();
  if (!value || isExempt(either("NO_PROXY") ?? "", host, port)) return undefined;
  return parseProxy(value);
}
