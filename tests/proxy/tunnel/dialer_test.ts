import assert from "node:assert/strict";
import { IpAddress, type TcpEndpoint } from "../../../netstack/mod.ts";
import { Flow, FlowOwner } from "../../../proxy/flow/flow.ts";
import type { ByteStream, DialError } from "../../../proxy/flow/stream.ts";
import { LentBuffers } from "../../../proxy/splice/endpoint_stream.ts";
import { Splice } from "../../../proxy/splice/splice.ts";
import { TunnelDialer } from "../../../proxy/tunnel/dialer.ts";
import { MemoryStream } from "../splice/memory_stream.ts";
import { wireEnd } from "../wire.ts";

const [HERE, THERE] = [IpAddress.v4(10, 9, 0, 1), IpAddress.v4(10, 9, 0, 2)];
const ELSEWHERE = IpAddress.v4(192, 0, 2, 1);

/** Two ends of a tunnel, and a dialer at this one. */
function site() {
  const [here, there] = [wireEnd(HERE), wireEnd(THERE)];
  let now = 0;
  const dialer = new TunnelDialer({
    stack: here.stack,
    now: () => now,
    buffers: new LentBuffers(),
  });
  const run = (ms = 0) => {
    now += ms;
    for (let idle = 0; idle < 3; idle++) {
      for (const [from, to] of [[here, there], [there, here]] as const) {
        from.stack.handleTimeout(now);
        from.stack.flush(now);
        const packets = from.wire.sent.splice(0);
        if (packets.length > 0) idle = 0;
        for (const packet of packets) to.stack.handlePacket(to.nic, packet, 0, packet.length, now);
      }
    }
  };
  const dial = (to: IpAddress, port: number) => {
    const result: { stream?: ByteStream; failed?: DialError } = {};
    const dialling = dialer.dial(to, port, {
      connected: (stream) => void (result.stream = stream),
      dialFailed: (why) => void (result.failed = why),
    });
    assert.deepEqual(result, {}, "nothing is told within the call");
    return { result, dialling };
  };
  return { here, there, run, dial };
}

Deno.test("a program of this host and a peer's service are joined, bytes and ends both ways", () => {
  const { there, run, dial } = site();
  let served: TcpEndpoint | undefined;
  there.stack.tcp.listen({ port: 80 }, { accepted: (endpoint) => void (served = endpoint) });
  const { result } = dial(THERE, 80);
  run();
  const program = new MemoryStream({ capacity: 100, chunk: 50, lends: false });
  const owner = new FlowOwner(() => "socks");
  const flow = new Flow("tcp", owner, ELSEWHERE, 4000, THERE, 80, 0);
  let ended = 0;
  new Splice(
    flow,
    {
      now: () => 0,
      onHalfClosed() {},
      onBroken: () => assert.fail("broken"),
      onEnded: () => void ended++,
    },
    program,
    result.stream!,
  );
  program.send([1, 2, 3]);
  program.finish();
  run();
  const buffer = new Uint8Array(10);
  assert.equal(served!.read(buffer), 3);
  assert.equal(served!.endOfFile, true);
  served!.write(Uint8Array.of(4, 5));
  served!.shutdownWrite();
  run();
  assert.deepEqual(program.receive(10), [4, 5]);
  assert.deepEqual([program.seen, ended, flow.bytesUp, flow.bytesDown], ["end", 1, 3, 2]);
});

Deno.test("why a dial in the tunnel fails is told in a dialer's words", async () => {
  const { run, dial } = site();
  const closed = dial(THERE, 81);
  run();
  assert.deepEqual(closed.result, { failed: "refused" });
  const noRoute = dial(ELSEWHERE, 80);
  await Promise.resolve();
  assert.deepEqual(noRoute.result, { failed: "net" });
  assert.throws(() => dial(THERE, 70_000), RangeError);
});

Deno.test("a dial that is given up tells nothing, and leaves nothing", async () => {
  const { here, run, dial } = site();
  const silent = dial(THERE, 81);
  silent.dialling.abort();
  const noRoute = dial(ELSEWHERE, 80);
  noRoute.dialling.abort();
  await Promise.resolve();
  run(1000);
  assert.deepEqual([silent.result, noRoute.result], [{}, {}]);
  assert.equal(here.stack.tcp.connectionCount, 0);
});
