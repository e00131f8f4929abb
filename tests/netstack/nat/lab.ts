/**
 * A router with a NAT between two links whose other ends are the test's.
 *
 * @module
 */

import { Nat, type NatOptions, type Nic, Stack, type StackOptions } from "../../../netstack/mod.ts";
import { Sim, type SimLink } from "../../sim/network.ts";
import { addNic, ip, parse, type Parsed, prefix } from "../packets.ts";

export const EXTERNAL = "203.0.113.8";
export const EXTERNAL6 = "2001:db8:0:1::8";
/** A host behind the NAT, another, and two beyond it. */
export const A = "192.168.0.2";
export const B = "192.168.0.3";
export const A6 = "fd01::2";
export const B6 = "fd01::3";
export const X = "203.0.113.20";
export const Y = "198.51.100.7";
export const X6 = "2001:db8:0:1::20";
export const Y6 = "2001:db8:0:2::7";

export interface LabOptions extends Partial<NatOptions> {
  readonly seed?: number;
  readonly outsideMtu?: number;
  readonly insideMtu?: number;
  readonly stack?: Partial<StackOptions>;
}

export class NatLab {
  readonly sim: Sim;
  readonly stack: Stack;
  readonly nat: Nat;
  readonly inside: Nic;
  readonly outside: Nic;
  readonly #atInside: Parsed[] = [];
  readonly #atOutside: Parsed[] = [];

  constructor(options: LabOptions = {}) {
    const { seed = 1, outsideMtu = 1500, insideMtu = 1500 } = options;
    const sim = new Sim(seed);
    const random = (out: Uint8Array) => sim.random.fill(out);
    this.sim = sim;
    this.stack = new Stack({ random, ...options.stack });
    const inner = sim.link({ mtu: insideMtu });
    const outer = sim.link({ mtu: outsideMtu });
    this.inside = this.#nic("inside", inner, ["192.168.0.1/24", "fd01::1/64"]);
    this.outside = this.#nic("outside", outer, ["203.0.113.1/24", "2001:db8:0:1::1/64"]);
    for (const text of ["0.0.0.0/0", "::/0"]) this.stack.routes.insert(prefix(text), this.outside);
    this.nat = new Nat({ addresses: [ip(EXTERNAL), ip(EXTERNAL6)], random, ...options });
    this.stack.setNat(this.inside, this.nat);
    collect(inner, this.#atInside);
    collect(outer, this.#atOutside);
    sim.addHost(this.stack);
  }

  /** Packets from behind the NAT. @returns What came out beyond it. */
  out(...packets: Uint8Array[]): Parsed[] {
    this.send(this.inside, packets);
    return this.#atOutside.splice(0);
  }

  /** Packets from beyond. @returns What came out behind it. */
  in(...packets: Uint8Array[]): Parsed[] {
    this.send(this.outside, packets);
    return this.#atInside.splice(0);
  }

  /** Packets from behind the NAT. @returns What came out there, too: hairpinned, or errors. */
  back(...packets: Uint8Array[]): Parsed[] {
    this.send(this.inside, packets);
    return this.#atInside.splice(0);
  }

  /** Packets from beyond. @returns What came back. */
  bounce(...packets: Uint8Array[]): Parsed[] {
    this.send(this.outside, packets);
    return this.#atOutside.splice(0);
  }

  /** What has arrived on either side and nobody took. */
  take(): { inside: Parsed[]; outside: Parsed[] } {
    return { inside: this.#atInside.splice(0), outside: this.#atOutside.splice(0) };
  }

  send(nic: Nic, packets: Uint8Array[]): void {
    for (const bytes of packets) {
      this.stack.handlePacket(nic, bytes.slice(), 0, bytes.length, this.sim.now);
    }
    this.sim.runFor(0);
  }

  #nic(name: string, link: SimLink, network: string[]): Nic {
    return addNic(this.stack, link.a, { name, forwarding: true }, network);
  }
}

function collect(link: SimLink, into: Parsed[]): void {
  link.b.receive = (buffer, offset, length) => {
    into.push(parse(buffer.slice(offset, offset + length)));
  };
}

/** The ports, or the identifier of an echo twice. */
export function portsOf({ protocol, payload }: Parsed): [source: number, destination: number] {
  const at = (i: number) => payload[i]! << 8 | payload[i + 1]!;
  return protocol === 1 || protocol === 58 ? [at(4), at(4)] : [at(0), at(2)];
}

/** "address:port > address:port" */
export function ends(packet: Parsed): string {
  const [from, to] = portsOf(packet);
  return `${packet.source}:${from} > ${packet.destination}:${to}`;
}
