/** What a datagram of an unseen sender costs, as each kind of socket tells it. */

import type { Bind } from "../proxy/bind/bind.ts";
import { nodeCrypto } from "../proxy/arena/crypto.ts";
import { NetSender } from "../proxy/bind/net_address.ts";
import { SocketSender } from "../proxy/bind/socket_address.ts";
import { Device, generatePrivateKey, type Sender } from "../wireguard/mod.ts";
import { HASH, KDF1, writeMAC } from "../wireguard/hash.ts";

const BIND = { name: "udp" } as unknown as Bind;
const random = (out: Uint8Array) => void crypto.getRandomValues(out as Uint8Array<ArrayBuffer>);

const words = new Int32Array(12);
new Uint8Array(words.buffer).set([10, 0, 0xca, 0x6c]);
new Uint8Array(words.buffer).fill(0xff, 18, 20);
const byKernel = new SocketSender(BIND, words, 0);
const byDeno = new NetSender(BIND, { transport: "udp", hostname: "::", port: 51820 });
// The runtime makes the text of an address in any case.
const texts = Array.from(
  { length: 1 << 16 },
  (_, n) => ({ transport: "udp" as const, hostname: `::ffff:10.0.${n >> 8}.${n & 255}`, port: 7 }),
);

const senders: [string, Sender, (n: number) => void][] = [
  ["the kernel", byKernel, (n) => words[5] = n],
  ["Deno", byDeno, (n) => byDeno.from = texts[n & 0xffff]!],
];

const key = new Uint8Array(32);
Deno.bench("a KDF, to compare", { group: "unseen senders" }, () => void KDF1(key, key));

for (const [kind, sender, moveTo] of senders) {
  const device = new Device({
    privateKey: generatePrivateKey(random),
    crypto: nodeCrypto,
    random,
    wallClock: Date.now,
    sink: { transmit: () => false, receive() {}, event() {} },
    now: 0,
  });
  const mac1Key = HASH(new TextEncoder().encode("mac1----"), device.publicKey);
  const datagrams: [string, Uint8Array][] = [
    ["data of no session", Uint8Array.of(4, ...new Uint8Array(95))],
    ["an initiation with a wrong mac1", Uint8Array.of(1, ...new Uint8Array(147))],
    [
      "an initiation with a right mac1, till the queue is full",
      Uint8Array.of(1, ...new Uint8Array(147)),
    ],
  ];
  writeMAC(mac1Key, datagrams[2]![1], 0, 116, datagrams[2]![1], 116);
  for (const [name, bytes] of datagrams) {
    let n = 0;
    Deno.bench(`${name}, of a sender that ${kind} tells`, { group: "unseen senders" }, () => {
      moveTo(n++);
      device.handleDatagram(bytes, 0, bytes.length, sender, 0);
    });
  }
}
