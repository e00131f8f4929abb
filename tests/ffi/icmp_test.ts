import assert from "node:assert/strict";
import {
  type Destination,
  IcmpSocket,
  icmpUnavailable,
  openUdpLibc,
  ReceiveRing,
  SendBatch,
  writeSockaddr,
} from "../../ffi/mod.ts";
import { eventually } from "../e2e/lab.ts";

const LOOPBACK = {
  4: Uint8Array.of(127, 0, 0, 1),
  6: Uint8Array.of(...Array(15).fill(0), 1),
} as const;
const REQUEST = { 4: 8, 6: 128 } as const;
const REPLY = { 4: 0, 6: 129 } as const;
const missing = icmpUnavailable();

/** Where pings are not allowed, tests/e2e/cases/ping.ts runs this file in a namespace where they are. */
function icmpTest(name: string, fn: () => Promise<void>): void {
  const why = missing === undefined ? "" : ` (needs ${missing.split(":")[0]})`;
  Deno.test({ name: name + why, ignore: missing !== undefined, fn });
}

function destination(version: 4 | 6): Destination {
  const sockaddr = new Uint8Array(version === 4 ? 16 : 28);
  writeSockaddr(sockaddr, LOOPBACK[version], 0);
  return { sockaddr, segmentLimit: Infinity };
}

class Side implements Disposable {
  readonly libc = openUdpLibc();
  readonly socket: IcmpSocket;
  readonly memory = new Uint8Array(128 << 10);
  readonly batch = new SendBatch(this.libc, this.memory, 8, false);
  readonly ring = new ReceiveRing(this.libc, new Uint8Array(8 * 65_536));
  readonly version: 4 | 6;

  constructor(version: 4 | 6) {
    this.version = version;
    this.socket = new IcmpSocket(this.libc, version);
  }

  /** @returns the errno. */
  send(sequence: number, data: number): number {
    this.memory.fill(sequence, 0, 8 + data);
    this.memory.set([REQUEST[this.version], 0, 0, 0, 0xaa, 0xaa, 0, sequence]);
    let errno = -1;
    this.batch.push(destination(this.version), 0, 8 + data);
    this.batch.flush(this.socket.fd, (_offset, _length, result) => errno = result);
    return errno;
  }

  async receive() {
    const { ring } = this;
    await eventually("a reply", () => ring.fill(this.socket.fd) > 0);
    assert.ok(ring.next());
    const bytes = ring.memory.slice(ring.offset, ring.offset + ring.length);
    const { hopLimit } = ring;
    ring.release();
    return { bytes, hopLimit };
  }

  [Symbol.dispose]() {
    this.socket.close();
    this.libc.close();
  }
}

for (const version of [4, 6] as const) {
  icmpTest(
    `IPv${version}: a request is answered with its sequence, data and a hop limit`,
    async () => {
      using side = new Side(version);
      side.socket.setHeader(9, false);
      assert.equal(side.socket.hasHeader(9, false), true);
      for (const data of [0, 56, 9000, 60_000]) {
        assert.equal(side.send(5, data), 0);
        const { bytes, hopLimit } = await side.receive();
        assert.equal(bytes.length, 8 + data);
        assert.deepEqual([bytes[0], bytes[6], bytes[7]], [REPLY[version], 0, 5]);
        assert.ok(bytes.subarray(8).every((byte) => byte === 5));
        assert.ok(
          hopLimit >= 64,
          `${hopLimit}: what the other host sends with, not what was asked for`,
        );
      }
    },
  );

  icmpTest(
    `IPv${version}: each socket has an identifier of its own, and its replies alone`,
    async () => {
      using one = new Side(version);
      using two = new Side(version);
      assert.deepEqual([one.send(1, 4), two.send(2, 4)], [0, 0]);
      const [first, second] = [await one.receive(), await two.receive()];
      assert.deepEqual([first.bytes[7], second.bytes[7]], [1, 2]);
      const identifier = ({ bytes }: typeof first) => bytes[4]! << 8 | bytes[5]!;
      assert.notEqual(identifier(first), identifier(second));
      for (const side of [one, two]) {
        assert.deepEqual([side.ring.fill(side.socket.fd), side.ring.isExhausted], [0, true]);
      }
    },
  );
}

icmpTest("a header that is set is known, and of IPv6 no Don't Fragment", () => {
  using four = new Side(4);
  using six = new Side(6);
  for (const side of [four, six]) {
    side.socket.setHeader(64, true);
    assert.equal(side.socket.hasHeader(64, true), true);
    assert.equal(side.socket.hasHeader(63, true), false);
    assert.equal(side.socket.hasHeader(64, false), side === six);
  }
  return Promise.resolve();
});

icmpTest("a socket closes once", () => {
  const libc = openUdpLibc();
  const socket = new IcmpSocket(libc, 4);
  assert.equal(socket.isClosed, false);
  socket.close();
  socket.close();
  assert.equal(socket.isClosed, true);
  libc.close();
  return Promise.resolve();
});
