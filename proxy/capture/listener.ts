/**
 * A capture for whoever connects, one after the other: `wireshark -k -i TCP@127.0.0.1:8082`. Each
 * gets a file of its own, from its header on.
 *
 * @module
 */

import { hostAndPort, parseIpAddress } from "../address.ts";
import type { OwnListeners } from "../flow/own_listeners.ts";
import { getLogger } from "../log/logger.ts";
import { isWorthALine } from "../log/thinning.ts";
import type { Capture } from "./capture.ts";
import type { CaptureOptions, Captures } from "./captures.ts";
import { CaptureError } from "./error.ts";
import { pump, wholly } from "./pump.ts";

const log = getLogger(["wirestack", "capture"]);

/** How long to wait when no descriptor is left, ms. */
const RETRY_MS = 100;

export interface ListenPlace {
  /** A loopback address. */
  readonly hostname: string;
  /** 0: any free one. */
  readonly port: number;
}

export class CaptureListener {
  readonly #listener: Deno.Listener<Deno.TcpConn>;
  #disown: () => void = () => {};
  #reader: { readonly conn: Deno.Conn; readonly capture: Capture } | undefined;
  #isClosed = false;
  #refused = 0;
  /** Of readers that have gone. */
  #packets = 0;
  #lost = 0;

  /** @throws {CaptureError} if the system does not let it. */
  constructor(place: ListenPlace) {
    try {
      this.#listener = Deno.listen({ transport: "tcp", ...place });
    } catch (error) {
      const shown = hostAndPort(place.hostname, place.port);
      throw new CaptureError("listen", `tcp:${shown}: ${(error as Error).message}`);
    }
  }

  get address(): Deno.NetAddr {
    return this.#listener.addr as Deno.NetAddr;
  }

  /** What all readers together were given, and what they lost by being slow. */
  get counts(): { readonly packets: number; readonly lost: number } {
    const { accepted, dropped } = this.#reader?.capture.counts ?? { accepted: 0, dropped: 0 };
    return { packets: this.#packets + accepted - dropped, lost: this.#lost + dropped };
  }

  /**
   * Takes readers from now on.
   *
   * @param own Where no peer may get: this listener is among them while it is open.
   */
  serve(captures: Captures, options: CaptureOptions, own: OwnListeners): void {
    const { hostname, port } = this.address;
    this.#disown = own.add({ protocol: "tcp", port, address: parseIpAddress(hostname) });
    log.info("captures at {host} port {port}", { host: hostname, port });
    this.#accept(captures, options);
  }

  /** The reader gets what there is, and no other comes. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#disown();
    this.#listener.close();
    this.#reader?.capture.stop();
    log.info("captured {packets} packets, {lost} were lost", this.counts);
  }

  async #accept(captures: Captures, options: CaptureOptions): Promise<void> {
    while (!this.#isClosed) {
      let conn: Deno.Conn;
      try {
        conn = await this.#listener.accept();
      } catch (error) {
        if (this.#isClosed) return;
        log.warn("no reader can be accepted: {error}", { error });
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        continue;
      }
      this.#begin(conn, captures, options);
    }
  }

  #begin(conn: Deno.Conn, captures: Captures, options: CaptureOptions): void {
    try {
      if (this.#reader !== undefined) {
        throw new CaptureError(undefined, "a reader is connected already");
      }
      this.#serve(conn, captures.open(options));
    } catch (error) {
      // Who does not stop trying would fill the log.
      if (isWorthALine(++this.#refused)) {
        log.warn("a reader is refused: {reason}", { reason: (error as Error).message });
      }
      conn.close();
    }
  }

  async #serve(conn: Deno.Conn, capture: Capture): Promise<void> {
    this.#reader = { conn, capture };
    watchEnd(conn, () => capture.close());
    try {
      await pump(capture, wholly(conn));
    } catch {
      // It has gone.
    }
    const { packets, lost } = this.counts;
    this.#packets = packets;
    this.#lost = lost;
    this.#reader = undefined;
    try {
      conn.close();
    } catch { /* it is closed */ }
  }
}

/** Calls back when the other side has gone; what it says is not heard. */
async function watchEnd(conn: Deno.Conn, onEnd: () => void): Promise<void> {
  const buffer = new Uint8Array(1024);
  try {
    while (await conn.read(buffer) !== null);
  } catch {
    // Gone as well.
  }
  onEnd();
}
