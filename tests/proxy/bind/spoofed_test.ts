/** A flood from addresses that nobody has, as both kinds of socket tell them, beside an active peer. */

import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/mod.ts";
import type { Bind } from "../../../proxy/bind/bind.ts";
import { NetSender } from "../../../proxy/bind/net_address.ts";
import { SocketAddress, SocketSender } from "../../../proxy/bind/socket_address.ts";
import { writeMAC } from "../../../wireguard/hash.ts";
import type { Endpoint, Sender } from "../../../wireguard/mod.ts";
import { Pair } from "../../wireguard/pair.ts";
import { mac1KeyOf } from "../../wireguard/mac1.ts";

/** Spoofed datagrams; a million by hand. */
const FLOOD = 30_000;

/** Counts what is made of senders, and moves to the nth of many addresses. */
interface Crowd {
  readonly sender: Sender;
  readonly made: { endpoints: number; copies: number };
  moveTo(n: number): void;
}

const BIND = { name: "udp" } as unknown as Bind;

const crowds: Record<string, () => Crowd> = {
  "the kernel": () => {
    const words = new Int32Array(12);
    const bytes = new Uint8Array(words.buffer);
    bytes.set([10, 0, 0xca, 0x6c]);
    bytes.fill(0xff, 18, 20);
    bytes[47] = 1;
    const sender = new SocketSender(BIND, words, 0);
    return { ...counting(sender), sender, moveTo: (n) => words[5] = n };
  },
  Deno: () => {
    const sender = new NetSender(BIND, { transport: "udp", hostname: "", port: 51820 });
    const moveTo = (n: number) => {
      const hostname = `::ffff:${n >> 24 & 255}.${n >> 16 & 255}.${n >> 8 & 255}.${n & 255}`;
      sender.from = { transport: "udp", hostname, port: 51820 };
    };
    return { ...counting(sender), sender, moveTo };
  },
};

function counting(sender: Sender): Pick<Crowd, "made"> {
  const made = { endpoints: 0, copies: 0 };
  const { toEndpoint, copy } = sender;
  Object.assign(sender, {
    toEndpoint(): Endpoint {
      made.endpoints++;
      return toEndpoint.call(sender);
    },
    copy(): Sender {
      made.copies++;
      return Object.assign(copy.call(sender), { toEndpoint: sender.toEndpoint });
    },
  });
  return { made };
}

for (const [kind, crowd] of Object.entries(crowds)) {
  Deno.test(`as ${kind} tells them, nothing is made of senders that do not authenticate, and an active peer stays`, () => {
    const pair = new Pair().connect();
    const { sender, made, moveTo } = crowd();
    const { device } = pair.b;
    const hear = (bytes: Uint8Array) => {
      device.handleDatagram(bytes, 0, bytes.length, sender, pair.now);
    };
    const hearPeer = () => {
      pair.aToB();
      moveTo(0x0a000001);
      for (const { bytes } of pair.a.outbox.splice(0)) hear(bytes.slice());
    };
    hearPeer();
    const at = pair.ba.endpoint;
    assert.deepEqual(made, { endpoints: 1, copies: 0 });
    const { length } = pair.b.events;

    const index = pair.ba.keypairs.current!.localIndex;
    const data = (to: number) => {
      const bytes = new Uint8Array(96);
      new DataView(bytes.buffer).setUint32(0, 4, true);
      new DataView(bytes.buffer).setInt32(4, to, true);
      new DataView(bytes.buffer).setUint32(8, 1_000_000, true);
      return bytes;
    };
    const initiation = new Uint8Array(148);
    initiation.fill(1).set([1, 0, 0, 0]);
    const samples = [data(index), data(index ^ 1), initiation, new Uint8Array(20)];
    for (let i = 0; i < FLOOD; i++) {
      moveTo(0x0b000000 + i);
      hear(samples[i % samples.length]!);
      if (i % 1000 === 0) hearPeer();
    }
    assert.deepEqual(made, { endpoints: 1, copies: 0 });
    assert.equal(pair.b.events.length, length, "no word of anybody having moved");
    assert.equal(pair.ba.endpoint, at);
    const { counters } = device;
    assert.deepEqual([counters.droppedBadTag, counters.droppedBadMac], [FLOOD / 4, FLOOD / 4]);

    // Who knows our public key is copied while it waits, and no more of it is kept.
    writeMAC(mac1KeyOf(device.publicKey), initiation, 0, 116, initiation, 116);
    for (let i = 0; i < 10_000; i++) {
      moveTo(0x0c000000 + i);
      hear(initiation);
    }
    assert.ok(made.copies > 100 && made.copies <= 4096, `${made.copies} copies`);
    while (device.handleHandshakes(pair.now, 1000));
    const told = pair.b.events.slice(length).map(({ type }) => type);
    assert.ok(told.every((type) => type === "handshake-rejected"));
    assert.equal(made.endpoints, 1 + told.length + counters.cookieRepliesSent);
    hearPeer();
    assert.equal(pair.ba.endpoint, at);
  });
}

Deno.test("a peer that is heard where it was configured to be has not moved, and is answered from where it was heard", () => {
  const pair = new Pair().connect();
  const { sender, moveTo } = crowds["the kernel"]!();
  moveTo(0x0100000a);
  const configured = SocketAddress.of(BIND, IpAddress.v4(10, 0, 0, 1), 51820, 0, true);
  assert.equal(configured.source, undefined);
  pair.ba.setEndpoint(configured);
  pair.b.events.length = 0;
  const hear = () => {
    pair.aToB();
    for (const { bytes } of pair.a.outbox.splice(0)) {
      pair.b.device.handleDatagram(bytes.slice(), 0, bytes.length, sender, pair.now);
    }
  };
  hear();
  assert.deepEqual(pair.b.eventTypes(), []);
  assert.notEqual((pair.ba.endpoint as SocketAddress).source, undefined);
  moveTo(0x0200000a);
  hear();
  assert.deepEqual(pair.b.eventTypes(), ["endpoint-changed"]);
  assert.equal(`${pair.ba.endpoint}`, "10.0.0.2:51820");
});
