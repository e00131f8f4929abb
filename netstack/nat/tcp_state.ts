/**
 * What a NAT knows of a TCP connection.
 *
 * @module
 */

// TCP's flags (RFC 9293 §3.1).
const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const ACK = 0x10;

/** Seen from behind the NAT, and from beyond it: any segment, and a FIN. */
const SEEN_OUT = 1;
const SEEN_IN = 2;
const FIN_OUT = 4;
const FIN_IN = 8;
const WAS_RESET = 16;

/**
 * The state after one more segment. A SYN where both sides have ended, or one has reset, begins a
 * connection anew; a RST that the receiver did not believe is forgotten with the next segment (RFC 7857
 * §2.2, as RFC 6146 §3.5.2.2 has it).
 *
 * @param state 0 for the first segment.
 */
export function afterSegment(state: number, isOut: boolean, flags: number): number {
  if ((flags & (SYN | RST)) === SYN && isEnding(state)) state = 0;
  state &= ~WAS_RESET;
  state |= isOut ? SEEN_OUT : SEEN_IN;
  if ((flags & FIN) !== 0) state |= isOut ? FIN_OUT : FIN_IN;
  if ((flags & RST) !== 0) state |= WAS_RESET;
  return state;
}

/** Whether both have spoken and none has ended: what is half closed may stay so for long. */
export function isEstablished(state: number): boolean {
  const both = SEEN_OUT | SEEN_IN;
  return (state & both) === both && !isEnding(state);
}

/** Whether it is a SYN alone: the first segment of a connection. */
export function opens(flags: number): boolean {
  return (flags & (SYN | ACK | RST)) === SYN;
}

function isEnding(state: number): boolean {
  const both = FIN_OUT | FIN_IN;
  return (state & both) === both || (state & WAS_RESET) !== 0;
}
