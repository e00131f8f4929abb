/**
 * What stands in the way of a whole-system tunnel.
 *
 * @module
 */

/** For the user: a whole line, `what: what is wrong, expected …`. */
export class SystemTunnelError extends Error {
  override readonly name = "SystemTunnelError";
}
