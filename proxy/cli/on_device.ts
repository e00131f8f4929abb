/**
 * The gateway behind a network device, where the two have other names: `up --tun=home wg0.conf`.
 *
 * @module
 */

import { findStates } from "../system/state_file.ts";

/**
 * @param directory Of state files.
 * @returns the gateway's name; undefined if none runs on such a device, several do (in other network
 * namespaces), or this user may not know.
 */
export function gatewayOn(device: string, directory?: string): string | undefined {
  try {
    const gateways = findStates(directory).flatMap(({ record, isRunning }) =>
      isRunning && record.device === device && record.gateway !== undefined ? [record.gateway] : []
    );
    return gateways.length === 1 ? gateways[0] : undefined;
  } catch {
    return undefined;
  }
}
