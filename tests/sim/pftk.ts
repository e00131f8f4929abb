/**
 * The model of Padhye, Firoiu, Towsley, Kurose: Modeling TCP Throughput: A Simple Model and its
 * Empirical Validation (SIGCOMM 1998): what a Reno sender sends. The full model, with the receiver's
 * window (section 2.3), not the approximation.
 *
 * @module
 */

export interface PftkInput {
  /** p: probability of a loss indication for a packet, above 0. */
  loss: number;
  /** Seconds. */
  roundTrip: number;
  /** T0: the first timeout of a series, seconds. */
  timeout: number;
  /** b: packets acknowledged by one ACK. */
  perAck: number;
  /** W_max: the receiver's window, packets. */
  window: number;
}

/** @returns Packets per second. */
export function pftk(input: PftkInput): number {
  const { loss: p, roundTrip, timeout, perAck: b, window } = input;
  const q = 1 - p;
  // E[W]: the window at the end of a period between losses.
  const c = (2 + b) / (3 * b);
  const unlimited = c + Math.sqrt(8 * q / (3 * b * p) + c * c);
  // f(p): how a series of timeouts lengthens.
  const f = 1 + p * (1 + p * (2 + p * (4 + p * (8 + p * (16 + p * 32)))));
  const limited = unlimited >= window;
  const w = limited ? window : unlimited;
  const toTimeout = timeoutProbability(p, w);
  const packets = q / p + w + toTimeout / q;
  const rounds = limited ? b / 8 * w + q / (p * w) + 2 : b / 2 * w + 1;
  return packets / (roundTrip * rounds + toTimeout * timeout * f / q);
}

/** Q(w): that a loss in a window of `w` packets ends in a timeout. */
function timeoutProbability(p: number, w: number): number {
  const q = 1 - p;
  const three = q ** 3;
  return Math.min(1, (1 - three) * (1 + three * (1 - q ** (w - 3))) / (1 - q ** w));
}
