/**
 * The timers of a connection.
 *
 * @module
 */

import type { Connection } from "./connection.ts";
import type { TcpError } from "./endpoint.ts";
import { avoidBlackHole } from "./path_mtu.ts";
import { handleSenderTimers } from "./sender_timers.ts";

const SILENT: TcpError = { kind: "timeout", message: "the peer stopped answering" };
const NO_ANSWER: TcpError = { kind: "timeout", message: "the connection attempt timed out" };

/** A deadline of the connection has passed. Marks what to send. */
export function handleDeadline(c: Connection, now: number): void {
  if (c.finished) return;
  const sender = c.sender;
  if (c.state === "syn-sent" || c.state === "syn-received") {
    if (sender.timer > now) return;
    if (++c.synRetries > c.tcp.settings.synRetries) return c.fail(NO_ANSWER, false);
    sender.rto.backOff();
    sender.timer = now + sender.rto.current;
    c.synPending = true;
    c.tcp.markDirty(c);
    return;
  }
  if (c.ackTimer <= now) {
    c.ackTimer = Infinity;
    c.ackNow = true;
  }
  if (sender.nextDeadline() <= now) {
    const timeouts = sender.timeouts;
    if (!handleSenderTimers(sender, now)) return c.fail(SILENT, true);
    c.tcp.counters.timeouts += sender.timeouts - timeouts;
    if (sender.timeouts > timeouts) avoidBlackHole(c, now);
  }
  if (c.stateTimer <= now) return c.tcp.finish(c, undefined);
  if (c.keepAliveTimer <= now) handleKeepAlive(c, now);
  if (c.idleTimer <= now) handleIdle(c, now);
  c.tcp.markDirty(c);
}

/**
 * The way to the peer has changed: what went unanswered is sent again at once, and the timeout starts
 * over from its first value.
 */
export function tryAgain(c: Connection, now: number): void {
  const { sender } = c;
  sender.rto.resetBackoff();
  if (sender.timer < Infinity) sender.timer = now;
  // The old way was at fault, not the peer: its attempts are not held against it.
  sender.retries = Math.min(sender.retries, 1);
  c.synRetries = Math.min(c.synRetries, 1);
}

/** Frees the buffers of a connection without traffic. */
function handleIdle(c: Connection, now: number): void {
  c.idleTimer = Infinity;
  const { sender, receiver, tcp } = c;
  const quietUntil = c.lastReceived + tcp.settings.idleMs;
  if (quietUntil > now) c.idleTimer = quietUntil;
  else if (sender.ring.length > 0 || receiver.ring.length > 0 || receiver.ranges > 0) {
    c.idleTimer = now + tcp.settings.idleMs;
  } else c.trim();
}

/** RFC 9293 §3.8.4 */
function handleKeepAlive(c: Connection, now: number): void {
  const keepAlive = c.keepAlive;
  if (keepAlive === undefined) {
    c.keepAliveTimer = Infinity;
    return;
  }
  const due = c.lastReceived + keepAlive.idle;
  if (c.keepAliveProbes === 0 && due > now) {
    c.keepAliveTimer = due;
    return;
  }
  c.keepAliveTimer = now + keepAlive.interval;
  // Data in flight is its own probe; the retransmission timer decides.
  if (c.sender.inFlight > 0) return;
  if (c.keepAliveProbes >= keepAlive.count) return c.fail(SILENT, true);
  c.keepAliveProbes++;
  c.keepAliveProbePending = true;
  c.trim();
}
