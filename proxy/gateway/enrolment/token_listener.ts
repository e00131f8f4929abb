/**
 * Where machines come with a token: a port of TCP on the hub's own address, which is all that the gate
 * lets tokens reach.
 *
 * @module
 */

import type { IpAddress, TcpListener } from "../../../netstack/mod.ts";
import type { Peer } from "../../../wireguard/mod.ts";
import { ConfigError } from "../../config/error.ts";
import type { Engine } from "../../engine/engine.ts";
import { TokenGate } from "../../enrol/gate.ts";
import type { Member } from "../../enrol/member.ts";
import type { EnrolAnswer, EnrolRequest } from "../../enrol/message.ts";
import { EnrolService } from "../../enrol/service.ts";
import { getLogger } from "../../log/logger.ts";
import { isWorthALine } from "../../log/thinning.ts";
import { TunnelConn } from "../../tunnel/conn.ts";

const log = getLogger(["wirestack", "enrolment"]);

/** TCP, on the hub's own address; the first that nobody else listens at. */
const FIRST_PORT = 51820;
const PORTS = 10;
const BACKLOG = 32;

export interface TokenListenerOptions {
  readonly engine: Engine;
  /** Whose token has this address in the tunnel; undefined if none is heard that has it. */
  holder(link: IpAddress): Member | undefined;
  answer(link: IpAddress, request: EnrolRequest | undefined): Promise<EnrolAnswer>;
}

export class TokenListener {
  readonly #options: TokenListenerOptions;
  #service: EnrolService | undefined;
  #gate: TokenGate | undefined;
  #listener: TcpListener | undefined;
  #refusals = 0;

  constructor(options: TokenListenerOptions) {
    this.#options = options;
  }

  /** Whether the stack has an address to listen on. */
  get hasAddress(): boolean {
    return [...this.#options.engine.nic1.addresses].length > 0;
  }

  /** Whether tokens can be let in. */
  get isOpen(): boolean {
    return this.#gate !== undefined;
  }

  /** @throws {ConfigError} if there is none of the stack's own. */
  get address(): IpAddress {
    const { addresses } = this.#options.engine.nic1;
    const own = [...addresses].map(({ address }) => address);
    const address = own.find(({ version }) => version === 4) ?? own[0];
    if (address !== undefined) return address;
    throw new ConfigError([
      "this gateway has no Address of its own in the tunnel, or it is a device's (--tun), expected " +
      "wirestack hub with one",
    ]);
  }

  /** Begins to listen, unless it does. @returns the port. @throws {ConfigError} */
  listen(): number {
    if (this.#listener !== undefined) return this.#listener.port;
    const { engine, holder, answer } = this.#options;
    const { address } = this;
    const service = this.#service ??= new EnrolService({
      isToken: (link) => holder(link) !== undefined,
      answer,
      now: () => engine.now(),
    });
    for (let port = FIRST_PORT; port < FIRST_PORT + PORTS; port++) {
      try {
        this.#listener = engine.stack.tcp.listen({ address, port, backlog: BACKLOG }, {
          accepted: (endpoint) => void service.accept(new TunnelConn(endpoint)),
        });
      } catch {
        continue; // an embedder's
      }
      this.#gate = new TokenGate({
        service: { address, port },
        onRefused: (link) => this.#noteRefused(link),
      });
      return port;
    }
    throw new ConfigError([
      `TCP ports ${FIRST_PORT} to ${
        FIRST_PORT + PORTS - 1
      } of ${address} are taken in the tunnel, ` +
      "expected one for enrolment",
    ]);
  }

  /** What comes from its address reaches the service, if this peer has sent it. */
  admit(link: IpAddress, peer: Peer): void {
    this.#gate?.add(link, peer);
  }

  /** A token is heard no more. */
  forget(link: IpAddress): void {
    this.#gate?.delete(link);
    this.#service?.forget(link);
  }

  /** @param isGated Whether packets are looked at: without tokens nothing is asked of them. */
  setGated(isGated: boolean): void {
    this.#options.engine.stack.setIngressFilter(isGated ? this.#gate : undefined);
  }

  close(): void {
    this.#service?.close();
    this.#listener?.close();
    this.#listener = undefined;
    this.setGated(false);
  }

  #noteRefused(link: IpAddress): void {
    this.#refusals++;
    if (!isWorthALine(this.#refusals)) return;
    log.warn(
      "a token tries to reach more than the service of enrolment, {count} packets so far: {name}",
      {
        count: this.#refusals,
        name: this.#options.holder(link)?.name ?? "",
      },
    );
  }
}
