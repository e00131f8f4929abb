/**
 * The members of a hub. A change is saved before it counts: who was told something finds it true after
 * a crash, and what could not be saved has not happened. But for a revocation, which counts in any case.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { isSameKey } from "../base64.ts";
import { isHolding, isTokenHeard, isWorthKeeping, type Member } from "./member.ts";
import type { MemberChange } from "./member_log.ts";
import type { RefusalReason } from "./message.ts";

/** Tokens that may be out at once: each is a peer of the hub. */
export const MAX_TOKENS = 1000;

export interface RosterOptions {
  readonly members: readonly Member[];
  /** @throws {Error} if it cannot be kept. */
  save(change: MemberChange): void;
  /** ms since the Unix epoch. */
  now(): number;
}

export class Roster {
  readonly #options: RosterOptions;
  /** By the token's public key, in hexadecimal digits; the oldest first. */
  #members: ReadonlyMap<string, Member>;
  /** Revocations that could not be kept yet, by the same key. */
  readonly #unsaved = new Map<string, Member>();

  constructor(options: RosterOptions) {
    this.#options = options;
    this.#members = new Map(options.members.map((member) => [member.tokenKey.toHex(), member]));
  }

  get all(): MapIterator<Member> {
    return this.#members.values();
  }

  /** Whose tokens are answered, be it by a refusal. */
  get tokens(): Member[] {
    const now = this.#options.now();
    return [...this.all].filter((member) => isTokenHeard(member, now));
  }

  /** Those who have a name, addresses and, perhaps, subnets. */
  get holding(): Member[] {
    const now = this.#options.now();
    return [...this.all].filter((member) => isHolding(member, now));
  }

  byTokenKey(key: Uint8Array): Member | undefined {
    return this.#members.get(key.toHex());
  }

  byLink(address: IpAddress): Member | undefined {
    return this.tokens.find(({ link }) => link.equals(address));
  }

  /** Who holds this name, in any case. */
  byName(name: string): Member | undefined {
    return this.holding.find((member) => member.name.toLowerCase() === name.toLowerCase());
  }

  /** @throws {Error} if it cannot be kept; then nothing has changed. */
  add(member: Member): void {
    this.#put(member);
  }

  /**
   * Whether a key may be handed in with a token.
   *
   * @returns `bind` if it is the first, `again` if it was handed in before.
   */
  decide(member: Member, publicKey: Uint8Array): "bind" | "again" | RefusalReason {
    if (member.state === "revoked") return "revoked";
    if (member.state === "used") return "used";
    if (member.state === "bound") {
      return isSameKey(member.publicKey!, publicKey) ? "again" : "bound";
    }
    return this.#options.now() < member.expiresAt ? "bind" : "expired";
  }

  /**
   * @param values What is certain of it only now.
   * @throws {Error} if it cannot be kept; then nothing has changed.
   */
  bind(
    member: Member,
    values: Pick<Member, "addresses"> & Required<Pick<Member, "publicKey">> & {
      readonly certificate?: string;
    },
  ): Member {
    const bound: Member = {
      ...member,
      ...values,
      state: "bound",
      joinedAt: this.#options.now(),
    };
    this.#put(bound);
    return bound;
  }

  /**
   * The member has come with its own key: its token is spent.
   *
   * @throws {Error} if it cannot be kept; then nothing has changed.
   */
  spend(member: Member): void {
    this.#put({ ...member, state: "used", usedAt: this.#options.now() });
  }

  /**
   * The member has another certificate, for the same key.
   *
   * @param certificate PEM.
   * @throws {Error} if it cannot be kept; then nothing has changed.
   */
  certify(member: Member, certificate: string): void {
    this.#put({ ...member, certificate, certifiedAt: this.#options.now() });
  }

  /**
   * Holds at once: who is to be shut out is not let in because a disk is full.
   *
   * @returns why it could not be kept; then {@link retry}, or the next change, does.
   */
  revoke(member: Member): Error | undefined {
    const revoked: Member = { ...member, state: "revoked", revokedAt: this.#options.now() };
    try {
      this.#put(revoked);
      return undefined;
    } catch (error) {
      const key = member.tokenKey.toHex();
      this.#members = new Map(this.#members).set(key, revoked);
      this.#unsaved.set(key, revoked);
      return error as Error;
    }
  }

  /** Revocations that a restart would undo. */
  get unsaved(): number {
    return this.#unsaved.size;
  }

  /** Whether a member's revocation is one of those. */
  isUnsaved({ tokenKey }: Member): boolean {
    return this.#unsaved.has(tokenKey.toHex());
  }

  /** Keeps what could not be kept. @throws {Error} if it cannot be now either. */
  retry(): void {
    if (this.#unsaved.size > 0) this.#commit(this.#members, []);
  }

  /**
   * Forgets who is neither a peer nor to be told anything.
   *
   * @returns who that was.
   * @throws {Error} if that cannot be kept; then nothing has changed.
   */
  purge(): Member[] {
    const now = this.#options.now();
    const gone = [...this.all].filter((member) => !isWorthKeeping(member, now));
    if (gone.length === 0) return gone;
    const left = new Map(this.#members);
    for (const { tokenKey } of gone) left.delete(tokenKey.toHex());
    this.#commit(left, [], gone);
    return gone;
  }

  #put(member: Member): void {
    this.#commit(new Map(this.#members).set(member.tokenKey.toHex(), member), [member]);
  }

  #commit(
    members: ReadonlyMap<string, Member>,
    changed: readonly Member[],
    gone: readonly Member[] = [],
  ): void {
    this.#options.save({ changed: [...this.#unsaved.values(), ...changed], gone, all: members });
    this.#members = members;
    this.#unsaved.clear();
  }
}
