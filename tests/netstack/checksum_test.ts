import assert from "node:assert/strict";
import fc from "fast-check";
import { finish, fold, sum, update } from "../../netstack/checksum.ts";
import { Random } from "../sim/random.ts";
import { Host, plainChecksum, tcpSyn, udp } from "./packets.ts";

Deno.test("the checksum is that of RFC 1071's example", () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  assert.equal(fold(sum(bytes, 0, 8, 0)), 0xddf2);
  assert.equal(finish(sum(bytes, 0, 8, 0)), 0x220d);
});

Deno.test("the checksum equals its plain twin at every alignment and length", () => {
  const bytes = new Random(1).bytes(400);
  for (let offset = 0; offset < 33; offset++) {
    for (let length = 0; length <= 300; length++) {
      const part = bytes.subarray(offset, offset + length);
      assert.equal(
        finish(sum(bytes, offset, length, 0)),
        plainChecksum(part),
        `${offset} ${length}`,
      );
    }
  }
});

Deno.test("the largest packets, and the largest sums, do not overflow", () => {
  for (const length of [16_383, 16_384, 16_385, 32_768, 65_534, 65_535, 65_575]) {
    const ones = new Uint8Array(length).fill(0xff);
    assert.equal(finish(sum(ones, 0, length, 0)), plainChecksum(ones), `${length}`);
    assert.ok(sum(ones, 0, length, 2 ** 29) < 2 ** 31);
    const random = new Random(length).bytes(length);
    assert.equal(finish(sum(random, 0, length, 0)), plainChecksum(random));
  }
});

Deno.test("a sum may be made in parts", () => {
  fc.assert(fc.property(
    fc.uint8Array({ maxLength: 3000 }),
    fc.nat(1500),
    (bytes, words) => {
      const first = Math.min(2 * words, bytes.length & ~1);
      const parts = sum(bytes, first, bytes.length - first, sum(bytes, 0, first, 0));
      assert.equal(finish(parts), finish(sum(bytes, 0, bytes.length, 0)));
    },
  ));
});

Deno.test("a checksum brought up to date equals one made anew", () => {
  fc.assert(fc.property(
    fc.uint8Array({ minLength: 4, maxLength: 40 }),
    fc.nat(0xffff),
    (bytes, after) => {
      bytes[0] = 0x45; // never all zero: the one case with two representations (RFC 1624 §3)
      const before = bytes[2]! << 8 | bytes[3]!;
      const checksum = plainChecksum(bytes);
      bytes[2] = after >> 8;
      bytes[3] = after;
      assert.equal(update(checksum, before, after), plainChecksum(bytes));
    },
  ));
});

Deno.test("a stack sums segments with what it is given, in and out", () => {
  const lengths: number[] = [];
  const host = new Host({}, {
    sum(buffer, offset, length, initial) {
      lengths.push(length);
      return sum(buffer, offset, length, initial);
    },
  });
  const socket = host.stack.bindUdp({ port: 7 });
  socket.handler = {
    datagram: (_socket, source, port, buffer, offset, length, now) => {
      socket.send(source, port, buffer, offset, length, now);
    },
  };
  const answers = host.receive(udp("10.9.0.2", 5000, "10.9.0.1", 7, new Uint8Array(100)));
  assert.equal(answers.length, 1);
  assert.deepEqual(lengths, [108, 108]);
  lengths.length = 0;
  host.receive(tcpSyn("10.9.0.2", 5000, "10.9.0.1", 7));
  assert.deepEqual(lengths, [20]); // the reset that answers it is too short to be worth the call
});
