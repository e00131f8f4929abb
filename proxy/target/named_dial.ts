/**
 * A connection to a target that is named: by its name, which is resolved first, or by its address.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { ByteStream, Dial, Dialer, DialError } from "../flow/stream.ts";
import type { After, Names } from "./names.ts";
import { Race } from "./race.ts";

/** What every dial of a gateway shares. */
export interface DialTools {
  readonly dialer: Dialer;
  readonly names: Names;
  readonly after: After;
}

export interface NamedDialOptions {
  readonly to: IpAddress | string;
  readonly port: number;
  /** Whether an address that a name leads to may be dialled. */
  isAllowed(address: IpAddress): boolean;
  /** This or {@link failed} is called, once and never from within {@link dialNamed}. */
  connected(stream: ByteStream, address: IpAddress): void;
  failed(why: DialError): void;
}

/** @throws whatever the runtime throws when it has no permission to. */
export function dialNamed({ dialer, names, after }: DialTools, options: NamedDialOptions): Dial {
  const { to, port, isAllowed, connected, failed } = options;
  if (typeof to !== "string") {
    return dialer.dial(to, port, {
      connected: (stream) => connected(stream, to),
      dialFailed: failed,
    });
  }
  let isStarting = true;
  let isOver = false;
  let isRefused = false;
  const race = new Race({
    dialer,
    port,
    after,
    connected,
    failed(why) {
      // Where no address was tried, because none may be: it is not that the host is silent.
      const end = () => isOver || failed(isRefused && !race.hasTried ? "prohibited" : why);
      if (isStarting) queueMicrotask(end);
      else end();
    },
  });
  const lookup = names.resolve(to, {
    found(addresses, isLast) {
      const allowed = addresses.filter(isAllowed);
      if (allowed.length < addresses.length) isRefused = true;
      race.add(allowed, isLast);
    },
  });
  isStarting = false;
  return {
    abort() {
      isOver = true;
      lookup.cancel();
      race.abort();
    },
  };
}
