/**
 * Enrolment on a hub: invitations, the service in the tunnel that machines hand their keys in to, and
 * the peers that come of it, through restarts.
 *
 * The order of every step is: decided, written, done, answered. What a crash leaves undone is done from
 * the file at the next start, and a machine that has got no answer asks again and gets the same one.
 *
 * @module
 */

import { type IpAddress, Prefix, type TcpListener } from "../../netstack/mod.ts";
import type { Peer } from "../../wireguard/mod.ts";
import { generatePrivateKey, isSameKey, publicKeyOf } from "../base64.ts";
import type { GatewayConfig, RelayListen } from "../config/checked.ts";
import { ConfigError } from "../config/error.ts";
import { quote } from "../config/values.ts";
import type { Engine, TimeoutSource } from "../engine/engine.ts";
import { TokenGate } from "../enrol/gate.ts";
import { newLinkAddress } from "../enrol/link_address.ts";
import {
  isEnrolled,
  LINGER_MS,
  type Member,
  type MemberStatus,
  peerOf,
  servedPrefixes,
  statusOf,
  tokenPeerOf,
} from "../enrol/member.ts";
import type { EnrolAnswer, EnrolRequest, Grant } from "../enrol/message.ts";
import { MAX_TOKENS, Roster } from "../enrol/roster.ts";
import { EnrolService } from "../enrol/service.ts";
import { memberFile, readMembers, writeMembers } from "../enrol/state_file.ts";
import { encodeToken } from "../enrol/token.ts";
import { getLogger } from "../log/logger.ts";
import { isWorthALine } from "../log/thinning.ts";
import { TunnelConn } from "../tunnel/conn.ts";
import { ClientAuthority } from "./client_authority.ts";
import { newAddresses, NoFreeAddress } from "./free_address.ts";
import { checkInvitation, type InvitationRequest, twinsOf } from "./invitation.ts";
import type { PeerSources } from "./peer_sources.ts";
import { peerName } from "./peer_name.ts";
import type { TunnelPeers } from "./peers.ts";
import { prepareStateDirectory } from "./state_directory.ts";

const log = getLogger(["wirestack", "enrolment"]);

/** TCP, on the hub's own address; the first that nobody else listens at. */
const FIRST_PORT = 51820;
const PORTS = 10;
const BACKLOG = 32;
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
  /** The first that can be written to is used. */
  readonly stateDirectories: readonly string[];
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

/** A machine that was invited, as plain values. */
export interface MemberStats {
  readonly name: string;
  readonly kind: "agent" | "client";
  readonly status: MemberStatus;
  readonly addresses: readonly string[];
  /** What others reach by it. */
  readonly prefixes: readonly string[];
  readonly subnets: readonly string[];
  /** As `Date.toISOString` writes them. */
  readonly invitedAt: string;
  readonly expiresAt: string;
  /** When it handed its key in; null before. */
  readonly joinedAt: string | null;
  /** In base64; null before it joined. */
  readonly publicKey: string | null;
}

export class Enrolment implements TimeoutSource {
  readonly #options: EnrolmentOptions;
  readonly #now: () => number;
  /** Undefined: nothing can be kept, and {@link #problem} says why. */
  readonly #roster: Roster | undefined;
  #problem = "";
  /** At the start: whose members these are. */
  readonly #hubKey: Uint8Array;
  #config: GatewayConfig;
  #service: EnrolService | undefined;
  #gate: TokenGate | undefined;
  #listener: TcpListener | undefined;
  /** Members who have handed their key in and not come with it yet, by that key. */
  readonly #awaited = new Map<string, Member>();
  /** Tokens that are peers now. */
  readonly #tokens = new Map<string, Member>();
  #lookAt = Infinity;
  #refusals = 0;

