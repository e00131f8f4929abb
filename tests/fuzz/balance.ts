import assert from "node:assert/strict";
import type { StackCounters } from "../../netstack/mod.ts";

/**
 * Every packet that came in is accounted for: handed up, forwarded, or dropped with a reason.
 *
 * @param udpTaken Datagrams that endpoints and forwarders accepted.
 */
export function assertBalanced(counters: StackCounters, udpTaken: number): void {
  const { ip, icmp, udp, tcp } = counters;
  const accounted = ip.malformed + ip.badChecksum + ip.badOptions + ip.sourceRouted +
    ip.badExtension + ip.badSource + ip.badDestination + ip.noRoute + ip.hopLimitExceeded +
    ip.tooBig + ip.unknownProtocol + ip.forwarded + ip.delivered;
  // A fragment becomes one of the above only when it completes its datagram.
  const lost = ip.received - accounted - (ip.fragmentsReceived - ip.reassembled);
  assert.ok(lost >= 0 && lost <= ip.noBuffer, `${lost} packets unaccounted for in ${show(ip)}`);
  assert.equal(ip.delivered, icmp.received + udp.received + tcp.segmentsIn, "delivered");

  const pings = icmp.received - icmp.malformed - icmp.badChecksum - icmp.unhandled -
    icmp.errorsReceived - icmp.echoIgnored - icmp.echoReplies - icmp.echoForwarded -
    icmp.echoProhibited - icmp.echoDropped - icmp.flowLimit;
  assert.ok(pings >= 0 && pings <= ip.noBuffer, `${pings} pings unaccounted for in ${show(icmp)}`);
  assert.ok(icmp.errorsIgnored <= icmp.errorsReceived);
  assert.equal(icmp.sent, icmp.echoReplies + icmp.echoReturned + icmp.errorsSent);

  assert.equal(
    udp.received,
    udpTaken + udp.malformed + udp.badChecksum + udp.portUnreachable + udp.prohibited +
      udp.dropped + udp.flowLimit,
    `datagrams unaccounted for: ${udpTaken} taken, ${show(udp)}`,
  );
}

function show(counters: object): string {
  return JSON.stringify(counters);
}
