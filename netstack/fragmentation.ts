/**
 * Cuts packets that are larger than the MTU of their link (RFC 791 §3.2, RFC 8200 §4.5).
 *
 * @module
 */

import { copyBytes, readUint16, writeUint16, writeUint32 } from "./bytes.ts";
import type { IpCounters } from "./counters.ts";
import type { Identification } from "./identification.ts";
import {
  copyHeaderForFragment,
  FRAGMENT_OFFSET_MASK,
  IPV4_FRAGMENT,
  IPV4_TOTAL_LENGTH,
  ipv4HeaderLength,
  MORE_FRAGMENTS,
  writeIpv4Checksum,
} from "./ipv4.ts";
import {
  FRAGMENT_HEADER_LENGTH,
  FRAGMENT_IDENTIFICATION,
  FRAGMENT_OFFSET,
  IPV6_FRAGMENT,
  IPV6_HEADER_LENGTH,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
} from "./ipv6.ts";
import type { Nic } from "./nic.ts";

/**
 * Sends the first packet of `nic`'s queue in fragments, going on where the last call had to stop.
 *
 * @returns Whether all of it is sent; otherwise the link had no slot.
 */
export function sendFragments(
  nic: Nic,
  identification: Identification,
  counters: IpCounters,
  now: number,
): boolean {
  return nic.queue.buffer[nic.queue.offset]! >> 4 === 4
    ? sendIpv4Fragments(nic, counters, now)
    : sendIpv6Fragments(nic, identification, counters, now);
}

/** RFC 791 §3.2. The packet may have options and may itself be a fragment. */
function sendIpv4Fragments(nic: Nic, counters: IpCounters, now: number): boolean {
  const { queue, link, mtu } = nic;
  const { buffer, offset } = queue;
  const headerLength = ipv4HeaderLength(buffer, offset);
  const dataLength = queue.length - headerLength;
  const field = readUint16(buffer, offset + IPV4_FRAGMENT);
  const flags = field & ~FRAGMENT_OFFSET_MASK;
  const first = field & FRAGMENT_OFFSET_MASK;
  const most = (mtu - headerLength) & ~7;
  while (queue.progress < dataLength) {
    const slot = link.allocate();
    if (slot < 0) return false;
    const { progress } = queue;
    const into = link.buffer;
    let length = headerLength;
    if (progress === 0) copyBytes(buffer, offset, into, slot, headerLength);
    else length = copyHeaderForFragment(buffer, offset, headerLength, into, slot);
    const left = dataLength - progress;
    const size = Math.min(left, most);
    const more = size < left ? MORE_FRAGMENTS : 0;
    writeUint16(into, slot + IPV4_TOTAL_LENGTH, length + size);
    writeUint16(into, slot + IPV4_FRAGMENT, flags | more | first + (progress >> 3));
    writeIpv4Checksum(into, slot, length);
    copyBytes(buffer, offset + headerLength + progress, into, slot + length, size);
    queue.progress = progress + size;
    counters.fragmentsSent++;
    counters.sent++;
    link.transmit(into, slot, length + size, now, queue.hop);
  }
  return true;
}

/** RFC 8200 §4.5. Our own packets only, which have no extension headers. */
function sendIpv6Fragments(
  nic: Nic,
  identification: Identification,
  counters: IpCounters,
  now: number,
): boolean {
  const { queue, link, mtu } = nic;
  const { buffer, offset } = queue;
  const dataLength = queue.length - IPV6_HEADER_LENGTH;
  const headersLength = IPV6_HEADER_LENGTH + FRAGMENT_HEADER_LENGTH;
  const most = (mtu - headersLength) & ~7;
  if (queue.identification < 0) queue.identification = identification.ipv6();
  while (queue.progress < dataLength) {
    const slot = link.allocate();
    if (slot < 0) return false;
    const { progress } = queue;
    const into = link.buffer;
    const left = dataLength - progress;
    const size = Math.min(left, most);
    copyBytes(buffer, offset, into, slot, IPV6_HEADER_LENGTH);
    writeUint16(into, slot + IPV6_PAYLOAD_LENGTH, FRAGMENT_HEADER_LENGTH + size);
    into[slot + IPV6_NEXT_HEADER] = IPV6_FRAGMENT;
    const header = slot + IPV6_HEADER_LENGTH;
    into[header] = buffer[offset + IPV6_NEXT_HEADER]!;
    into[header + 1] = 0;
    writeUint16(into, header + FRAGMENT_OFFSET, progress | (size < left ? 1 : 0));
    writeUint32(into, header + FRAGMENT_IDENTIFICATION, queue.identification);
    copyBytes(buffer, offset + IPV6_HEADER_LENGTH + progress, into, slot + headersLength, size);
    queue.progress = progress + size;
    counters.fragmentsSent++;
    counters.sent++;
    link.transmit(into, slot, headersLength + size, now, queue.hop);
  }
  return true;
}
