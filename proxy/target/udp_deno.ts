/**
 * Sockets towards UDP targets of Deno's: a call per datagram.
 *
 * @module
 */

import type { IpVersion } from "../../netstack/mod.ts";
import { DatagramBuffers, ReceiveBuffers } from "../arena/datagram_buffers.ts";
import { getLogger } from "../log/logger.ts";
import { SenderAddress, type TargetAddress } from "./address.ts";
import type { UdpTargetHandler, UdpTargets, UdpTargetSocket, UdpTargetsOptions } from "./udp.ts";

const log = getLogger(["wirestack", "udp"]);

// A send to a neighbour that does not answer stays pending for seconds. No socket may hold the
// buffers that the others need meanwhile.
const MAX_PENDING = 64;

export class DenoUdpTargets implements UdpTargets {
  /** Datagrams are handed on as they come. */
  readonly hasReady = false;
  readonly #options: UdpTargetsOptions;
  readonly #buffers = new DatagramBuffers();
  readonly #receiveBuffers = new ReceiveBuffers();
  readonly #receiving = new Set<Promise<void>>();

  constructor(options: UdpTargetsOptions) {
    this.#options = options;
  }

  open(version: IpVersion, handler: UdpTargetHandler): UdpTargetSocket {
    const hostname = version === 4 ? "0.0.0.0" : "::";
    const conn = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
    const socket = new DenoUdpTargetSocket(conn, handler, this.#buffers, this.#options);
    const receiving = this.#receive(socket)
      .catch((error) => log.error("a defect: {error}", { error }))
      .finally(() => this.#receiving.delete(receiving));
    this.#receiving.add(receiving);
    return socket;
  }

  drain(): void {}

  flush(): void {}

  async close(): Promise<void> {
    await Promise.all(this.#receiving);
  }

  async #receive(socket: DenoUdpTargetSocket): Promise<void> {
    const buffer = this.#receiveBuffers.take();
    try {
      await socket.receive(buffer);
    } finally {
      this.#receiveBuffers.give(buffer);
    }
  }
}

class DenoUdpTargetSocket implements UdpTargetSocket {
  readonly #conn: Deno.DatagramConn;
  readonly #handler: UdpTargetHandler;
  readonly #buffers: DatagramBuffers;
  readonly #options: UdpTargetsOptions;
  readonly #sender = new SenderAddress();
  /** Those that are not under way. */
  readonly #sends: Send[] = [];
  #pending = 0;
  #isClosed = false;

  constructor(
    conn: Deno.DatagramConn,
    handler: UdpTargetHandler,
    buffers: DatagramBuffers,
    options: UdpTargetsOptions,
  ) {
    this.#conn = conn;
    this.#handler = handler;
    this.#buffers = buffers;
    this.#options = options;
  }

  send(to: TargetAddress, buffer: Uint8Array, offset: number, length: number): boolean {
    const hasRoom = this.#pending < MAX_PENDING;
    const bytes = hasRoom ? this.#buffers.copy(buffer, offset, length) : undefined;
    if (bytes === undefined) {
      this.#options.counters.noBuffer++;
      return false;
    }
    this.#pending++;
    const send = this.#sends.pop() ?? this.#newSend();
    send.bytes = bytes;
    this.#conn.send(bytes, to.netAddr).then(send.onDone, send.onFailed);
    return true;
  }

  close(): void {
    this.#isClosed = true;
    this.#conn.close();
  }

  /** Hands on what comes until the socket is closed. */
  async receive(buffer: Uint8Array<ArrayBuffer>): Promise<void> {
    const { counters, now } = this.#options;
    for (;;) {
      let length: number;
      try {
        const [bytes, from] = await this.#conn.receive(buffer);
        length = bytes.length;
        this.#sender.set(from as Deno.NetAddr);
      } catch {
        if (this.#isClosed) return;
        counters.receiveErrors++;
        this.#handler.failed();
        return;
      }
      if (this.#isClosed) return;
      this.#handler.datagram(this.#sender.words, 0, buffer, 0, length, now());
    }
  }

  #newSend(): Send {
    const send: Send = {
      bytes: undefined,
      onDone: () => this.#settle(send),
      onFailed: () => {
        if (!this.#isClosed) this.#options.counters.sendErrors++;
        this.#settle(send);
      },
    };
    return send;
  }

  #settle(send: Send): void {
    this.#pending--;
    this.#buffers.give(send.bytes!);
    send.bytes = undefined;
    this.#sends.push(send);
  }
}

/** A datagram that the runtime is sending: made once, with what its promise calls, and used again. */
interface Send {
  /** Undefined while nothing is under way. */
  bytes: Uint8Array | undefined;
  readonly onDone: () => void;
  readonly onFailed: () => void;
}
