/**
 * A forwarder's view of TCP: requests of clients that wait while their targets are dialled.
 *
 * @module
 */

import { IpAddress } from "../address.ts";
import type { Timed } from "../deadlines.ts";
import type { Nic } from "../nic.ts";
import type { Inbound } from "../transport.ts";
import type { Flow } from "./demux.ts";
import type { TcpEndpoint } from "./endpoint.ts";
import { Segment } from "./header.ts";
import type { TimeWait } from "./time_wait.ts";

/** Of a half-open client's packet kept for an ICMP error, bytes (RFC 1812 §4.3.2.3). */
const ORIGINAL_KEPT = 128;

/** How a forwarder turns a client away. */
export type TcpRejection =
  /** RST: as a closed port. */
  | "reset"
  /** ICMP host unreachable, and RST. */
  | "host"
  /** ICMP network unreachable, and RST. */
  | "net"
  /** ICMP administratively prohibited, and RST. */
  | "prohibited"
  /** Nothing at all. */
  | "drop";

/** Answers for every address behind a promiscuous NIC. */
export interface TcpForwarderHandler {
  /** A client asks for a connection. Called during flush; answer now or later, once. */
  request(request: TcpForwarderRequest): void;
}

/** A SYN that waits for its answer while the target is dialled. */
export interface TcpForwarderRequest {
  readonly client: IpAddress;
  readonly clientPort: number;
  readonly target: IpAddress;
  readonly targetPort: number;
  readonly ingress: Nic;
  /** Who sent the SYN, as `Stack.handlePacket` was told. */
  readonly from: unknown;
  /** Answers the SYN. @returns Undefined if the client has given up meanwhile. */
  accept(): TcpEndpoint | undefined;
  reject(how: TcpRejection): void;
  /** The client gave up, or started again: then a new request follows. No answer is expected. */
  onAborted?: (() => void) | undefined;
}

/** Who carries out the answers to a {@link HalfOpen}. */
export interface HalfOpenOwner {
  /** Answers the SYN. */
  accept(request: HalfOpen): TcpEndpoint | undefined;
  /** Refuses with RST, and with an ICMP error unless that is all. */
  refuse(request: HalfOpen, icmp: "host" | "net" | "prohibited" | undefined): void;
  /** It was answered or given up: it no longer counts. */
  removeHalfOpen(request: HalfOpen): void;
  /** The handler has to hear of it. */
  queueRequest(request: HalfOpen): void;
}

/** Half-open: only what the SYN said is kept. */
export class HalfOpen implements Flow, Timed, TcpForwarderRequest {
  readonly #owner: HalfOpenOwner;
  readonly local: IpAddress;
  readonly localPort: number;
  readonly remote: IpAddress;
  readonly remotePort: number;
  readonly hash: number;
  /** The NIC whose forwarder decides. */
  readonly nic: Nic;
  readonly ingress: Nic;
  readonly from: unknown;
  /** When the SYN arrived, ms. */
  readonly at: number;
  /** Options and numbers of the SYN, without payload. */
  readonly syn: Segment;
  /** IP header and the beginning of the TCP header, for ICMP errors. */
  readonly original: Uint8Array;
  /** The connection in TIME-WAIT that gave way to this one. */
  readonly before: TimeWait | undefined;
  onAborted?: (() => void) | undefined;
  /** Answered, or given up by the client. */
  settled = false;
  /** By the client's doing. */
  aborted = false;
  /** The handler has been told. */
  told = false;
  /** Its place among the half-open connections of this source. */
  readonly limitedAs: number;
  /** When it is given up, ms. */
  deadline = Infinity;
  heapIndex = -1;

  constructor(
    owner: HalfOpenOwner,
    inbound: Inbound,
    localPort: number,
    remotePort: number,
    hash: number,
    syn: Segment,
    before: TimeWait | undefined,
    limitedAs: number,
    now: number,
  ) {
    const { buffer, source, destination, version, ipOffset, transport, length } = inbound;
    this.#owner = owner;
    this.local = IpAddress.from(buffer, destination, version);
    this.localPort = localPort;
    this.remote = IpAddress.from(buffer, source, version);
    this.remotePort = remotePort;
    this.hash = hash;
    this.nic = inbound.nic;
    this.ingress = inbound.ingress;
    this.from = inbound.from;
    this.at = now;
    this.syn = copySyn(syn);
    this.original = buffer.slice(ipOffset, Math.min(transport + length, ipOffset + ORIGINAL_KEPT));
    this.before = before;
    this.limitedAs = limitedAs;
  }

  get client(): IpAddress {
    return this.remote;
  }

  get clientPort(): number {
    return this.remotePort;
  }

  get target(): IpAddress {
    return this.local;
  }

  get targetPort(): number {
    return this.localPort;
  }

  accept(): TcpEndpoint | undefined {
    return this.settled ? undefined : this.#owner.accept(this);
  }

  reject(how: TcpRejection): void {
    if (this.settled) return;
    this.#owner.removeHalfOpen(this);
    if (how !== "drop") this.#owner.refuse(this, how === "reset" ? undefined : how);
  }

  /** The client has given up; the handler learns it in the next dispatch. */
  abort(): void {
    if (this.settled) return;
    this.aborted = true;
    this.#owner.removeHalfOpen(this);
    this.#owner.queueRequest(this);
  }

  /** Tells the handler what is new. */
  dispatch(handler: TcpForwarderHandler | undefined): void {
    if (this.aborted) {
      if (this.told) this.onAborted?.();
    } else if (!this.settled) {
      this.told = true;
      if (handler === undefined) this.reject("reset");
      else handler.request(this);
    }
  }
}

const NO_BLOCKS = new Int32Array(0);

/** Without the payload: data of a SYN is not taken, so the answer does not acknowledge it. */
function copySyn(syn: Segment): Segment {
  const copy = new Segment(NO_BLOCKS);
  copy.sequence = syn.sequence;
  copy.flags = syn.flags;
  copy.window = syn.window;
  copy.hasTimestamps = syn.hasTimestamps;
  copy.tsValue = syn.tsValue;
  copy.mss = syn.mss;
  copy.windowScale = syn.windowScale;
  copy.sackPermitted = syn.sackPermitted;
  return copy;
}
