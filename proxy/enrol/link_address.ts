/**
 * The address that a machine has in the tunnel while it enrols. It is link-local, which nobody is
 * routed to or proxied to, so it is in no network's way and takes nothing of the pool.
 *
 * @module
 */

import { IpAddress, type IpVersion } from "../../netstack/mod.ts";

const TRIES = 1000;

/**
 * @param version Of the hub's service.
 * @param isTaken Whether somebody has it.
 * @throws {RangeError} if so many are taken that none was found.
 */
export function newLinkAddress(
  version: IpVersion,
  isTaken: (address: IpAddress) => boolean,
): IpAddress {
  for (let left = TRIES; left > 0; left--) {
    const address = version === 4 ? randomIpv4() : randomIpv6();
    if (address !== undefined && !isTaken(address)) return address;
  }
  throw new RangeError("no link-local address is free");
}

/** Of 169.254.1.0 to 169.254.254.255 (RFC 3927 §2.1), but for where clouds have their metadata. */
function randomIpv4(): IpAddress | undefined {
  const [third, fourth] = crypto.getRandomValues(new Uint8Array(2));
  if (third === 0 || third === 255 || third === 169) return undefined;
  return IpAddress.v4(169, 254, third!, fourth!);
}

function randomIpv6(): IpAddress {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes.fill(0, 0, 8);
  bytes[0] = 0xfe;
  bytes[1] = 0x80;
  return new IpAddress(bytes);
}
