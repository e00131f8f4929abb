/**
 * Where machines come with a token, and later for another certificate: a port of TCP on the hub's own
 * address, or, where that is a device's, on one of the stack's beside it. It is all that the gate lets
 * tokens reach.
 *
 * @module
 */

import { IpAddress, type Nic, Prefix, type TcpListener } from "../../../netstack/mod.ts";
import type { Peer } from "../../../wireguard/mod.ts";
import type { TunnelPlace } from "../../config/checked.ts";
import { ConfigError } from "../../config/error.ts";
import type { Engine } from "../../engine/engine.ts";
import { TokenGate } from "../../enrol/gate.ts";
import type { Member } from "../../enrol/member.ts";
import type { EnrolAnswer, EnrolRequest } from "../../enrol/message.ts";
import { EnrolService } from "../../enrol/service.ts";
import { NO_LINK } from "../../link/wireguard.ts";
import { getLogger } from "../../log/logger.ts";
import { isWorthALine } from "../../log/thinning.ts";
import { TunnelConn } from "../../tunnel/conn.ts";

const log = getLogger(["wirestack", "enrolment"]);

/** TCP, on the hub's own address; the first that nobody else listens at. */
const FIRST_PORT = 51820;
const PORTS = 10;
const BACKLOG = 32;

/**
 * Where the service is when a device of the system has the hub's own address: link-local, so that it is in
 * nobody's way, and of those that are nobody's and no token's (RFC 3927 §2.1). The stack alone knows of it.
 */
const BESIDE_DEVICE = {
  4: IpAddress.v4(169, 254, 255, 1),
  6: new IpAddress(Uint8Array.of(0xfe, 0x80, ...new Uint8Array(13), 1)),
} as const;

export interface TokenListenerOptions {
  readonly engine: Engine;
  /** The hub's own that a device of the system has; none without one. */
  readonly deviceAddresses: readonly IpAddress[];
  /** Whose token has this address in the tunnel; undefined if none is heard that has it. */
  holder(link: IpAddress): Member | undefined;
  /** Whether an enrolled machine has it. */
  isMember(address: IpAddress): boolean;
  answer(address: IpAddress, request: EnrolRequest | undefined): Promise<EnrolAnswer>;
}

export class TokenListener {
  readonly #options: TokenListenerOptions;
  #service: EnrolService | undefined;
  #gate: TokenGate | undefined;
  #listener: TcpListener | undefined;
  #nic: Nic | undefined;
  #refusals = 0;

  constructor(options: TokenListenerOptions) {
    this.#options = options;
  }

  /** Whether there is an address to listen on. */
  get hasAddress(): boolean {
    return this.#ownAddress !== undefined;
  }

  /** Whether tokens can be let in. */
  get isOpen(): boolean {
    return this.#gate !== undefined;
  }

  /** @throws {ConfigError} if there is none. */
  get address(): IpAddress {
    const address = this.#ownAddress;
    if (address !== undefined) return address;
    throw new ConfigError([
      "Address: missing, expected an address of this gateway's own in the tunnel to invite to",
    ]);
  }

  get #ownAddress(): IpAddress | undefined {
    const { engine, deviceAddresses } = this.#options;
    const device = preferred(deviceAddresses);
    if (device !== undefined) return BESIDE_DEVICE[device.version];
    return preferred(engine.nic1.addresses.map(({ address }) => address));
  }

  /** Where it listens; undefined as long as it does not. */
  get place(): TunnelPlace | undefined {
    return this.#listener && { address: this.address, port: this.#listener.port };
  }

  /** Begins to listen, unless it does. @returns the port. @throws {ConfigError} */
  listen(): number {
    if (this.#listener !== undefined) return this.#listener.port;
    const { engine, deviceAddresses, holder, isMember, answer } = this.#options;
    const { address } = this;
    if (deviceAddresses.length > 0) this.#addNic(address);
    const service = this.#service ??= new EnrolService({
      mayAsk: (address) => holder(address) !== undefined || isMember(address),
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

  /** What peers send to the address ends in the stack, and what the kernel sends does too. */
  #addNic(address: IpAddress): void {
    if (this.#nic !== undefined) return;
    const { stack, nic1: { mtu } } = this.#options.engine;
    const prefix = Prefix.of(address);
    const addresses = [{ address, length: prefix.length }];
    this.#nic = stack.addNic({ name: "enrolment", mtu, link: NO_LINK, addresses });
    stack.routes.insert(prefix, this.#nic);
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

function preferred(addresses: readonly IpAddress[]): IpAddress | undefined {
  return addresses.find(({ version }) => version === 4) ?? addresses[0];
}
