/**
 * What Deno's permissions leave of the network.
 *
 * @module
 */

/**
 * Whether this process may reach every address. Where it may not, targets are reached by the runtime's
 * sockets, for the runtime alone watches over that: a socket over FFI would get past it. A permission
 * that names exceptions (`--deny-net`) is granted too, in part.
 */
export function mayReachAll(): boolean {
  const { state, partial } = Deno.permissions.querySync({ name: "net" });
  return state === "granted" && !partial;
}
