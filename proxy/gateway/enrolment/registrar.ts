/**
 * What a machine that has come with a token is told: whether its key becomes a peer's, and with what
 * addresses, certificate and ways to this hub.
 *
 * @module
 */

import { type IpAddress, Prefix } from "../../../netstack/mod.ts";
import { isSameKey } from "../../base64.ts";
import type { GatewayConfig, TunnelPlace } from "../../config/checked.ts";
import { ConfigError } from "../../config/error.ts";
import type { Engine } from "../../engine/engine.ts";
import { CERTIFICATE_MS, type Member, RENEWED_CERTIFICATE_MS } from "../../enrol/member.ts";
import type { EnrolAnswer, EnrolRequest, Grant } from "../../enrol/message.ts";
import type { Roster } from "../../enrol/roster.ts";
import { getLogger } from "../../log/logger.ts";
import { newAddresses, NoFreeAddress } from "../free_address.ts";
import type { PeerSources } from "../peer_sources.ts";
import type { ClientAuthority } from "./client_authority.ts";

const log = getLogger(["wirestack", "enrolment"]);

export interface RegistrarOptions {
  readonly engine: Engine;
  readonly peerSources: PeerSources;
  readonly roster: Roster;
  /** The one that is in force. */
  config(): GatewayConfig;
  /** Who signs for machines; undefined for nobody. */
  authority(): ClientAuthority | undefined;
  /** What others have, or are promised. */
  taken(without: Member): Prefix[];
  /** Where this is asked, in the tunnel. */
  service(): TunnelPlace | undefined;
  /** A key was bound to a member, and written down. */
  onBound(member: Member): void;
  /** ms since the Unix epoch. */
  now(): number;
}

export class Registrar {
  readonly #options: RegistrarOptions;

  constructor(options: RegistrarOptions) {
    this.#options = options;
  }

  /**
   * @param link The token's address in the tunnel.
   * @param request Undefined if it could not be read.
   */
  async answer(link: IpAddress, request: EnrolRequest | undefined): Promise<EnrolAnswer> {
    const member = this.#options.roster.byLink(link);
    if (member === undefined) return { refused: "expired" };
    const answer = request === undefined
      ? { refused: "malformed" } as const
      : await this.#decide(member, request);
    if ("refused" in answer) {
      log.warn("{name}: a machine that came with its token is refused: {reason}", {
        name: member.name,
        reason: answer.refused,
      });
    }
    return answer;
  }

  async #decide(known: Member, request: EnrolRequest): Promise<EnrolAnswer> {
    const { roster } = this.#options;
    const { publicKey } = request;
    let certificate: string | undefined;
    if (roster.decide(known, publicKey) === "bind") {
      const signed = await this.#sign(known, request);
      if (signed === "refused") return { refused: "certificate" };
      certificate = signed;
    }
    // Signing takes time: it may have been revoked since. From here on nothing is waited for.
    const member = roster.byTokenKey(known.tokenKey);
    if (member === undefined) return { refused: "expired" };
    const decision = roster.decide(member, publicKey);
    if (decision === "again") return this.#granted(member, request);
    if (decision !== "bind") return { refused: decision };
    const { engine, peerSources } = this.#options;
    const isKnown = engine.device.peer(publicKey) !== undefined ||
      isSameKey(publicKey, engine.device.publicKey) || roster.byTokenKey(publicKey) !== undefined;
    if (isKnown) return { refused: "key" };
    if (peerSources.isNameTaken(member.name)) return { refused: "name" };
    let bound: Member;
    try {
      bound = roster.bind(member, {
        publicKey,
        addresses: this.#stillFree(member),
        ...(certificate !== undefined && { certificate }),
      });
    } catch (error) {
      return { refused: error instanceof NoFreeAddress ? "full" : "state" };
    }
    this.#options.onBound(bound);
    log.info("{name} has enrolled, with the key {publicKey}", {
      name: bound.name,
      publicKey: publicKey.toBase64(),
    });
    return this.#granted(bound, request);
  }

  /** @returns `refused` if it cannot be signed; undefined if it is not asked for, or not needed. */
  async #sign(
    member: Member,
    { certificateRequest, renews }: EnrolRequest,
  ): Promise<string | "refused" | undefined> {
    const authority = this.#options.authority();
    if (certificateRequest === undefined || member.fallbacks.length === 0) return undefined;
    if (authority === undefined) return undefined;
    try {
      const { name } = member;
      void authority.pin; // which the machine is to be told
      const lifetime = renews ? RENEWED_CERTIFICATE_MS : CERTIFICATE_MS;
      const now = this.#options.now();
      return await authority.sign(certificateRequest, name, now, lifetime) ?? "refused";
    } catch (error) {
      log.error("no certificate for {name}: {error}", {
        name: member.name,
        error: (error as Error).message,
      });
      return "refused";
    }
  }

  #granted(member: Member, request: EnrolRequest): EnrolAnswer {
    try {
      return { grant: this.#grantOf(member, request) };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      log.error("no certificate for {name}: {error}", { name: member.name, error: error.message });
      return { refused: "certificate" };
    }
  }

  /** @throws {ConfigError} if the hub's own certificate cannot be read, for its pin. */
  #grantOf(member: Member, { renews }: EnrolRequest): Grant {
    const { isClient, addresses, allowedIps, subnets, maps, endpoints, certificate } = member;
    const pin = certificate === undefined ? undefined : this.#options.authority()?.pin;
    const fallbacks = pin === undefined
      ? []
      : member.fallbacks.map((url) => ({ url, pins: [pin] }));
    const renewAt = fallbacks.length > 0 && renews ? this.#options.service() : undefined;
    return {
      isClient,
      addresses,
      allowedIps: renewAt === undefined ? allowedIps : reaching(renewAt.address, allowedIps),
      subnets,
      maps,
      endpoints,
      mtu: this.#options.config().mtu,
      fallbacks,
      ...(fallbacks.length > 0 && { certificate: certificate! }),
      ...(renewAt && { renewAt }),
    };
  }

  /** The addresses that were promised, unless somebody has taken one since. @throws {NoFreeAddress} */
  #stillFree(member: Member): readonly IpAddress[] {
    const others = this.#options.taken(member);
    const isLost = member.addresses.some((address) =>
      others.some((prefix) => prefix.equals(Prefix.of(address)))
    );
    return isLost ? newAddresses(this.#options.config(), others) : member.addresses;
  }
}

/** Beside a device of the system it is at an address of its own. */
function reaching(address: IpAddress, allowedIps: readonly Prefix[]): readonly Prefix[] {
  return allowedIps.some((prefix) => prefix.contains(address))
    ? allowedIps
    : [...allowedIps, Prefix.of(address)];
}
