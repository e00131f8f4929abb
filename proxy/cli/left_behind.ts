/**
 * Tunnels of the whole system whose process was killed: what is left of them may be why this host
 * reaches nothing, and no gateway is there to say so.
 *
 * @module
 */

import { interfaceNameOf } from "../control/socket_path.ts";
import { SystemTunnelError } from "../system/error.ts";
import { isSameNamespace, ownNamespace } from "../system/namespace.ts";
import { findStates } from "../system/state_file.ts";

/**
 * @param target A device, a gateway or its file. Default: all.
 * @param directory Of state files.
 * @returns a line for each; none where this user or Deno's permissions keep it from being known.
 */
export function leftBehind(target?: string, directory?: string): readonly string[] {
  if (Deno.build.os !== "linux") return [];
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return [];
  const name = target?.includes("/") ? interfaceNameOf(target) : target;
  try {
    const states = findStates(directory);
    if (states.length === 0) return [];
    const here = ownNamespace();
    return states.filter(({ record, steps, isRunning }) =>
      !isRunning && steps.length > 0 && isSameNamespace(record.namespace, here) &&
      (name === undefined || name === record.device || name === record.gateway)
    ).map(({ record: { device }, steps }) => {
      const hasKillSwitch = steps.some(({ undo }) =>
        undo.kind === "nft-table" && undo.table.startsWith("wirestack-kill-")
      );
      const what = hasKillSwitch ? "its kill switch is there still" : "not all was taken back";
      return `${device}: was killed, and ${what}, expected wirestack down ${device}`;
    });
  } catch (error) {
    const isUnreadable = error instanceof SystemTunnelError ||
      error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable;
    if (!isUnreadable) throw error;
    return [];
  }
}
