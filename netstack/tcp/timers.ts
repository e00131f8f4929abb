import type { Connection } from "./connection.ts";
import type { TcpError } from "./endpoint.ts";

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
    if (!sender.handleTimeout(now)) return c.fail(SILENT, true);
    c.tcp.counters.timeouts += sender.timeouts - timeouts;
  }
  if (c.stateTimer <= now) return c.tcp.finish(c, undefined);
  if (c.keepAliveTimer <= now) handleKeepAlive(c, now);
  c.tcp.markDirty(c);
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
