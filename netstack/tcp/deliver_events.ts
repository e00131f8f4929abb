/**
 * Tells applications what happened to their connections.
 *
 * @module
 */

import {
  ANNOUNCED,
  BROKEN,
  CLOSED,
  CONNECTED,
  type Connection,
  READABLE,
  WRITABLE,
} from "./connection.ts";

/** Makes the callbacks that are due, in the order in which things happened to a connection. */
export function deliverEvents(c: Connection): void {
  const { endpoint, events, listener, tcp } = c;
  c.events = 0;
  if ((events & ANNOUNCED) !== 0 && listener !== undefined) {
    c.leaveBacklog();
    listener.handler.accepted(endpoint);
  }
  if ((events & CONNECTED) !== 0) endpoint.handler?.connected?.();
  if ((events & READABLE) !== 0) endpoint.handler?.readable?.();
  if ((events & WRITABLE) !== 0) endpoint.handler?.writable?.();
  if ((events & BROKEN) !== 0 && c.readable > 0) endpoint.handler?.broken?.(c.error!);
  if ((events & CLOSED) !== 0) {
    tcp.remove(c);
    c.sender.ring.clear();
    endpoint.handler?.closed?.(c.error);
    if (c.receiver.ring.length > 0) c.truncated = true;
    c.receiver.clear();
    c.hold(0);
    c.isGone = true;
    tcp.budget.leave(c.account);
  }
}
