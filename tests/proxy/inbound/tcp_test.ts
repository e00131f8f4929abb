/**
 * Connections of programs of this host into the tunnel.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { TcpEndpoint } from "../../../netstack/mod.ts";
import { DEFAULT_TIMEOUTS } from "../../../proxy/config/defaults.ts";
import { InboundTcp } from "../../../proxy/inbound/tcp.ts";
import { MemoryStream } from "../splice/memory_stream.ts";
import { ELSEWHERE, HERE, inboundLab, PROGRAM, THERE } from "./lab.ts";

/** A program that wants to be connected, and what it is told. */
function program() {
  const stream = new MemoryStream({ capacity: 1_000, chunk: 1_000, lends: false });
  const told: string[] = [];
  const incoming = {
    accept() {
      told.push("connected");
      return stream;
    },
    refuse: (why: string) => void told.push(why),
  };
  return { stream, told, incoming };
}

function site(limits?: Parameters<typeof inboundLab>[0]) {
  const lab = inboundLab(limits);
  const tcp = new InboundTcp(lab.host, lab.owner);
  const served: TcpEndpoint[] = [];
  lab.there.tcp.listen({ port: 80 }, { accepted: (endpoint) => void served.push(endpoint) });
  const open = (destination = THERE, destinationPort = 80) => {
    const asking = program();
    tcp.open(
      { source: PROGRAM, sourcePort: 40_000, destination, destinationPort },
      asking.incoming,
    );
    return asking;
  };
  const flows = () => lab.host.admission.table.flows();
  return { ...lab, tcp, served, open, flows };
}

Deno.test("a program is connected once the target is, and both ends are carried as they come", () => {
  const { run, open, served, flows, tcp, host } = site();
  const { stream, told } = open();
  assert.deepEqual(told, [], "nothing is known yet");
  assert.deepEqual(flows().map(({ state, owner }) => [state, owner.name]), [[
    "dialling",
    "redirect",
  ]]);
  stream.send([1, 2, 3]); // before it is told
  run(5);
  assert.deepEqual(told, ["connected"]);
  const buffer = new Uint8Array(10);
  assert.equal(served[0]!.read(buffer), 3);
  const [flow] = flows();
  assert.equal(flow!.dialMs, 5);
  const { state, packetsUp, packetsDown } = flow!.carrier!.inspect(flow!);
  assert.equal(state, "established");
  assert.ok(packetsUp >= 2 && packetsDown >= 1, "segments of the tunnel are counted");
  stream.finish();
  run();
  assert.equal(served[0]!.endOfFile, true);
  assert.equal(flow!.state, "half-closed");
  served[0]!.write(Uint8Array.of(4, 5));
  served[0]!.shutdownWrite();
  run();
  assert.deepEqual(stream.receive(10), [4, 5]);
  assert.equal(stream.seen, "end");
  assert.equal(flow!.end, "closed");
  const { requests, connected, bytesUp, bytesDown } = tcp.counters;
  assert.deepEqual({ requests, connected, bytesUp, bytesDown }, {
    ...{ requests: 1, connected: 1, bytesUp: 3, bytesDown: 2 },
  });
  assert.equal(host.admission.connections.total, 0);
});

Deno.test("why a program is not connected is told, and counted", () => {
  const { run, open, tcp, flows } = site();
  const closed = open(THERE, 81);
  run();
  assert.deepEqual(closed.told, ["refused"]);
  assert.deepEqual(open(ELSEWHERE).told, ["no-peer"]);
  assert.deepEqual(open(HERE).told, ["own-host"], "the tunnel is not handed to itself");
  const { refused, forbidden } = tcp.counters;
  assert.deepEqual({ refused, forbidden }, { refused: 1, forbidden: 2 });
  assert.deepEqual(flows(), []);
});

