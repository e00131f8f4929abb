import assert from "node:assert/strict";
import type {
  TcpEndpoint,
  TcpError,
  TcpForwarderRequest,
  TcpHandler,
} from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import type { DialHandler } from "../../../proxy/flow/stream.ts";
import { TcpForwarder } from "../../../proxy/forward/tcp_forwarder.ts";
import { survivors } from "../../survivors.ts";
import { MemoryStream } from "../splice/memory_stream.ts";
import { forwarderOptions } from "./lab.ts";

/** A client's end in the stack, with a send ring of a few bytes. */
class FakeEndpoint {
  handler: TcpHandler | undefined = undefined;
  isAborted = false;
  isShutDown = false;
  endOfFile = false;
  /** Written by the gateway, and by the client. */
  readonly sent: number[] = [];
  incoming: number[] = [];
  unsent = 0;
  unacknowledged = 0;

  get readable(): number {
    return this.incoming.length;
  }

  read(into: Uint8Array, offset: number, length: number): number {
    const bytes = this.incoming.splice(0, length);
    into.set(bytes, offset);
    return bytes.length;
  }

  write(from: Uint8Array, offset: number, length: number): number {
    const room = Math.min(length, 4 - this.unsent);
    this.sent.push(...from.subarray(offset, offset + room));
    this.unsent += room;
    return room;
  }

  shutdownWrite(): void {
    this.isShutDown = true;
  }

  abort(): void {
    this.isAborted = true;
  }

  setNoDelay(): void {}
  setKeepAlive(): void {}

  info() {
    return {
      state: "established",
      rttMs: 1,
      retransmits: 4,
      segmentsOutOfOrder: 5,
      segmentsIn: 3,
      segmentsOut: 2,
    };
  }

  /** The client's: sends. */
  send(...bytes: number[]): void {
    this.incoming.push(...bytes);
    this.handler?.readable?.();
  }

  /** The client's: sends FIN. */
  finish(): void {
    this.endOfFile = true;
    this.handler?.readable?.();
  }

  /** What was sent is acknowledged. */
  acknowledge(): void {
    this.unsent = 0;
    this.handler?.writable?.();
  }

  hold(): void {}

  close(error?: TcpError): void {
    this.handler?.closed?.(error);
  }
}

/** A connection that is open, its clock standing still. */
function connection(capacity = 4) {
  const { options, clock } = forwarderOptions();
  let dialled: DialHandler | undefined;
  const tcp = new TcpForwarder({
    ...options,
    dialer: {
      dial(_to, _port, handler) {
        dialled = handler;
        return { abort() {} };
      },
    },
  });
  const client = new FakeEndpoint();
  const request = {
    client: parseIpAddress("10.9.0.2")!,
    clientPort: 40_000,
    target: parseIpAddress("10.50.0.1")!,
    targetPort: 80,
    accept: () => client as unknown as TcpEndpoint,
  };
  tcp.request(request as unknown as TcpForwarderRequest);
  const target = new MemoryStream({ capacity, chunk: 8, lends: false });
  const [flow] = options.admission.table.flows();
  dialled!.connected(target);
  return { tcp, client, target, clock, flow: flow! };
}

Deno.test("activity puts the limit of a half-closed connection off, and idleness ends it with a reset", () => {
  const { tcp, client, target, clock, flow } = connection();
  assert.equal(tcp.pollTimeout(), Infinity, "an open one may be idle as long as it likes");
  client.finish();
  assert.equal(tcp.pollTimeout(), 60_000);
  clock.now = 50_000;
  target.send([1, 2]);
  assert.equal(tcp.pollTimeout(), 110_000);
  tcp.handleTimeout(109_999);
  assert.equal(client.isAborted, false);
  tcp.handleTimeout(110_000);
  assert.deepEqual([client.isAborted, target.seen, flow.end], [true, "reset", "idle"]);
  assert.deepEqual([tcp.counters.halfClosedTooLong, tcp.size], [1, 0]);
});

Deno.test("the last bytes of a client that has closed long ago reach a slow target, and the end behind them", () => {
  const { tcp, client, target, flow } = connection(4);
  target.finish();
  assert.equal(client.isShutDown, true);
  client.send(1, 2, 3, 4, 5, 6, 7);
  client.finish();
  client.close(); // both directions are done in the tunnel
  assert.deepEqual([target.seen, tcp.size], ["open", 1]);
  assert.deepEqual(target.receive(100), [1, 2, 3, 4]);
  assert.deepEqual(target.receive(100), [5, 6, 7]);
  assert.deepEqual([target.seen, flow.end, tcp.size], ["end", "closed", 0]);
  assert.deepEqual([flow.bytesUp, flow.packetsUp, tcp.counters.bytesUp], [7, 3, 7]);
  assert.deepEqual([flow.packetsDown, flow.rttMs, flow.retransmits, flow.outOfOrder], [2, 1, 4, 5]);
  assert.equal(flow.targetRttMs, 3);
});

Deno.test("what does not fit into the ring waits, and the end of file behind it", () => {
  const { client, target } = connection();
  target.send([1, 2, 3, 4, 5, 6]);
  target.finish();
  assert.deepEqual([client.sent, client.isShutDown], [[1, 2, 3, 4], false]);
  client.acknowledge();
  assert.deepEqual([client.sent, client.isShutDown], [[1, 2, 3, 4, 5, 6], true]);
});

Deno.test("a reset of the client resets the target, and is told as why it ended", () => {
  const { tcp, client, target, flow } = connection();
  client.close({ kind: "reset", message: "the connection was reset by the peer" });
  assert.deepEqual([target.seen, flow.end, tcp.size], ["reset", "reset-by-source", 0]);
  assert.equal(tcp.counters.resetByClient, 1);
});

Deno.test("connections that are over leave nothing for a full collection of garbage", async () => {
  const { options } = forwarderOptions();
  let dialled: DialHandler | undefined;
  const tcp = new TcpForwarder({
    ...options,
    dialer: {
      dial(_to, _port, handler) {
        dialled = handler;
        return { abort() {} };
      },
    },
  });
  const [from, to] = [parseIpAddress("10.9.0.2")!, parseIpAddress("10.50.0.1")!];
  const alive: { client: FakeEndpoint; target: MemoryStream }[] = [];
  const run = (times: number) => {
    for (let i = 0; i < times; i++) {
      const client = new FakeEndpoint();
      client.incoming = new Array(1000).fill(0); // 8 KB, as much as a connection of the stack
      tcp.request({
        client: from,
        clientPort: 40_000,
        target: to,
        targetPort: 80,
        accept: () => client as unknown as TcpEndpoint,
      } as unknown as TcpForwarderRequest);
      const target = new MemoryStream({ capacity: 4, chunk: 8, lends: false });
      dialled!.connected(target);
      alive.push({ client, target });
      if (alive.length <= 20) continue;
      const over = alive.shift()!;
      over.client.close({ kind: "reset", message: "" });
    }
  };
  const connections = 10_000;
  const bytes = await survivors(() => run(500), () => run(connections));
  assert.equal(tcp.counters.resetByClient, connections + 500 - 20);
  // Some 400, and 120 more beside other tests; one that is kept holds 8,000.
  assert.ok(bytes < 1000 * connections, `${Math.round(bytes / connections)} bytes a connection`);
});