  constructor(options: EnrolmentOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#now = options.wallClock ?? Date.now;
    this.#hubKey = options.engine.device.publicKey.slice();
    this.#roster = this.#openRoster();
    options.engine.addTimeouts(this);
    if (this.#roster === undefined) return;
    this.#addPeers([...this.#roster.all].filter(isEnrolled));
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
    const service = this.#serviceAddress();
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
    const member: Member = {
      ...known,
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
    const listening = this.#listen();
    this.#save(() => roster.add(member));
    this.#settle();
    const token = encodeToken({
      ...known,
      privateKey,
      hubKey: engine.device.publicKey,
      expiresAt: member.expiresAt,
      link: member.link,
      isCertified: member.fallbacks.length > 0,
      service: { address: service, port: listening },
    });
    privateKey.fill(0);
    log.info("{name} is invited, until {until}", {
      name: member.name,
      until: formatTime(member.expiresAt),
    });
    return { token, notes: this.#notes(member, twins) };
  }

  /** In the order in which they were invited. */
  invites(): MemberStats[] {
    const now = this.#now();
    return Array.from(this.#roster?.all ?? [], (member) => ({
      name: member.name,
      kind: member.isClient ? "client" : "agent",
      status: statusOf(member, now),
      addresses: member.addresses.map(String),
      prefixes: servedPrefixes(member).map(String),
      subnets: member.subnets.map(String),
      invitedAt: new Date(member.invitedAt).toISOString(),
      expiresAt: new Date(member.expiresAt).toISOString(),
      joinedAt: member.joinedAt === undefined ? null : new Date(member.joinedAt).toISOString(),
      publicKey: member.publicKey?.toBase64() ?? null,
    }));
  }

  /**
   * Ends an invitation, or the membership that has come of it: sessions end at once.
   *
   * @returns what was done, in a line.
   * @throws {ConfigError} if there is none; then nothing has changed.
   */
  revoke(name: string): string {
    const roster = this.#needRoster();
    const member = roster.byName(name);
    if (member === undefined) {
      const past = [...roster.all].findLast((one) => one.name.toLowerCase() === name.toLowerCase());
      throw new ConfigError([
        past === undefined
          ? `NAME: nobody of the name ${quote(name)} was invited, expected one of wirestack invites`
          : `NAME: ${past.name} is ${statusOf(past, this.#now())} already, nothing has changed`,
      ]);
    }
    this.#save(() => roster.revoke(member));
    this.#settle();
    if (member.publicKey === undefined) {
      log.info("{name}: the invitation is revoked", { name: member.name });
      return `${member.name}: the invitation is revoked`;
    }
    this.#awaited.delete(member.publicKey.toHex());
    this.#options.peerSources.remove("enrolled", member.publicKey);
    this.#options.engine.wake();
    log.info("{name}: revoked, its sessions have ended", { name: member.name });
    return `${member.name}: revoked, its sessions have ended`;
  }

  /** A peer has completed a handshake: if it is the first of an enrolled one, its token is spent. */
  handshakeComplete({ publicKey }: Peer): void {
    if (this.#awaited.size === 0) return;
    const key = publicKey.toHex();
    const member = this.#awaited.get(key);
    if (member === undefined) return;
    try {
      this.#roster!.spend(member);
      this.#awaited.delete(key);
      // It cannot know when this hub is killed: the next start calls it.
      this.#options.peers.remember();
      log.info("{name} is here with its own key: its token is spent", { name: member.name });
    } catch (error) {
      // The next handshake tries again. Nobody but this key has anything of the token until then.
      log.error("the state of enrolment cannot be written: {error}", {
        error: (error as Error).message,
      });
    }
  }

  pollTimeout(): number {
    return this.#lookAt;
  }

  handleTimeout(now: number): void {
    if (now >= this.#lookAt) this.#settle();
  }

  close(): void {
    this.#service?.close();
    this.#listener?.close();
    this.#listener = undefined;
    this.#options.engine.stack.setIngressFilter(undefined);
    this.#lookAt = Infinity;
  }

  /** What a machine that has come with a token is told. */
  async #answer(link: IpAddress, request: EnrolRequest | undefined): Promise<EnrolAnswer> {
    const member = this.#roster!.byLink(link);
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
    const roster = this.#roster!;
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
    if (decision === "again") return this.#granted(member);
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
      if (error instanceof NoFreeAddress) return { refused: "full" };
      log.error("the state of enrolment cannot be written: {error}", {
        error: (error as Error).message,
      });
      return { refused: "state" };
    }
    if (isEnrolled(bound)) this.#addPeers([bound]);
    this.#settle();
    log.info("{name} has enrolled, with the key {publicKey}", {
      name: bound.name,
      publicKey: publicKey.toBase64(),
    });
    return this.#granted(bound);
  }

  /** @returns `refused` if it cannot be signed; undefined if it is not asked for, or not needed. */
  async #sign(
    member: Member,
    { certificateRequest }: EnrolRequest,
  ): Promise<string | "refused" | undefined> {
    const authority = this.#authority();
    if (certificateRequest === undefined || member.fallbacks.length === 0) return undefined;
    if (authority === undefined) return undefined;
    try {
      const { name } = member;
      void authority.pin; // which the machine is to be told
      return await authority.sign(certificateRequest, name, this.#now()) ?? "refused";
    } catch (error) {
      log.error("no certificate for {name}: {error}", {
        name: member.name,
        error: (error as Error).message,
      });
      return "refused";
    }
  }

  #authority(): ClientAuthority | undefined {
    return ClientAuthority.of(this.#config.relay);
  }

  #granted(member: Member): EnrolAnswer {
    try {
      return { grant: this.#grantOf(member) };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      log.error("no certificate for {name}: {error}", { name: member.name, error: error.message });
      return { refused: "certificate" };
    }
  }

  /** @throws {ConfigError} if the hub's own certificate cannot be read, for its pin. */
  #grantOf(member: Member): Grant {
    const { isClient, addresses, allowedIps, subnets, maps, endpoints, certificate } = member;
    const pin = certificate === undefined ? undefined : this.#authority()?.pin;
    const fallbacks = pin === undefined
      ? []
      : member.fallbacks.map((url) => ({ url, pins: [pin] }));
    return {
      isClient,
      addresses,
      allowedIps,
      subnets,
      maps,
      endpoints,
      mtu: this.#config.mtu,
      fallbacks,
      ...(fallbacks.length > 0 && { certificate: certificate! }),
    };
  }

