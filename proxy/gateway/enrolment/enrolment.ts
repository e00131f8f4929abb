/**
 * Enrolment on a hub: invitations, the service in the tunnel that machines hand their keys in to, and
 * the peers that come of it, through restarts.
 *
 * The order of every step is: decided, written, done, answered. What a crash leaves undone is done from
 * the file at the next start, and a machine that has got no answer asks again and gets the same one.
 *
 * @module
 */

import type { IpAddress, Prefix } from "../../../netstack/mod.ts";
import { Backoff } from "../../bind/stream/backoff.ts";
import type { Peer } from "../../../wireguard/mod.ts";
import { generatePrivateKey, isSameKey, publicKeyOf } from "../../base64.ts";
import type { GatewayConfig, RelayConfig, RelayListen } from "../../config/checked.ts";
import { ConfigError } from "../../config/error.ts";
import { parsePin } from "../../config/relay_values.ts";
import { quote } from "../../config/values.ts";
import type { Engine, TimeoutSource } from "../../engine/engine.ts";
import { invitationKey } from "../../enrol/invitation_key.ts";
import { newLinkAddress } from "../../enrol/link_address.ts";
import {
  isEnrolled,
  isWorthListing,
  LINGER_MS,
  type Member,
  peerOf,
  statusOf,
  tokenPeerOf,
} from "../../enrol/member.ts";
import { MAX_TOKENS, type Roster } from "../../enrol/roster.ts";
import { encodeToken } from "../../enrol/token.ts";
import { getLogger } from "../../log/logger.ts";
import { timeText } from "../../log/time_text.ts";
import { newAddresses, NoFreeAddress } from "../free_address.ts";
import type { PeerSources } from "../peer_sources.ts";
import type { TunnelPeers } from "../peers.ts";
import type { Admission } from "../streams.ts";
import { ClientAuthority, type KeptFiles, readKept } from "./client_authority.ts";
import { Guests } from "./guests.ts";
import { checkInvitation, type InvitationRequest, twinsOf } from "./invitation.ts";
import { type MemberStats, memberStats } from "./member_stats.ts";
import { CertificateRenewal, isRenewable } from "./certificate_renewal.ts";
import { Registrar } from "./registrar.ts";
import { type MemberKeeper, openRoster } from "./roster_open.ts";
import { type TakenPrefix, takenPrefixes } from "./taken_prefixes.ts";
import { RevokedCertificates } from "./revoked_certificates.ts";
import { TokenListener } from "./token_listener.ts";

const log = getLogger(["wirestack", "enrolment"]);

/** How often to look at the clock, which may be set. */
const LOOK_MS = 30_000;

export interface EnrolmentOptions {
  readonly engine: Engine;
  readonly peers: TunnelPeers;
  readonly peerSources: PeerSources;
  readonly config: GatewayConfig;
  /** Bound UDP port. */
  port(): number;
  /** Where peers come when UDP does not get through, as the system has given the ports. */
  relayPlaces(): readonly RelayListen[];
  /** Certificates of machines were put out of use, or others may come by their token. */
  onAdmission(admission: Admission): void;
  /** The first that can be written to is used. */
  readonly stateDirectories: readonly string[];
  /**
   * Whether this process is about to become another user, to whom neither the state nor the key of
   * `ClientCaKey` belongs: both are opened at once.
   */
  readonly changesUser?: boolean;
  /** Whether a device of the system has the hub's own addresses. */
  readonly hasDevice?: boolean;
  /** ms since the Unix epoch. Default: this host's clock. */
  readonly wallClock?: () => number;
}

/** What became of an invitation. */
export interface Invited {
  /** Secret. */
  readonly token: string;
  /** What there is to say of it, a line each. */
  readonly notes: readonly string[];
}

/** What became of a revocation. */
export interface Revoked {
  /** What was done, in a line. */
  readonly done: string;
  /** Why a restart would undo it. Missing: it would not. */
  readonly unwritten?: string;
}

