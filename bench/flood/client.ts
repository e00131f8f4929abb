/** A device of ours with a socket, for the bench of floods. */

import { nodeCrypto } from "../../proxy/arena/crypto.ts";
import { Device, PlainEndpoint } from "../../wireguard/mod.ts";
import { sleep } from "./process.ts";

/** Of the inner packets. */
export const MTU = 1420;

export class Client {
  readonly device: Device;
  readonly peer;
  readonly initiations: Uint8Array[] = [];
  readonly #socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  readonly #timer = setInterval(() => this.work(), 20);
  #sending = 0;

  constructor(privateKey: Uint8Array, serverKey: Uint8Array, port: number) {
    const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port };
    this.device = new Device({
      privateKey,
      crypto: nodeCrypto,
      random: (out) => void crypto.getRandomValues(out as Uint8Array<ArrayBuffer>),
      wallClock: Date.now,
      sink: {
        transmit: (_to, buffer, offset, length) => {
          const bytes = buffer.slice(offset, offset + length);
          if (bytes[0] === 1) this.initiations.push(bytes);
          this.#sending++;
          this.#socket.send(bytes, to).catch(() => {}).finally(() => this.#sending--);
          return false;
        },
        receive: () => {},
      },
      now: performance.now(),
    });
    const server = new PlainEndpoint(Uint8Array.of(127, 0, 0, 1), port);
    this.peer = this.device.addPeer({
      publicKey: serverKey,
      allowedIps: [{ address: new Uint8Array(4), length: 0 }],
      endpoint: server,
    }, performance.now());
    this.#receive(server);
  }

  work(): void {
    const now = performance.now();
    this.device.handleTimeout(now);
    this.device.handleHandshakes(now, 4);
  }

  /** @returns packets sent. */
  async talk(mbit: number, seconds: number): Promise<number> {
    // deno-fmt-ignore
    const header = [
      0x45, 0, MTU >> 8, MTU & 255, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 2, 10, 99, 0, 1,
    ];
    const packet = new Uint8Array(16 + MTU + 32);
    const start = performance.now();
    const perMs = mbit * 1e3 / 8 / MTU;
    let sent = 0;
    for (let elapsed = 0; elapsed < seconds * 1000; elapsed = performance.now() - start) {
      // Evenly, a few at a time: a burst would overflow the gateway's socket without any flood.
      for (let i = 0; sent < elapsed * perMs && i < 32 && this.#sending < 64; i++, sent++) {
        packet.fill(0);
        packet.set(header, 16);
        this.device.sendPacket(packet, 16, MTU, performance.now());
      }
      await sleep(1);
    }
    return sent;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#socket.close();
  }

  async #receive(from: PlainEndpoint): Promise<void> {
    for (;;) {
      const received = await this.#socket.receive().catch(() => undefined);
      if (received === undefined) return;
      this.device.handleDatagram(received[0], 0, received[0].length, from, performance.now());
      this.work();
    }
  }
}
