/**
 * Sockets that answer in the name of others: as many as there are to be, for as long as they are needed.
 *
 * @module
 */

import assert from "node:assert/strict";
import { openUdpLibc } from "../../../../ffi/mod.ts";
import { IpAddress } from "../../../../netstack/mod.ts";
import { newInboundCounters } from "../../../../proxy/inbound/counters.ts";
import {
  MAX_REPLY_SOCKETS,
  REPLY_IDLE_MS,
  ReplySockets,
} from "../../../../proxy/inbound/redirect/reply_sockets.ts";
import { TargetAddress } from "../../../../proxy/target/address.ts";
import { TargetSends } from "../../../../proxy/target/udp_sends.ts";
import { aloneLabTest, Lab } from "../../../e2e/lab.ts";
import { within } from "../../../e2e/network_namespace.ts";

const THEM = IpAddress.v4(192, 0, 2, 9);

async function site() {
  const lab = await Lab.create();
  const host = await lab.host("host");
  const libc = openUdpLibc();
  const counters = newInboundCounters();
  const sends = new TargetSends(libc);
  const sockets = new ReplySockets({
    ...{ libc, sends, mark: 0x1234, targetCounters: counters.udp, counters: counters.capture },
  });
  return {
    ...{ lab, host, libc, counters, sends, sockets },
    of: (port: number, now = 0) => within(host, () => sockets.of(THEM, port, now)),
    async [Symbol.asyncDispose]() {
      sockets.close();
      libc.close();
      await lab[Symbol.asyncDispose]();
    },
  };
}

aloneLabTest("one socket answers for an address and port, until it has been idle", async () => {
  await using site_ = await site();
  const { of, sockets, sends, host } = site_;
  const first = of(53);
  assert.equal(of(53, 5), first);
  assert.notEqual(of(54), first);
  const asking = within(
    host,
    () => Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 }),
  );
  const to = new TargetAddress(IpAddress.v4(127, 0, 0, 1), (asking.addr as Deno.NetAddr).port);
  assert.equal(first.send(to, Uint8Array.of(1, 2, 3), 0, 3, 10), true);
  sends.flush();
  const [bytes, from] = await asking.receive();
  assert.deepEqual([[...bytes], { ...from }], [
    [1, 2, 3],
    { transport: "udp", hostname: "192.0.2.9", port: 53 },
  ]);
  asking.close();
  assert.equal(sockets.pollTimeout(), REPLY_IDLE_MS);
  sockets.handleTimeout(REPLY_IDLE_MS);
  assert.deepEqual([sockets.size, first.isOpen], [1, true], "it was used later than the other");
  assert.equal(sockets.pollTimeout(), REPLY_IDLE_MS + 10);
  sockets.handleTimeout(REPLY_IDLE_MS + 10);
  assert.deepEqual([sockets.size, first.isOpen, sockets.pollTimeout()], [0, false, Infinity]);
  assert.equal(first.send(to, Uint8Array.of(1), 0, 1, 0), false);
});

aloneLabTest("there are only so many, and the one not asked for longest gives way", async () => {
  await using site_ = await site();
  const { of, sockets } = site_;
  const [first, second] = [of(1_000), of(1_001)];
  for (let i = 2; i < MAX_REPLY_SOCKETS; i++) of(1_000 + i);
  assert.equal(sockets.size, MAX_REPLY_SOCKETS);
  assert.equal(of(1_000), first);
  const last = of(60_000);
  assert.deepEqual([sockets.size, first.isOpen, second.isOpen, last.isOpen], [
    ...[MAX_REPLY_SOCKETS, true, false, true],
  ]);
});

aloneLabTest(
  "a port that a program has on all addresses has no answers, and is tried again later",
  async () => {
    await using site_ = await site();
    const { of, host, counters } = site_;
    const program = within(
      host,
      () => Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 53 }),
    );
    const refused = of(53);
    const to = new TargetAddress(IpAddress.v4(127, 0, 0, 1), 9);
    assert.equal(refused.send(to, Uint8Array.of(1), 0, 1, 0), false);
    program.close();
    assert.equal(of(53, 4_999), refused);
    assert.equal(counters.capture.noReplySocket, 1);
    assert.equal(of(53, 5_000).isOpen, true);
  },
);
