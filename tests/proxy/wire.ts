/**
 * A stack at one end of a wire, whose packets a test carries to the other.
 *
 * @module
 */

import { type IpAddress, type Link, LINK_HEADROOM, Prefix, Stack } from "../../netstack/mod.ts";

/** A link of one slot that keeps packets until they are carried over. */
class Wire implements Link {
  readonly buffer = new Uint8Array(4096);
  readonly sent: Uint8Array[] = [];
  allocate = () => LINK_HEADROOM;
  release = () => {};

  transmit(buffer: Uint8Array, offset: number, length: number): void {
    this.sent.push(buffer.slice(offset, offset + length));
  }

  forward(buffer: Uint8Array, offset: number, length: number): boolean {
    this.transmit(buffer, offset, length);
    return true;
  }
}

/** With that address, and its network behind the wire. */
export function wireEnd(address: IpAddress) {
  const stack = new Stack({
    random: (out) => void crypto.getRandomValues(out as Uint8Array<ArrayBuffer>),
  });
  const wire = new Wire();
  const addresses = [{ address, length: 24 }];
  const nic = stack.addNic({ name: "wire", mtu: 1420, link: wire, addresses });
  stack.routes.insert(new Prefix(address, 24), nic);
  return { stack, nic, wire };
}
