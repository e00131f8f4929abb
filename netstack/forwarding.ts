/**
 * Packets that pass through, from one link to another.
 *
 * @module
 */

import type { IpVersion } from "./address.ts";
import { readUint16, writeUint16 } from "./bytes.ts";
import type { IpCounters } from "./counters.ts";
import {
  decrementTtl,
  DONT_FRAGMENT,
  IPV4_CHECKSUM,
  IPV4_DESTINATION,
  IPV4_FRAGMENT,
  IPV4_TTL,
} from "./ipv4.ts";
import { IPV6_DESTINATION, IPV6_HOP_LIMIT } from "./ipv6.ts";
import type { NatPath } from "./nat/path.ts";
import type { Nic } from "./nic.ts";
import type { Output } from "./output.ts";
import type { TransitPolice } from "./police.ts";
import { PROTOCOL_TCP } from "./protocols.ts";
import { type TransitFilter, TransitPacket } from "./transit.ts";

/** What forwarding needs of the input side. */
export interface ForwardingHost {
  /** Hands a packet up as if it were for one of this host's addresses. */
  deliver(
    nic: Nic,
    version: IpVersion,
    buffer: Uint8Array,
    offset: number,
    total: number,
    hopLimit: number,
    now: number,
  ): void;
  /** Takes in a packet that had been set aside, from the sender of the packet being handled. */
  receive(nic: Nic, version: IpVersion, packet: Uint8Array, now: number): void;
}

/**
 * Passes packets on. In this order: NAT of the destination, rules, size, NAT of the source, rate,
 * hop limit, the link.
 */
export class Forwarding {
  readonly #output: Output;
  readonly #counters: IpCounters;
  readonly #host: ForwardingHost;
  readonly #transit = new TransitPacket();
  /** Undefined: everything passes, and nothing is looked at. */
  filter: TransitFilter | undefined = undefined;
  /** Undefined: no NIC has a NAT. */
  nat: NatPath | undefined = undefined;
  /** Undefined: whatever is routed to another link may leave. */
  police: TransitPolice | undefined = undefined;

  constructor(output: Output, counters: IpCounters, host: ForwardingHost) {
    this.#output = output;
    this.#counters = counters;
    this.#host = host;
  }

  /**
   * A packet that came in by `nic` and is routed to the link of `target`.
   *
   * @param hopLimit As it came in.
   * @param isHop Whether it loses one.
   * @param from As `Stack.handlePacket` was told.
   */
  handlePacket(
    target: Nic,
    nic: Nic,
    version: IpVersion,
    buffer: Uint8Array,
    offset: number,
    total: number,
    hopLimit: number,
    isHop: boolean,
    from: unknown,
    now: number,
  ): void {
    const nat = nic.nat === undefined && target.nat === undefined ? undefined : this.nat!;
    if (nat !== undefined) {
      const verdict = nat.enter(
        nic.nat,
        target.nat,
        nic.id,
        target === nic,
        version,
        buffer,
        offset,
        total,
        from,
        now,
      );
      if (verdict !== "pass") {
        this.#dropUntranslated(verdict, nic, buffer, offset, total, now);
        return;
      }
    }
    this.#pass(nat, target, nic, version, buffer, offset, total, hopLimit, isHop, from, now);
    if (nat !== undefined && nat.released.length > 0) this.#release(nat, nic, version, now);
  }

  /** Fragments that the packet at work was the first of. */
  #release(nat: NatPath, nic: Nic, version: IpVersion, now: number): void {
    const { released } = nat;
    nat.released = [];
    this.#counters.fragmentsReleased += released.length;
    for (const held of released) this.#host.receive(nic, version, held, now);
  }

  #dropUntranslated(
    verdict: "drop" | "refuse" | "hold",
    nic: Nic,
    buffer: Uint8Array,
    offset: number,
    total: number,
    now: number,
  ): void {
    if (verdict === "hold") {
      this.#counters.fragmentsHeld++;
      return;
    }
    this.#counters.untranslated++;
    if (verdict === "refuse") {
      this.#output.errors.unreachable("prohibited", nic, buffer, offset, total, now);
    }
  }

  /** @param nat That has translated the destination, if it is one's. */
  #pass(
    nat: NatPath | undefined,
    target: Nic,
    nic: Nic,
    version: IpVersion,
    buffer: Uint8Array,
    offset: number,
    total: number,
    hopLimit: number,
    isHop: boolean,
    from: unknown,
    now: number,
  ): void {
    const counters = this.#counters;
    const isIpv4 = version === 4;
    const { filter } = this;
    if (
      filter !== undefined &&
      !this.#mayPass(filter, nat, nic, version, buffer, offset, total, hopLimit, from, now)
    ) return;
    const fits = total <= target.mtu;
    if (!fits && (!isIpv4 || (readUint16(buffer, offset + IPV4_FRAGMENT) & DONT_FRAGMENT) !== 0)) {
      counters.tooBig++;
      nat?.undo();
      this.#output.errors.tooBig(target.mtu, nic, buffer, offset, total, now);
      return;
    }
    const verdict = nat === undefined ? "pass" : nat.leave(now);
    if (verdict !== "pass") {
      this.#dropUntranslated(verdict, nic, buffer, offset, total, now);
      return;
    }
    const { police } = this;
    const destination = offset + (isIpv4 ? IPV4_DESTINATION : IPV6_DESTINATION);
    if (police?.admits(from, buffer, destination, version, total, now) === false) {
      counters.overRate++;
      return;
    }
    const checksum = isIpv4 ? readUint16(buffer, offset + IPV4_CHECKSUM) : 0;
    if (isHop) {
      if (isIpv4) decrementTtl(buffer, offset);
      else buffer[offset + IPV6_HOP_LIMIT] = hopLimit - 1;
    }
    if (!fits) {
      this.#forwardInFragments(target, buffer, offset, total, now);
      return;
    }
    counters.forwarded++;
    if (target.link.forward(buffer, offset, total, now)) return;
    if (nat !== undefined) {
      if (isIpv4) writeUint16(buffer, offset + IPV4_CHECKSUM, checksum);
      buffer[offset + (isIpv4 ? IPV4_TTL : IPV6_HOP_LIMIT)] = hopLimit;
      nat.undo();
    }
    // RFC 1812 §5.2.7.1, RFC 4443 §3.1: the next hop cannot be had.
    this.#output.errors.unreachable("host", nic, buffer, offset, total, now);
  }

  /** Asks the filter, and answers for it. */
  #mayPass(
    filter: TransitFilter,
    nat: NatPath | undefined,
    nic: Nic,
    version: IpVersion,
    buffer: Uint8Array,
    offset: number,
    total: number,
    hopLimit: number,
    from: unknown,
    now: number,
  ): boolean {
    const packet = this.#transit;
    packet.parse(buffer, offset, total, version);
    packet.from = from;
    const verdict = filter.handlePacket(packet, now);
    if (verdict === "pass") return true;
    this.#counters.filtered++;
    if (verdict === "drop") return false;
    nat?.undo();
    if (packet.protocol === PROTOCOL_TCP && !packet.isFragmented) {
      // TCP answers what it has no connection for.
      this.#host.deliver(nic, version, buffer, offset, total, hopLimit, now);
    } else this.#output.errors.unreachable("prohibited", nic, buffer, offset, total, now);
    return false;
  }

  #forwardInFragments(
    target: Nic,
    buffer: Uint8Array,
    offset: number,
    total: number,
    now: number,
  ): void {
    if (!this.#output.enqueuePacket(target, buffer, offset, total)) return;
    this.#counters.forwarded++;
    this.#output.push(target, now);
  }
}
