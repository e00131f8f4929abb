/**
 * A port NAT in lists: what the one in typed arrays must do. It does not choose ports, it is told which
 * one was, and says if that may be.
 *
 * @module
 */

import type { NatFiltering } from "../../../netstack/mod.ts";

export type Protocol = "tcp" | "udp" | "icmp";

export const SYN = 2;
export const FIN = 1;
export const RST = 4;
export const ACK = 16;

const LIFE = { udp: 300_000, icmp: 60_000, transitory: 240_000, established: 7_440_000 };

interface Session {
  mapping: Mapping;
  remote: string;
  remotePort: number;
  ends: number;
  used: number;
  hasOut: boolean;
  hasIn: boolean;
  finOut: boolean;
  finIn: boolean;
  reset: boolean;
}

interface Mapping {
  protocol: Protocol;
  host: string;
  port: number;
  external: number;
  used: number;
}

/** How often an owner's count has changed tells who comes first of those with as many. */
class Counts {
  readonly #changed = new Map<string, number>();
  #turn = 0;

  change(owner: string): void {
    this.#changed.set(owner, ++this.#turn);
  }

  /** Of entries with owners, the one that makes room for `owner`. */
  victim<T extends { used: number }>(
    entries: T[],
    ownerOf: (entry: T) => string,
    owner: string,
    limit: number,
  ): T {
    const owners = [...new Set(entries.map(ownerOf))];
    const countOf = (of: string) => entries.filter((entry) => ownerOf(entry) === of).length;
    const [greediest] = owners.sort((a, b) =>
      countOf(b) - countOf(a) || this.#changed.get(b)! - this.#changed.get(a)!
    );
    const share = limit / owners.length;
    const own = countOf(owner);
    const isGreedy = own === 0 ||
      own + 1 <= share && greediest !== owner && countOf(greediest!) > share;
    const giver = isGreedy ? greediest : owner;
    return entries.filter((entry) => ownerOf(entry) === giver)
      .sort((a, b) => a.used - b.used)[0]!;
  }
}

export class PlainNat {
  mappings: Mapping[] = [];
  sessions: Session[] = [];
  readonly #filtering: NatFiltering;
  readonly #first: number;
  readonly #last: number;
  readonly #maxSessions: number;
  readonly #mappingCounts = new Map<Protocol, Counts>();
  readonly #sessionCounts = new Counts();
  readonly #everUsed = new Set<string>();
  #turn = 0;

  constructor(filtering: NatFiltering, first: number, last: number, maxSessions: number) {
    this.#filtering = filtering;
    this.#first = first;
    this.#last = last;
    this.#maxSessions = maxSessions;
  }

  expire(now: number): void {
    for (const session of this.sessions.filter(({ ends }) => ends <= now)) this.#end(session);
  }

