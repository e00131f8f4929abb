/**
 * What carries WireGuard's datagrams where UDP does not get through: a connection in TLS, or a stream of
 * gRPC. A carrier moves chunks of bytes and knows nothing of what is in them; frames, queues,
 * heartbeats and reconnecting are {@link StreamBind}'s, the same for all.
 *
 * @module
 */

/** The other end of a carrier. */
export interface CarrierRemote {
  /** The IP address that it is connected to or from: 4 or 16 bytes, never IPv4-mapped. */
  readonly address: Uint8Array;
  readonly port: number;
  /** Who it has proved to be, for people: the name in its certificate. */
  readonly description: string;
  /** The same for the program: those who are the same share what there may be of carriers. */
  readonly holder: string;
  /** The public key of the one peer who may speak there, 32 bytes. Missing: whoever it is. */
  readonly only?: Uint8Array;
  /** How many carriers the holder may have at once. Missing: as there is room. */
  readonly most?: number;
}

/** What a carrier tells. Never called from within a call to it. */
export interface CarrierEvents {
  /**
   * Bytes have come, which are the receiver's from now on.
   *
   * @param isAlone Whether all of the memory that they lie in is.
   */
  chunk(bytes: Uint8Array, isAlone?: boolean): void;
  /** There is room again, after {@link Carrier.write} has said that there is none. */
  writable(): void;
  /** It is gone: nothing else is told after this. Not called after {@link Carrier.close}. */
  closed(error?: Error): void;
}

/** A connection whose both ends have proved who they are. */
export interface Carrier {
  readonly remote: CarrierRemote;
  /** Bytes that were written and, as far as it can tell, have not left this process. */
  readonly buffered: number;
  /** About what it takes by itself, with what cannot be seen of it, bytes. */
  readonly rest: number;
  /** The most that may come while it is not read, bytes. */
  readonly unread: number;

  /** Called once, before anything else. What has come before is told after it. */
  start(events: CarrierEvents): void;

  /**
   * Takes a chunk, in any case. What it was given for the chunk before is sent before.
   *
   * @param bytes Its own until `done` is called, which also happens when it closes.
   * @param room Bytes before them in the same memory that are its own too.
   * @returns whether it has room for another. If not, `writable` is told when it has: it should have
   * none for more than some 64 KiB, or what is queued behind grows old.
   */
  write(bytes: Uint8Array, done: () => void, room?: number): boolean;

  /** Whether it reads on. One that does not leaves what comes to the system, and so to the sender. */
  setReading(isReading: boolean): void;

  /**
   * Ends it: what was not sent is lost, but for a farewell, where there is time and room for it.
   *
   * @param last A frame to be sent before.
   */
  close(last?: Uint8Array): void;
}

/** Opens carriers to one place. */
export interface CarrierDialer {
  /** As configured: `tls://hub.example.com:443`. */
  readonly url: string;
  readonly port: number;

  /**
   * @param signal Ends the attempt, which has a limit of time of its own too.
   * @throws {Error} with one clear line of what is wrong, without the url.
   */
  dial(signal: AbortSignal): Promise<Carrier>;
}

/** Accepts carriers at one place. Listens when it is made, accepts once started. */
export interface CarrierListener {
  /** As configured: `tls:0.0.0.0:443`. */
  readonly description: string;
  /** TCP. */
  readonly port: number;

  /** @param accepted Is given each carrier whose other end is allowed. */
  start(accepted: (carrier: Carrier) => void): void;

  /** Accepts nothing more. Carriers that were handed over stay. */
  close(): Promise<void>;
}
