import type { IpAddress } from "../address.ts";
import type { Nic } from "../nic.ts";
import type { Flow } from "./demux.ts";
import type { TcpEndpoint } from "./endpoint.ts";
import { Segment } from "./header.ts";
import type { Tcp } from "./tcp.ts";

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
  /** Answers the SYN. @returns Undefined if the client has given up meanwhile. */
  accept(): TcpEndpoint | undefined;
  reject(how: TcpRejection): void;
  /** The client gave up, or began anew: then a new request follows. No answer is expected. */
  onAborted?: (() => void) | undefined;
}

/** Half-open: only what the SYN said is kept. */
export class HalfOpen implements Flow, TcpForwarderRequest {
  readonly #tcp: Tcp;
  readonly local: IpAddress;
  readonly localPort: number;
  readonly remote: IpAddress;
  readonly remotePort: number;
  readonly hash: number;
  /** The NIC whose forwarder is asked. */
  readonly nic: Nic;
  readonly ingress: Nic;
  /** When the SYN arrived, ms. */
  readonly at: number;
  /** Options and numbers of the SYN, without payload. */
  readonly syn: Segment;
  /** IP header and the beginning of the TCP header, for ICMP errors. */
  readonly original: Uint8Array;
  /** A SYN in answer to a connection in TIME-WAIT starts above this (RFC 1122 §4.2.2.13). */
  readonly isnAbove: number | undefined;
  onAborted?: (() => void) | undefined;
  /** Answered, or given up by the client. */
  settled = false;
  /** By the client's doing. */
  aborted = false;
  /** The handler has been told. */
  told = false;

  constructor(
    tcp: Tcp,
    local: IpAddress,
    localPort: number,
    remote: IpAddress,
    remotePort: number,
    hash: number,
    nic: Nic,
    ingress: Nic,
    syn: Segment,
    original: Uint8Array,
    isnAbove: number | undefined,
    at: number,
  ) {
    this.#tcp = tcp;
    this.local = local;
    this.localPort = localPort;
    this.remote = remote;
    this.remotePort = remotePort;
    this.hash = hash;
    this.nic = nic;
    this.ingress = ingress;
    this.at = at;
    this.syn = copySyn(syn);
    this.original = original;
    this.isnAbove = isnAbove;
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
    if (this.settled) return undefined;
    return this.#tcp.acceptHalfOpen(this);
  }

  reject(how: TcpRejection): void {
    if (this.settled) return;
    const tcp = this.#tcp;
    tcp.removeHalfOpen(this);
    if (how === "drop") return;
    if (how !== "reset") tcp.replies.unreachable(how, this.ingress, this.original);
    tcp.replies.refuse(
      this.ingress,
      this.local,
      this.localPort,
      this.remote,
      this.remotePort,
      this.syn.sequence,
    );
  }

  /** The client has given up; the handler learns it in the next dispatch. */
  abort(): void {
    if (this.settled) return;
    this.aborted = true;
    this.#tcp.removeHalfOpen(this);
    this.#tcp.queueRequest(this);
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

function copySyn(syn: Segment): Segment {
  const copy = new Segment();
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
