/**
 * The established path of TCP: a segment in, a segment out, an ACK; with 1 and with 1,000
 * connections in turn. IP is the thinnest possible. The checksum has cases of its own: subtract it.
 */

import { writeUint32 } from "../netstack/bytes.ts";
import { finish, sum } from "../netstack/checksum.ts";
import { Peers } from "../tests/netstack/tcp/established.ts";

const packet = new Uint8Array(1_420);
writeUint32(packet, 0, 0x4500058c);
Deno.bench("checksums of a segment: 20 + 20 + 1,400 bytes", { group: "checksum" }, () => {
  finish(sum(packet, 0, 20, 0));
  finish(sum(packet, 20, 1_400, 0));
});
Deno.bench("checksums of an ACK: 20 + 20 bytes", { group: "checksum" }, () => {
  finish(sum(packet, 0, 20, 0));
  finish(sum(packet, 20, 20, 0));
});

for (const count of [1, 1_000]) {
  const peers = new Peers(count);
  const of = count === 1 ? "1 connection" : `${count} connections`;
  const group = of;
  Deno.bench(`a segment in, read; every second one acknowledged (${of})`, { group }, () => {
    peers.segmentIn();
  });
  Deno.bench(`a segment written and out, its ACK in (${of})`, { group }, () => {
    peers.segmentOut();
  });
  Deno.bench(`an ACK in that says nothing new (${of})`, { group }, () => {
    peers.ack();
  });
}
