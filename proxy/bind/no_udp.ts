/**
 * In place of WireGuard's socket where there is no WireGuard: takes and sends nothing.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { BindError } from "./bind.ts";
import { newCounters, type UdpBind } from "./udp.ts";
import { UdpAddress } from "./udp_address.ts";

export class NoUdpBind implements UdpBind {
  readonly name = "none";
  readonly counters = newCounters();
  readonly hasReady = false;
  readonly port = 0;
  readonly mark = 0;

  start(): void {}

  drain(): number {
    return 0;
  }

  send(): boolean {
    return false;
  }

  flush(): void {}

  sent(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  endpoint(address: IpAddress, port: number, scope = 0): UdpAddress {
    return new NoAddress(this, address, port, scope);
  }

  rebind(): void {}

  setMark(mark: number): void {
    if (mark !== 0) throw new BindError("mark", "there is no WireGuard here, expected no mark");
  }
}

class NoAddress extends UdpAddress {}
