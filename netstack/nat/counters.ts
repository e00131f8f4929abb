/**
 * What a NAT counts.
 *
 * @module
 */

/** Packets by direction, and why some were dropped; mappings by how they came and went. */
export class NatCounters {
  /** Translated on the way out, on the way back; a hairpinned packet counts as both. */
  outbound = 0;
  inbound = 0;
  /** Sent by a host behind the NAT to another one there, by the external address. */
  hairpinned = 0;

  /** Mappings made. */
  mappings = 0;
  /** Mappings that made room for others. */
  evicted = 0;
  /** Sessions, remote ends of a mapping, that made room for others. */
  sessionsEvicted = 0;

  /** Inbound to a port, or with an identifier, that no mapping has. */
  unmapped = 0;
  /** Inbound to a mapping, from somebody who may not. */
  filtered = 0;
  /** Sent to an address behind the NAT directly. */
  direct = 0;
  /** Outbound, of a kind that begins nothing: replies, and resets of connections not known. */
  unasked = 0;
  /** ICMP errors about what is not known, either way. */
  unknownError = 0;
  /** ICMP errors whose checksum, or that of the header they quote, is wrong. */
  badError = 0;
  /** Protocols, and types of ICMP, that have neither ports nor identifiers. */
  otherProtocol = 0;
  malformed = 0;
  /** Fragments that waited in vain for the first of their packet, or had no room to. */
  fragments = 0;
  /** Inbound SYNs nobody asked for, that were reported after their six seconds. */
  synsReported = 0;
}

/** Adds what another NAT has counted. */
export function addNatCounters(sum: NatCounters, more: Readonly<NatCounters>): void {
  for (const name of Object.keys(sum) as (keyof NatCounters)[]) sum[name] += more[name];
}