  /**
   * A packet on its way out.
   *
   * @param external The port that it came out with, undefined = it did not.
   * @returns What is wrong with that.
   */
  out(
    protocol: Protocol,
    host: string,
    port: number,
    remote: string,
    remotePort: number,
    flags: number,
    external: number | undefined,
    now: number,
  ): string | undefined {
    this.expire(now);
    let mapping = this.mappings.find((each) =>
      each.protocol === protocol && each.host === host && each.port === port
    );
    let session = mapping && this.#session(mapping, remote, remotePort);
    if (session === undefined) {
      if (protocol === "tcp" && (flags & RST) !== 0) {
        return external === undefined ? undefined : "a reset of nothing passes";
      }
      if (external === undefined) return "it does not pass";
      if (mapping === undefined) {
        const wrong = this.#makeRoom(protocol, host, port, external);
        if (wrong !== undefined) return wrong;
        mapping = { protocol, host, port, external, used: 0 };
        this.mappings.push(mapping);
        this.#countsOf(protocol).change(host);
        this.#everUsed.add(`${protocol} ${external}`);
      }
      if (this.sessions.length >= this.#maxSessions) {
        const ownerOf = (each: Session) => each.mapping.host;
        const victim = this.#sessionCounts.victim(
          this.sessions,
          ownerOf,
          host,
          this.#maxSessions,
        );
        this.#end(victim, mapping);
      }
      session = this.#begin(mapping, remote, remotePort);
    }
    if (external !== mapping!.external) return `it has port ${external}, not ${mapping!.external}`;
    this.#use(session, true, flags, now);
    return undefined;
  }

  /** A packet on its way in. @returns Whom it is for. */
  in(
    protocol: Protocol,
    external: number,
    remote: string,
    remotePort: number,
    flags: number,
    now: number,
  ): { host: string; port: number } | undefined {
    this.expire(now);
    const mapping = this.mappings.find((each) =>
      each.protocol === protocol && each.external === external
    );
    if (mapping === undefined) return undefined;
    let session = this.#session(mapping, remote, remotePort);
    if (session === undefined && protocol === "tcp" && (flags & (SYN | ACK | RST)) === SYN) {
      const mayBegin = this.#filtering === "endpoint" ||
        this.#filtering === "address" &&
          this.sessions.some((each) => each.mapping === mapping && each.remote === remote);
      if (mayBegin && this.sessions.length < this.#maxSessions) {
        session = this.#begin(mapping, remote, remotePort);
      }
    }
    if (session === undefined) return undefined;
    this.#use(session, false, flags, now);
    return mapping;
  }

  /** Whether an ICMP error about a packet to `remote` finds its mapping. */
  error(protocol: Protocol, external: number, remote: string, remotePort: number, now: number) {
    this.expire(now);
    const mapping = this.mappings.find((each) =>
      each.protocol === protocol && each.external === external
    );
    return mapping && this.#session(mapping, remote, remotePort) && mapping;
  }

  #makeRoom(
    protocol: Protocol,
    host: string,
    port: number,
    external: number,
  ): string | undefined {
    const others = this.mappings.filter((each) => each.protocol === protocol);
    const size = this.#last - this.#first + 1;
    if (others.length === size) {
      const ownerOf = (each: Mapping) => each.host;
      const victim = this.#countsOf(protocol).victim(others, ownerOf, host, size);
      for (const session of this.sessions.filter(({ mapping }) => mapping === victim)) {
        this.#end(session);
      }
    }
    if (external < this.#first || external > this.#last) return `${external} is no port of it`;
    if (this.mappings.some((each) => each.protocol === protocol && each.external === external)) {
      return `port ${external} has a holder`;
    }
    const isFree = port >= this.#first && port <= this.#last &&
      !this.#everUsed.has(`${protocol} ${port}`);
    return isFree && external !== port ? `port ${port} was free` : undefined;
  }

  #countsOf(protocol: Protocol): Counts {
    const counts = this.#mappingCounts.get(protocol) ?? new Counts();
    this.#mappingCounts.set(protocol, counts);
    return counts;
  }

  #session(mapping: Mapping, remote: string, remotePort: number): Session | undefined {
    return this.sessions.find((each) =>
      each.mapping === mapping &&
      (mapping.protocol === "tcp"
        ? each.remote === remote && each.remotePort === remotePort
        : (this.#filtering === "endpoint" || each.remote === remote) &&
          (this.#filtering !== "address-port" || mapping.protocol === "icmp" ||
            each.remotePort === remotePort))
    );
  }

  #begin(mapping: Mapping, remote: string, remotePort: number): Session {
    const session: Session = {
      mapping,
      remote,
      remotePort,
      ends: Infinity,
      used: 0,
      hasOut: false,
      hasIn: false,
      finOut: false,
      finIn: false,
      reset: false,
    };
    this.sessions.push(session);
    this.#sessionCounts.change(mapping.host);
    return session;
  }

  #use(session: Session, isOut: boolean, flags: number, now: number): void {
    const { protocol } = session.mapping;
    session.used = session.mapping.used = ++this.#turn;
    if (protocol !== "tcp") {
      if (isOut) session.ends = now + LIFE[protocol];
      return;
    }
    const hasEnded = () => session.finOut && session.finIn || session.reset;
    if (hasEnded() && (flags & SYN) !== 0 && (flags & RST) === 0) {
      session.hasOut =
        session.hasIn =
        session.finOut =
        session.finIn =
          false;
    }
    session.reset = (flags & RST) !== 0;
    if (isOut) session.hasOut = true;
    else session.hasIn = true;
    if ((flags & FIN) !== 0) {
      if (isOut) session.finOut = true;
      else session.finIn = true;
    }
    const isOpen = session.hasOut && session.hasIn && !hasEnded();
    session.ends = now + (isOpen ? LIFE.established : LIFE.transitory);
  }

  #end(session: Session, kept?: Mapping): void {
    const { mapping } = session;
    this.sessions.splice(this.sessions.indexOf(session), 1);
    this.#sessionCounts.change(mapping.host);
    if (mapping === kept || this.sessions.some((each) => each.mapping === mapping)) return;
    this.mappings.splice(this.mappings.indexOf(mapping), 1);
    this.#countsOf(mapping.protocol).change(mapping.host);
  }
}