export class Enrolment implements TimeoutSource {
  readonly #options: EnrolmentOptions;
  readonly #now: () => number;
  /** Undefined: nothing can be kept, and {@link #problem} says why. */
  readonly #roster: Roster | undefined;
  readonly #keeper: MemberKeeper | undefined;
  readonly #problem: string;
  /** At the start: whose members these are. */
  readonly #hubKey: Uint8Array;
  #config: GatewayConfig;
  readonly #kept: KeptFiles;
  readonly #listener: TokenListener;
  /** Members who have handed their key in and not come with it yet, by that key. */
  readonly #awaited = new Map<string, Member>();
  readonly #revoked = new RevokedCertificates();
  readonly #guests = new Guests();
  /** Tokens that are peers now. */
  readonly #tokens = new Map<string, Member>();
  #lookAt = Infinity;
  /** When a revocation that could not be written is tried again. */
  #retryAt = Infinity;
  readonly #backoff = new Backoff();

  constructor(options: EnrolmentOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#now = options.wallClock ?? Date.now;
    const { engine, peerSources, stateDirectories, changesUser = false, config } = options;
    this.#hubKey = engine.device.publicKey.slice();
    this.#kept = changesUser ? readKept(config.relay) : new Map();
    const opened = openRoster(stateDirectories, engine.device.publicKey, this.#now, changesUser);
    const { roster } = opened;
    this.#roster = roster;
    this.#keeper = opened.keeper;
    this.#problem = opened.problem;
    const registrar = roster && new Registrar({
      engine,
      peerSources,
      roster,
      config: () => this.#config,
      authority: () => this.#authority(),
      taken: (without) => this.#taken(without).map(({ prefix }) => prefix),
      service: () => this.#listener.place,
      onBound: (member) => this.#bound(member),
      now: this.#now,
    });
    const renewal = roster && new CertificateRenewal({
      roster,
      authority: () => this.#authority(),
      now: this.#now,
    });
    this.#listener = new TokenListener({
      engine,
      deviceAddresses: options.hasDevice ? config.addresses.map(({ address }) => address) : [],
      holder: (link) => roster?.byLink(link),
      isMember: (address) => this.#memberAt(address) !== undefined,
      answer: async (address, request) => {
        const member = this.#memberAt(address);
        return await (member === undefined
          ? registrar?.answer(address, request)
          : renewal?.answer(member, request)) ?? { refused: "expired" };
      },
    });
    engine.addTimeouts(this);
    if (roster === undefined) return;
    this.#addPeers([...roster.all].filter(isEnrolled));
    this.#settle();
  }

  /** Another configuration counts from now on. */
  apply(config: GatewayConfig): void {
    this.#config = config;
  }

  /** Addresses that are promised to machines that have not come yet. */
  get reserved(): IpAddress[] {
    return this.#roster?.holding.flatMap(({ addresses }) => addresses) ?? [];
  }

  /** @throws {ConfigError} naming everything that is wrong; then nothing has changed. */
  async invite(request: InvitationRequest): Promise<Invited> {
    const roster = this.#needRoster();
    const { engine, port } = this.#options;
    if (!isSameKey(engine.device.publicKey, this.#hubKey)) {
      throw new ConfigError([
        "PrivateKey: is another one than at the start, and members are kept by it, expected a restart",
      ]);
    }
    const service = this.#listener.address;
    const authority = this.#authority();
    await authority?.check(this.#now());
    if (authority !== undefined) void authority.pin; // which the machine is to be told
    if (roster.tokens.length >= MAX_TOKENS) {
      throw new ConfigError([
        `NAME: ${MAX_TOKENS} invitations are out already, expected some to be used, revoked or over`,
      ]);
    }
    const taken = this.#taken();
    const invitation = checkInvitation(request, {
      config: this.#config,
      port: port(),
      isNameTaken: (name) =>
        roster.byName(name) !== undefined || this.#options.peerSources.isNameTaken(name),
      members: roster.holding,
      taken,
      relay: authority && this.#options.relayPlaces(),
    });
    const addresses = this.#newAddresses(taken.map(({ prefix }) => prefix));
    const privateKey = generatePrivateKey();
    const { lifetimeMs, ...known } = invitation;
    const now = this.#now();
    const pin = known.fallbacks.length === 0 ? undefined : authority?.pin;
    const member: Member = {
      ...known,
      ...(pin !== undefined && { tlsPin: invitationKey(privateKey).pin }),
      tokenKey: publicKeyOf(privateKey),
      state: "invited",
      invitedAt: now,
      expiresAt: Math.ceil((now + lifetimeMs) / 1000) * 1000,
      link: newLinkAddress(
        service.version,
        (address) => taken.some(({ prefix }) => prefix.length > 0 && prefix.contains(address)),
      ),
      addresses,
    };
    const twins = twinsOf(member, roster.holding);
    const listening = this.#listener.listen();
    this.#save(() => roster.add(member));
    this.#settle();
    this.#checkHeard(member);
    const token = encodeToken({
      ...known,
      privateKey,
      hubKey: engine.device.publicKey,
      expiresAt: member.expiresAt,
      link: member.link,
      isCertified: member.fallbacks.length > 0,
      ...(pin === undefined ? { fallbacks: [] } : { hubPin: parsePin(pin) as Uint8Array }),
      service: { address: service, port: listening },
    });
    privateKey.fill(0);
    log.info("{name} is invited, until {until}", {
      name: member.name,
      until: timeText(member.expiresAt),
    });
    return { token, notes: this.#notes(member, twins) };
  }

  /** Whether it is no machine but the token of an invitation, which may be over by now. */
  isToken({ publicKey }: Peer): boolean {
    return this.#tokens.size > 0 && this.#tokens.has(publicKey.toHex());
  }

  /** In the order in which they were invited. */
  invites(): MemberStats[] {
    const now = this.#now();
    return Array.from(this.#roster?.all ?? [])
      .filter((member) => isWorthListing(member, now))
      .map((member) => memberStats(member, now));
  }

  /**
   * Ends an invitation, or the membership that has come of it: sessions end at once. One that could not be
   * written down yet is tried again at once.
   *
   * @throws {ConfigError} if there is none; then nothing has changed.
   */
  revoke(name: string): Revoked {
    const roster = this.#needRoster();
    const member = roster.byName(name);
    if (member === undefined) {
      const past = [...roster.all].findLast((one) => one.name.toLowerCase() === name.toLowerCase());
      if (past !== undefined && roster.isUnsaved(past)) return this.#writeRevoked(roster, past);
      throw new ConfigError([
        past === undefined
          ? `NAME: nobody of the name ${quote(name)} was invited, expected one of wirestack invites`
          : `NAME: ${past.name} is ${statusOf(past, this.#now())} already, nothing has changed`,
      ]);
    }
    const error = this.#revoke(roster, member);
    this.#settle();
    if (member.publicKey === undefined) {
      log.info("{name}: the invitation is revoked", { name: member.name });
      return revoked(`${member.name}: the invitation is revoked`, error);
    }
    this.#awaited.delete(member.publicKey.toHex());
    this.#options.peerSources.remove("enrolled", member.publicKey);
    this.#options.engine.wake();
    log.info("{name}: revoked, its sessions have ended", { name: member.name });
    return revoked(`${member.name}: revoked, its sessions have ended`, error);
  }

  /** Changes that could not be written since the start, and revocations that a restart would undo. */
  get writes(): { readonly failures: number; readonly unsaved: number } {
    return { failures: this.#keeper?.failures ?? 0, unsaved: this.#roster?.unsaved ?? 0 };
  }

  /** A peer has completed a handshake: if it is the first of an enrolled one, its token is spent. */
  handshakeComplete({ publicKey }: Peer): void {
    if (this.#awaited.size === 0) return;
    const key = publicKey.toHex();
    const member = this.#awaited.get(key);
    if (member === undefined) return;
    const { engine } = this.#options;
    try {
      this.#roster!.spend(member);
      this.#awaited.delete(key);
      // It cannot know when this hub is killed: the next start calls it.
      this.#options.peers.remember();
      log.info("{name} is here with its own key: its token is spent", { name: member.name });
      this.#lookAt = engine.now(); // who came by the token's certificate has to go
      engine.wake();
    } catch {
      // The next handshake tries again. Nobody but this key has anything of the token until then.
    }
  }

  pollTimeout(): number {
    return Math.min(this.#lookAt, this.#retryAt);
  }

  handleTimeout(now: number): void {
    if (now >= this.#lookAt) this.#settle();
    if (now >= this.#retryAt) this.#retry();
  }

  /** Takes effect at once. @returns when nothing is being written any more. */
  async close(): Promise<void> {
    this.#listener.close();
    this.#lookAt = Infinity;
    this.#retry();
    this.#retryAt = Infinity;
    await this.#keeper?.close();
  }

  /** @returns why it could not be written. */
  #revoke(roster: Roster, member: Member): Error | undefined {
    const error = roster.revoke(member);
    if (error === undefined) return undefined;
    this.#backoff.reset();
    this.#retryLater();
    this.#options.engine.wake();
    log.warn("{name}: its revocation is not written yet, a restart would let it back in", {
      name: member.name,
    });
    return error;
  }

  /** Who asks again may know that there is room now. */
  #writeRevoked(roster: Roster, { name }: Member): Revoked {
    try {
      roster.retry();
      return revoked(`${name}: was revoked before, and that is written down now`);
    } catch (error) {
      return revoked(`${name}: was revoked before`, error as Error);
    }
  }

  /** Writes down what could not be. */
  #retry(): void {
    this.#retryAt = Infinity;
    try {
      this.#roster?.retry();
    } catch {
      this.#retryLater();
    }
  }

  #retryLater(): void {
    this.#retryAt = this.#options.engine.now() + this.#backoff.next();
  }

  /** @throws {ConfigError} if the token is no peer: nobody could come with it, so it is revoked. */
  #checkHeard(member: Member): void {
    const { engine, peerSources } = this.#options;
    if (engine.device.peer(member.tokenKey) !== undefined) return;
    const reason = peerSources.reasonLeftOut(member.tokenKey) ?? "the hub does not listen";
    this.#revoke(this.#roster!, member);
    this.#settle();
    throw new ConfigError([
      `NAME: ${member.name} could not come in with its token (${reason}), expected another name`,
    ]);
  }

  #authority(): ClientAuthority | undefined {
    return ClientAuthority.of(this.#config.relay, this.#kept);
  }

  #newAddresses(taken: readonly Prefix[]): IpAddress[] {
    try {
      return newAddresses(this.#config, taken);
    } catch (error) {
      if (!(error instanceof NoFreeAddress)) throw error;
      throw new ConfigError([error.message]);
    }
  }

  /** What peers have, and what is promised. @param without Whose promise does not count. */
  #taken(without?: Member): TakenPrefix[] {
    const { engine: { device }, peers, peerSources } = this.#options;
    const promised = (this.#roster?.holding ?? []).filter((member) => member !== without);
    return takenPrefixes(device.peers(), promised, { peers, peerSources });
  }

  #notes(member: Member, twins: readonly Member[]): string[] {
    const notes: string[] = [];
    if (twins.length > 0) {
      notes.push(
        `${member.name} serves the same as ${
          twins.map(({ name }) => name).join(", ")
        }: the first ` +
          "that is alive is used",
      );
    }
    if (!this.#config.peerToPeer) {
      notes.push("PeerToPeer is off: what is invited reaches this hub, and no other peer by it");
    }
    const { relay } = this.#config;
    if (member.fallbacks.length > 0 && !isAllowedByName(member.name, relay)) {
      notes.push(
        `AllowedClients does not have ${member.name}: where UDP does not get through it is refused`,
      );
    }
    if (this.#authority() === undefined) {
      notes.push(
        "where UDP does not get through the machine has no other way: there is no [Relay] with a " +
          "ClientCaKey to give it a certificate",
      );
    } else if (member.fallbacks.length === 0) {
      notes.push("no fallback: [Relay] listens nowhere yet, expected a restart, or --fallback");
    }
    return notes;
  }

  #addPeers(members: readonly (Member & { readonly publicKey: Uint8Array })[]): void {
    const { peerSources, engine } = this.#options;
    for (const member of members) {
      if (member.state === "bound") this.#awaited.set(member.publicKey.toHex(), member);
    }
    peerSources.addAll("enrolled", members.map(peerOf));
    engine.wake();
  }

  /** Its own key is a peer from now on, where the token was. */
  #bound(member: Member): void {
    if (isEnrolled(member)) this.#addPeers([member]);
    this.#settle();
  }

  /** Makes peers of the tokens that are heard, forgets what is over, and looks again in time. */
  #settle(): void {
    const { engine, peerSources } = this.#options;
    const roster = this.#roster!;
    const now = this.#now();
    try {
      roster.purge();
    } catch {
      // They are forgotten by the next look, or by the next start.
    }
    const hasRevoked = this.#revoked.update(roster.all);
    if (this.#guests.update(roster.tokens, now) || hasRevoked) {
      this.#options.onAdmission({
        isRevoked: (certificate) => this.#revoked.has(certificate),
        guestOf: (certificate) => this.#guests.find(certificate, this.#now()),
      });
    }
    const heard = new Map(roster.tokens.map((member) => [member.tokenKey.toHex(), member]));
    const over = [...this.#tokens].filter(([key]) => !heard.has(key));
    for (const [key, { link }] of over) {
      this.#tokens.delete(key);
      this.#listener.forget(link);
    }
    if (over.length > 0) {
      peerSources.removeAll("enrolled", over.map(([, { tokenKey }]) => tokenKey));
    }
    const isAsked = heard.size > 0 || roster.all.some(isRenewable);
    if (isAsked && this.#listener.hasAddress) this.#listener.listen();
    const added = this.#listener.isOpen ? [...heard].filter(([key]) => !this.#tokens.has(key)) : [];
    if (added.length > 0) {
      peerSources.addAll("enrolled", added.map(([, member]) => tokenPeerOf(member)));
    }
    for (const [key, member] of added) {
      this.#tokens.set(key, member);
      const peer = engine.device.peer(member.tokenKey);
      if (peer !== undefined) this.#listener.admit(member.link, peer);
    }
    this.#listener.setGated(this.#tokens.size > 0);
    engine.wake();
    const next = Math.min(
      ...Array.from(
        heard.values(),
        ({ expiresAt }) => expiresAt > now ? expiresAt - now : expiresAt + LINGER_MS - now,
      ),
      LOOK_MS,
    );
    this.#lookAt = heard.size > 0 ? engine.now() + Math.max(next, 100) : Infinity;
  }

  /** The enrolled machine whose address this is, as the tunnel knows: nobody else sends from it. */
  #memberAt(address: IpAddress): Member | undefined {
    const peer = this.#options.engine.device.peerAt(address.bytes, 0, address.version);
    if (peer === undefined) return undefined;
    return this.#roster?.all.find((member) =>
      isEnrolled(member) && isSameKey(member.publicKey, peer.publicKey) &&
      member.addresses.some((own) => own.equals(address))
    );
  }

  #needRoster(): Roster {
    if (this.#roster !== undefined) return this.#roster;
    throw new ConfigError([this.#problem]);
  }

  /** @throws {ConfigError} if it cannot be written; then nothing has changed. */
  #save(change: () => void): void {
    try {
      change();
    } catch (error) {
      throw new ConfigError([
        `the state of enrolment cannot be written (${
          (error as Error).message
        }), nothing has changed`,
      ]);
    }
  }
}

function isAllowedByName(
  name: string,
  { allowedClients = [] }: Partial<RelayConfig> = {},
): boolean {
  return allowedClients.length === 0 || allowedClients.includes(name.toLowerCase());
}

/** @param error Why it could not be written. */
function revoked(done: string, error?: Error): Revoked {
  if (error === undefined) return { done };
  return {
    done: `${done}, but it cannot be written down (${error.message}): until that works, which is ` +
      "tried again and again, a restart lets it back in",
    unwritten: error.message,
  };
}
