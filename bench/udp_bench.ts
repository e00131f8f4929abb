/**
 * WireGuard's UDP socket on loopback, over Deno's sockets and over FFI: 64 full datagrams, one way
 * at a time. The other end is over FFI, and not in the measured part.
 */

import { IpAddress } from "../netstack/mod.ts";
import { TransmitPool } from "../proxy/arena/transmit_pool.ts";
import type { UdpBind } from "../proxy/bind/udp.ts";
import { openUdpBind } from "../proxy/bind/udp_open.ts";

/** The receive buffer that Deno leaves a socket holds them, at a Linux system's default. */
const DATAGRAMS = 64;
const BYTES = 1452;

class Side {
  readonly pool = new TransmitPool(BYTES);
  readonly bind: UdpBind;
  received = 0;
  #wake: (() => void) | undefined;

  constructor(ffi: boolean) {
    this.bind = openUdpBind({ pool: this.pool }, ffi);
    this.bind.start({
      onReadable: () => this.#wake?.(),
      onSent: () => this.#wake?.(),
      onFailed(error) {
        throw error;
      },
    });
  }

  send(to: Side): void {
    const endpoint = this.bind.endpoint(IpAddress.v4(127, 0, 0, 1), to.bind.port);
    for (let i = 0; i < DATAGRAMS; i++) {
      const slot = this.pool.take();
      this.bind.send(endpoint, this.pool.buffer, slot, BYTES, true);
    }
    this.bind.flush();
  }

  async sent(): Promise<void> {
    while (this.pool.free < this.pool.slots) await this.#woken();
  }

  /** Drains until that many have arrived. */
  async receive(count: number): Promise<void> {
    this.received = 0;
    while (this.received < count) {
      if (!this.bind.hasReady) await this.#woken();
      this.bind.drain(() => void this.received++);
    }
  }

  async #woken(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    await promise;
  }
}

for (const [kind, ffi] of [["Deno's sockets", false], ["FFI", true]] as const) {
  const ignore = Deno.build.os !== "linux";
  let sides: { own: Side; other: Side } | undefined;
  const open = () => sides ??= { own: new Side(ffi), other: new Side(true) };
  Deno.bench({
    name: `receive ${DATAGRAMS} datagrams of ${BYTES} bytes, ${kind}`,
    group: "receive",
    ignore,
    async fn(b) {
      const { own, other } = open();
      other.send(own);
      b.start();
      await own.receive(DATAGRAMS);
      b.end();
    },
  });
  Deno.bench({
    name: `send ${DATAGRAMS} datagrams of ${BYTES} bytes, ${kind}`,
    group: "send",
    ignore,
    async fn(b) {
      const { own, other } = open();
      b.start();
      own.send(other);
      await own.sent();
      b.end();
      await other.receive(DATAGRAMS);
    },
  });
}