  /** The addresses that were promised, unless somebody has taken one since. @throws {NoFreeAddress} */
  #stillFree(member: Member): readonly IpAddress[] {
    const others = this.#taken(member).map(({ prefix }) => prefix);
    const isLost = member.addresses.some((address) =>
      others.some((prefix) => prefix.equals(new Prefix(address, address.bytes.length * 8)))
    );
    return isLost ? newAddresses(this.#config, others) : member.addresses;
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
  #taken(without?: Member): { readonly name: string; readonly prefix: Prefix }[] {
    const { engine: { device }, peers, peerSources } = this.#options;
    const ofPeers = Array.from(device.peers()).flatMap((peer) => {
      const name = peerName(peer);
      const own = peerSources.config(peer)?.allowedIps ?? peers.allowedIps(peer);
      return own.map((prefix) => ({ name, prefix }));
    });
    const promised = (this.#roster?.holding ?? []).filter((member) =>
      member !== without && !isEnrolled(member)
    ).flatMap((member) =>
      [
        ...member.addresses.map((address) => new Prefix(address, address.bytes.length * 8)),
        ...servedPrefixes(member),
      ].map((prefix) => ({ name: member.name, prefix }))
    );
    return [...ofPeers, ...promised];
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

  /** Makes peers of the tokens that are heard, forgets what is over, and looks again in time. */
  #settle(): void {
    const { engine, peerSources } = this.#options;
    const roster = this.#roster!;
    const now = this.#now();
    try {
      roster.purge();
    } catch (error) {
      log.error("the state of enrolment cannot be written: {error}", {
        error: (error as Error).message,
      });
    }
    const heard = new Map(roster.tokens.map((member) => [member.tokenKey.toHex(), member]));
    const over = [...this.#tokens].filter(([key]) => !heard.has(key));
    for (const [key, { link }] of over) {
      this.#tokens.delete(key);
      this.#gate?.delete(link);
      this.#service?.forget(link);
    }
    if (over.length > 0) {
      peerSources.removeAll("enrolled", over.map(([, { tokenKey }]) => tokenKey));
    }
    if (heard.size > 0 && this.#hasAddress) this.#listen();
    const gate = this.#gate;
    const added = gate === undefined ? [] : [...heard].filter(([key]) => !this.#tokens.has(key));
    if (added.length > 0) {
      peerSources.addAll("enrolled", added.map(([, member]) => tokenPeerOf(member)));
    }
    for (const [key, member] of added) {
      this.#tokens.set(key, member);
      const peer = engine.device.peer(member.tokenKey);
      if (peer !== undefined) gate!.add(member.link, peer);
    }
    // Without tokens nothing is asked of packets.
    engine.stack.setIngressFilter(this.#tokens.size > 0 ? this.#gate : undefined);
    engine.wake();
    const next = Math.min(
      ...Array.from(heard.values(), ({ expiresAt }) => expiresAt + LINGER_MS - now),
      LOOK_MS,
    );
    this.#lookAt = heard.size > 0 ? engine.now() + Math.max(next, 100) : Infinity;
  }

  get #hasAddress(): boolean {
    return [...this.#options.engine.nic1.addresses].length > 0;
  }

  /** @throws {ConfigError} if there is none of the stack's own. */
  #serviceAddress(): IpAddress {
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
  #listen(): number {
    if (this.#listener !== undefined) return this.#listener.port;
    const { engine } = this.#options;
    const address = this.#serviceAddress();
    const service = this.#service ??= new EnrolService({
      isToken: (link) => this.#roster!.byLink(link) !== undefined,
      answer: (link, request) => this.#answer(link, request),
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

  #noteRefused(link: IpAddress): void {
    this.#refusals++;
    if (!isWorthALine(this.#refusals)) return;
    log.warn(
      "a token tries to reach more than the service of enrolment, {count} packets so far: {name}",
      {
        count: this.#refusals,
        name: this.#roster!.byLink(link)?.name ?? "",
      },
    );
  }

  #needRoster(): Roster {
    if (this.#roster !== undefined) return this.#roster;
    throw new ConfigError([this.#problem]);
  }

  #openRoster(): Roster | undefined {
    const { engine, stateDirectories } = this.#options;
    const reasons: string[] = [];
    const directory = prepareStateDirectory(
      stateDirectories,
      (directory, error) => reasons.push(`${directory}: ${error.message}`),
    );
    if (directory === undefined) {
      this.#problem =
        "nobody can be enrolled without a folder for state, expected a writable one in " +
        `STATE_DIRECTORY, XDG_STATE_HOME or HOME (${reasons.join("; ") || "none is named"})`;
      return undefined;
    }
    const path = memberFile(directory, engine.device.publicKey);
    try {
      return new Roster({
        members: readMembers(path),
        save: (members) => writeMembers(path, members),
        now: this.#now,
      });
    } catch (error) {
      this.#problem = (error as Error).message;
      log.error("machines that were enrolled are not let in: {error}", { error: this.#problem });
      return undefined;
    }
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

function formatTime(time: number): string {
  return new Date(time).toISOString().replace(/\.\d+Z$/, "Z");
}