Deno.test("a target that does not answer is given up after the time for dials", () => {
  const { run, open, wire, tcp } = site();
  wire.isCut = true;
  const { told } = open();
  run(DEFAULT_TIMEOUTS.tcpDialMs - 1);
  assert.deepEqual(told, []);
  run(1);
  assert.deepEqual(told, ["timeout"]);
  assert.equal(tcp.counters.timedOut, 1);
});

Deno.test("a reset on either side is one on the other", () => {
  const { run, open, served, flows } = site();
  const first = open();
  run();
  const [flow] = flows();
  served[0]!.abort();
  run();
  assert.deepEqual([first.stream.seen, flow!.end], ["reset", "reset-by-target"]);
  const second = open();
  run();
  const [other] = flows();
  second.stream.break("reset");
  run();
  assert.equal(served[1]!.state, "closed");
  assert.equal(other!.end, "reset-by-source");
});

Deno.test("a half-closed connection that is idle for too long is reset", () => {
  const { run, open, tcp } = site();
  const { stream } = open();
  run();
  stream.finish();
  run(DEFAULT_TIMEOUTS.tcpHalfCloseMs - 1);
  assert.equal(stream.seen, "open");
  run(1);
  assert.equal(stream.seen, "reset");
  assert.equal(tcp.counters.halfClosedTooLong, 1);
});

Deno.test("flows are ended on request, dialling or connected, and when no peer has the address any more", () => {
  const { run, open, flows, host } = site();
  const dialling = open();
  flows()[0]!.carrier!.end("killed");
  assert.deepEqual(dialling.told, ["killed"]);
  run();
  const connected = open();
  run();
  flows()[0]!.carrier!.end("killed");
  assert.equal(connected.stream.seen, "reset");
  assert.equal(host.counters.tcp.killed, 2);
  const revoked = open();
  run();
  assert.equal(host.admission.review(), 0, "nobody has to hold a program's address");
  host.stack.routes.removeNic(host.stack.routes.lookupAddress(THERE)!);
  assert.equal(host.admission.review(), 1);
  assert.equal(revoked.stream.seen, "reset");
});

Deno.test("there is a limit, and once closing there is nothing new; what is left can be broken off", () => {
  const { run, open, tcp, flows } = site({ maxTcpConnections: 2 });
  const [first, second] = [open(), open()];
  run();
  assert.deepEqual(open().told, ["full"]);
  tcp.close();
  assert.deepEqual(open().told, ["aborted"]);
  assert.deepEqual([first.stream.seen, second.stream.seen], ["open", "open"]);
  tcp.abort();
  assert.deepEqual([first.stream.seen, second.stream.seen], ["reset", "reset"]);
  assert.deepEqual(flows(), []);
});

Deno.test("other timeouts hold for connections that are under way, and for dials", () => {
  const { run, open, wire, tcp, setTimeouts } = site();
  const half = open();
  const idle = open();
  run();
  half.stream.finish();
  run();
  wire.isCut = true;
  const dial = open();
  run();
  tcp.timeoutsChanged(setTimeouts({
    ...{ tcpDialMs: 200, tcpHalfCloseMs: 300 },
    ...{ tcpKeepAliveIdleMs: 1_000, tcpKeepAliveIntervalMs: 1_000, tcpKeepAliveCount: 2 },
  }));
  run(200);
  assert.deepEqual(dial.told, ["timeout"]);
  assert.equal(half.stream.seen, "open");
  run(100);
  assert.equal(half.stream.seen, "reset");
  for (let second = 0; second < 3; second++) run(1_000);
  assert.equal(idle.stream.seen, "reset", "its keepalives are not answered");
});

Deno.test("a change of one timeout does not begin the others anew", () => {
  const { run, open, tcp, setTimeouts } = site();
  const half = open();
  run();
  half.stream.finish();
  run(DEFAULT_TIMEOUTS.tcpHalfCloseMs - 1);
  tcp.timeoutsChanged(setTimeouts({ tcpDialMs: 1 }));
  run(1);
  assert.equal(half.stream.seen, "reset");
});
