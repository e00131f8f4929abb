/**
 * Traffic of this host's programs that the packet filter redirects here, and of hosts that it forwards for:
 * TCP and UDP become flows into the tunnel.
 *
 * @module
 */

import { FlowOwner } from "../../flow/flow.ts";
import type { ForwardTimeouts } from "../../forward/options.ts";
import type { Inbound, InboundHost } from "../inbound.ts";
import { InboundTcp } from "../tcp.ts";
import { InboundUdp } from "../udp.ts";
import { TcpCapture } from "./tcp_capture.ts";
import { UdpCapture } from "./udp_capture.ts";

/** What logs, statistics and rules call it. */
export const REDIRECT = "redirect";

export interface RedirectOptions {
  /** Of TCP and of UDP. 0: any free one, which is the same for both. */
  readonly port: number;
  /** Of what is sent to programs, so that it is not redirected again. */
  readonly mark: number;
}

export class RedirectInbound implements Inbound {
  readonly owner: FlowOwner = new FlowOwner(() => REDIRECT, true);
  readonly #tcp: InboundTcp;
  readonly #udp: InboundUdp<UdpCapture>;
  readonly #capture: TcpCapture;
  readonly #disown: readonly (() => void)[];

  /**
   * Listens. What is to arrive here is the packet filter's, which is somebody else's to set up.
   *
   * @throws {Deno.errors.AddrInUse} if the port is.
   * @throws {SystemCallError} without CAP_NET_ADMIN.
   */
  constructor(host: InboundHost, { port, mark }: RedirectOptions) {
    const { owner } = this;
    const { capture } = host.counters;
    this.#tcp = new InboundTcp(host, owner);
    this.#capture = new TcpCapture(this.#tcp, port, capture);
    const udp: InboundUdp<UdpCapture> = new InboundUdp(host, {
      owner,
      openSockets: (options) =>
        new UdpCapture({
          ...options,
          port: this.#capture.port,
          mark,
          capture,
          begins: (...of) => udp.begins(...of),
        }),
    });
    this.#udp = udp;
    try {
      host.addTimeouts(udp.sockets); // opens them
    } catch (error) {
      this.#capture.close();
      throw error;
    }
    const { port: bound } = this.#capture;
    this.#disown = (["tcp", "udp"] as const).map((protocol) =>
      host.listeners.add({ protocol, port: bound })
    );
  }

  get port(): number {
    return this.#capture.port;
  }

  timeoutsChanged(before: ForwardTimeouts): void {
    this.#tcp.timeoutsChanged(before);
    this.#udp.timeoutsChanged(before);
  }

  close(): void {
    this.#tcp.close();
    this.#udp.close();
    this.#capture.stop();
  }

  async abort(): Promise<void> {
    this.close();
    this.#tcp.abort();
    await Promise.all([this.#udp.abort(), this.#capture.close()]);
    for (const disown of this.#disown) disown();
  }
}
