/**
 * The outer transport of WireGuard's datagrams. UDP is one; another, such as a stream in TLS, is a
 * class with this interface, whose endpoints name it as their bind. An engine has any number of binds,
 * and does not know what they are.
 *
 * @module
 */

import type { Endpoint, Sender } from "../../wireguard/mod.ts";

/** Where a bind sends datagrams to. {@link Sender} makes one for a sender that has authenticated. */
export interface BindEndpoint extends Endpoint {
  /** What sends to it. */
  readonly bind: Bind;
}

/**
 * Takes the datagrams of a drain. The bytes and the sender are valid until the call returns: the
 * sender is one object, refilled for each datagram, whose endpoints are of this bind.
 */
export type DatagramHandler = (
  buffer: Uint8Array,
  offset: number,
  length: number,
  from: Sender,
) => void;

/** What a bind tells the engine. Never called from within one of the engine's calls to the bind. */
export interface BindEvents {
  /**
   * Datagrams wait for {@link Bind.drain}. Once until then.
   *
   * @param isAlone Nothing of the program's is on the stack: the turn may be had at once.
   */
  onReadable(isAlone?: boolean): void;
  /** A send has settled outside of {@link Bind.flush}, or the bind is not busy any more. */
  onSent(): void;
  /** Nothing will be received by this bind again. */
  onFailed(error: Error): void;
}

/**
 * Receives and sends in the engine's turns. Its address, transmit slots and receive memory are
 * given to its constructor.
 */
export interface Bind {
  /** For people: logs and statistics. One word, as `udp`. */
  readonly name: string;
  /** Totals since the start. */
  readonly counters: object;
  /** Whether datagrams wait for {@link drain}. */
  readonly hasReady: boolean;
  /** Whether {@link drain} has stopped before datagrams that it has received already. Default: never. */
  readonly holdsMore?: boolean;
  /**
   * Whether what can wait should not be sent now, since it would be lost: for a short time, after which
   * {@link BindEvents.onSent} is called. Default: never.
   */
  readonly isBusy?: boolean;

  /** Begins to receive. Called once, before anything else. */
  start(events: BindEvents): void;

  /** Hands over what has arrived, at most one batch, and asks for more. @returns how many. */
  drain(handle: DatagramHandler): number;

  /**
   * Sends a datagram, now or with the next {@link flush}. What cannot be sent is lost and counted, as
   * UDP is.
   *
   * @param to One of this bind's.
   * @param isSlot Whether it lies in a transmit slot, which is the sender's to give away. It leaves
   * as it is; any other buffer is copied.
   * @returns whether the slot was taken: the bind gives it back when the send has settled. If not, it
   * is still the sender's.
   */
  send(
    to: BindEndpoint,
    buffer: Uint8Array,
    offset: number,
    length: number,
    isSlot: boolean,
  ): boolean;

  /** Sends what was collected: at the end of a turn, or when no slot is free. */
  flush(): void;

  /** Resolves when every send has settled, or after `limitMs`. */
  sent(limitMs: number): Promise<void>;

  /** Resolves when nothing of it is left. {@link start} need not have been called. */
  close(): Promise<void>;
}

/** The system refuses a bind's port, address or mark. */
export class BindError extends Error {
  override readonly name = "BindError";
  readonly setting: "port" | "address" | "mark";

  /** @param message `what is wrong, what was expected`, without the name of the setting. */
  constructor(setting: BindError["setting"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.setting = setting;
  }
}
