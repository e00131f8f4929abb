/**
 * TCP connections that the packet filter redirects to a port of ours.
 *
 * @module
 */

import { AcceptSocket } from "../../../ffi/mod.ts";
import { getLogger } from "../../log/logger.ts";
import { ipAt, portAt } from "../../target/address.ts";
import { acceptedStream } from "../../target/tcp.ts";
import type { InboundTcp } from "../tcp.ts";
import type { CaptureCounters } from "../counters.ts";
import { Pause } from "./pause.ts";

const log = getLogger(["wirestack", "inbound"]);

const BACKLOG = 4_096;
/** Accepted in one go, so that others get their turn. */
const BATCH = 64;
/** Before it is tried again to accept when there is no descriptor, ms. */
const PAUSE_MS = 100;

export class TcpCapture {
  readonly port: number;
  readonly #tcp: InboundTcp;
  readonly #counters: CaptureCounters;
  readonly #socket: AcceptSocket;
  readonly #pause = new Pause();
  readonly #running: Promise<void>;
  #isClosed = false;

  /**
   * @throws {Deno.errors.AddrInUse} if the port is.
   * @throws {Error} if the system gives no such socket.
   */
  constructor(tcp: InboundTcp, port: number, counters: CaptureCounters) {
    this.#tcp = tcp;
    this.#counters = counters;
    this.#socket = new AcceptSocket(port, BACKLOG);
    this.port = this.#socket.port;
    this.#running = this.#run();
  }

  /** Accepts no more. */
  stop(): void {
    this.#isClosed = true;
    this.#socket.close();
    this.#pause.end();
  }

  /** To be called when no connection that was accepted is being dialled any more. */
  async close(): Promise<void> {
    this.stop();
    await this.#running;
    this.#socket.free();
  }

  async #run(): Promise<void> {
    while (!this.#isClosed) {
      const isMore = this.#acceptSome();
      if (isMore === "exhausted") await this.#pause.wait(PAUSE_MS);
      else if (isMore) await new Promise((resolve) => setImmediate(resolve));
      else await this.#socket.wait();
    }
  }

  /** @returns whether there may be more. */
  #acceptSome(): boolean | "exhausted" {
    for (let count = 0; count < BATCH; count++) {
      const accepted = this.#socket.accept();
      if (accepted === "none") return false;
      if (accepted === "exhausted") {
        this.#counters.exhausted++;
        return "exhausted";
      }
      try {
        this.#take(accepted);
      } catch (error) {
        log.error("a defect: {error}", { error });
      }
    }
    return true;
  }

  /** A program is connected to us, which cannot be otherwise, and learns by a reset if it must not be. */
  #take(fd: number): void {
    const socket = this.#socket;
    const { source, original, local } = socket;
    const reset = () => socket.reset(fd);
    const isKnown = socket.readOriginal(fd) && socket.readLocal(fd);
    const from = ipAt(source, 0)?.unmapped();
    const destination = ipAt(original, 0)?.unmapped();
    if (!isKnown || from === undefined || destination === undefined) {
      this.#counters.unknown++;
      reset();
      return;
    }
    const destinationPort = portAt(original, 0);
    if (destinationPort === this.port && ipAt(local, 0)?.unmapped().equals(destination)) {
      this.#counters.direct++;
      reset();
      return;
    }
    this.#tcp.open(
      { source: from, sourcePort: portAt(source, 0), destination, destinationPort },
      { accept: () => acceptedStream(fd), refuse: reset },
    );
  }
}
