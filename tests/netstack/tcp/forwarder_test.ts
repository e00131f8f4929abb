import assert from "node:assert/strict";
import type { TcpForwarderRequest } from "../../../netstack/tcp/forwarder.ts";
import { IpAddress } from "../../../netstack/address.ts";
import { Host, tcpSegment, tcpSyn, uint16 } from "../packets.ts";
import { PEER, PEER_PORT, Script, type ScriptOptions } from "./script.ts";

/** A host behind whose NIC every address answers; requests wait for the test. */
class Forwarding extends Script {
  readonly requests: TcpForwarderRequest[] = [];
  aborted = 0;

  constructor(options: ScriptOptions = {}) {
    super({ promiscuous: true, ...options });
    // What the script calls HOST is here an address that is not the NIC's own.
    (this.host as { address: IpAddress }).address = IpAddress.v4(10, 0, 0, 77);
    this.tcp.setForwarder(this.host.nic, {
      request: (request) => {
        request.onAborted = () => this.aborted++;
        this.requests.push(request);
      },
    });
  }
}

Deno.test("the SYN waits while the target is dialled; accept completes the handshake", () => {
  const t = new Forwarding();
  t.in("S 0 mss 1460");
  t.quiet();
  const [request] = t.requests;
  assert.deepEqual(
    [`${request!.client}`, request!.clientPort, `${request!.target}`, request!.targetPort],
    [`${PEER}`, PEER_PORT, "10.0.0.1", 80],
  );
  assert.equal(t.tcp.halfOpenCount, 1);
  t.watch(request!.accept()!);
  t.flush();
  t.out("S. 0 ack 1 mss 1460");
  assert.deepEqual(t.events, []);
  t.in(". 1 ack 1");
  assert.deepEqual(t.events, ["connected"]);
  t.in("P. 1:101 ack 1");
  t.read(1, 101);
  assert.equal(t.tcp.halfOpenCount, 0);
});

Deno.test("a SYN with FIN asks for nothing, and replaces no request", () => {
  const t = new Forwarding();
  t.in("SF 0 mss 1460");
  assert.equal(t.requests.length, 0);
  t.in("S 0 mss 1460");
  t.in("SF 1000 mss 1460");
  t.quiet();
  assert.deepEqual([t.requests.length, t.aborted, t.tcp.counters.badFlags], [1, 0, 2]);
});

Deno.test("a duplicate SYN while dialling joins the dial", () => {
  const t = new Forwarding();
  t.in("S 0 mss 1460");
  t.in("S 0 mss 1460");
  t.in("S 0 mss 1460");
  t.quiet();
  assert.equal(t.requests.length, 1);
  t.requests[0]!.accept();
  t.flush();
  t.out("S. 0 ack 1");
  t.quiet();
});

Deno.test("a SYN with another sequence number replaces the request", () => {
  const t = new Forwarding();
  t.in("S 0 mss 1460");
  t.in("S 5000 mss 1460");
  assert.equal(t.aborted, 1);
  assert.equal(t.requests.length, 2);
  assert.equal(t.requests[0]!.accept(), undefined);
  t.requests[0]!.reject("reset");
  t.requests[1]!.accept();
  t.flush();
  t.out("S. 0 ack 5001");
  t.quiet();
});

Deno.test("the client's RST aborts the request, a forged one does not", () => {
  const t = new Forwarding();
  t.in("S 0 mss 1460");
  t.in("R 7777");
  assert.equal(t.aborted, 0);
  t.in("R 1");
  assert.equal(t.aborted, 1);
  assert.equal(t.requests[0]!.accept(), undefined);
  assert.equal(t.tcp.halfOpenCount, 0);
  t.flush();
  t.quiet();
});

Deno.test("refused looks like a closed port: RST with ACK of the SYN", () => {
  const t = new Forwarding();
  t.in("S 0 mss 1460");
  t.requests[0]!.reject("reset");
  t.flush();
  t.iss = 0;
  t.out("R. 0 ack 1");
  assert.deepEqual(t.host.reports, []);
  assert.equal(t.requests[0]!.accept(), undefined, "one answer only");
});

Deno.test("unreachable is told by ICMP about the SYN's own header, and RST", () => {
  for (const how of ["host", "net", "prohibited"] as const) {
    const t = new Forwarding();
    t.in("S 0 mss 1460");
    t.requests[0]!.reject(how);
    t.flush();
    t.iss = 0;
    t.out("R. 0 ack 1");
    assert.equal(t.host.reports.length, 1);
    const { kind, original } = t.host.reports[0]!;
    assert.equal(kind, how);
    const { buffer, length } = t.encode("S 0 mss 1460");
    assert.deepEqual(original, buffer.slice(0, length));
  }
});

Deno.test("where ICMP must stay silent nothing is said: RST alone would look like a closed port", () => {
  for (const how of ["host", "net", "prohibited"] as const) {
    const t = new Forwarding();
    t.host.isIcmpSilent = true;
    t.in("S 0 mss 1460");
    t.requests[0]!.reject(how);
    t.flush();
    t.quiet();
    assert.equal(t.tcp.halfOpenCount, 0);
  }
});

Deno.test("dropped means silence", () => {
  const t = new Forwarding();
  t.in("S 0 mss 1460");
  t.requests[0]!.reject("drop");
  t.flush();
  t.quiet();
  assert.equal(t.tcp.halfOpenCount, 0);
});

Deno.test("requests are bounded; what is over is dropped in silence", () => {
  const t = new Forwarding({ maxHalfOpen: 3 });
  for (let i = 0; i < 10; i++) {
    t.peerPort = PEER_PORT + i;
    t.in("S 0 mss 1460");
  }
  t.quiet();
  assert.deepEqual([t.requests.length, t.tcp.counters.halfOpenFull], [3, 7]);
  t.requests[0]!.reject("drop");
  t.in("S 0 mss 1460");
  assert.equal(t.requests.length, 4);
});

Deno.test("88,000 SYNs leave nothing but the bounded number of requests", () => {
  const t = new Forwarding({ maxHalfOpen: 1_000 });
  for (let i = 0; i < 88_000; i++) {
    t.peerPort = 1 + i % 65_000;
    t.irs = Math.imul(i, 2654435761);
    t.deliver("S 0 mss 1460");
    if (i % 100 === 0) t.flush();
  }
  t.flush();
  assert.ok(t.tcp.halfOpenCount <= 1_000);
  // Only when they expire.
  assert.equal(t.tcp.timers, 1_000);
  t.wait(30_000);
  assert.deepEqual([t.tcp.timers, t.tcp.halfOpenCount, t.tcp.counters.requestsExpired], [
    0,
    0,
    1_000,
  ]);
});

Deno.test("an accepted client that never finishes the handshake expires", () => {
  const t = new Forwarding();
  t.in("S 0 mss 1460");
  t.watch(t.requests[0]!.accept()!);
  t.flush();
  t.wait(200_000);
  assert.deepEqual(t.events, ["closed: timeout"]);
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timers], [0, 0]);
});

Deno.test("a client that resets instead of finishing the handshake is told to the forwarder", () => {
  const t = new Forwarding();
  t.in("S 0 mss 1460");
  t.watch(t.requests[0]!.accept()!);
  t.flush();
  t.in("R 1");
  assert.deepEqual(t.events, ["closed: reset"]);
});

Deno.test("after a reset the client's port is free at once, for another target port and for the same", () => {
  const host = new Host();
  const proxy = host.addProxyNic("10.50.0.0/16");
  const asked: number[] = [];
  host.stack.tcp.setForwarder(proxy, {
    request: (request) => {
      asked.push(request.targetPort);
      request.accept();
    },
  });
  const receive = (bytes: Uint8Array) => {
    host.stack.handlePacket(host.nic, bytes, 0, bytes.length, host.sim.now);
    host.sim.runFor(0);
    return host.take().map(({ payload }) => [...payload.subarray(0, 2), payload[13]!]);
  };
  const synAck = (port: number) => [[...uint16(port), 0x12]];
  assert.deepEqual(receive(tcpSyn("10.9.0.2", 1000, "10.50.0.1", 80)), synAck(80));
  assert.deepEqual(receive(tcpSegment("10.9.0.2", 1000, "10.50.0.1", 80, 1001, 0, 0x04)), []);
  assert.deepEqual(receive(tcpSyn("10.9.0.2", 1000, "10.50.0.1", 81)), synAck(81));
  assert.deepEqual(receive(tcpSyn("10.9.0.2", 1000, "10.50.0.1", 80)), synAck(80));
  assert.deepEqual(asked, [80, 81, 80]);
  assert.equal(host.stack.tcp.connectionCount, 2);
});

Deno.test("data written before the handshake is done goes out with it", () => {
  const t = new Forwarding();
  t.in("S 0 mss 1460");
  const endpoint = t.requests[0]!.accept()!;
  t.watch(endpoint);
  assert.equal(t.write(50), 50);
  t.out("S. 0 ack 1");
  t.quiet();
  t.in(". 1 ack 1");
  t.out("P. 1:51 ack 1");
});

Deno.test("data in the SYN is no data; after the handshake it is", () => {
  const t = new Forwarding();
  t.in("S 0:50 mss 1460");
  t.watch(t.requests[0]!.accept()!);
  t.flush();
  t.out("S. 0 ack 1");
  t.in("P. 1:51 ack 1");
  t.read(1, 51);
});

Deno.test("forwarded connections have no delay of small segments", () => {
  const t = new Forwarding();
  t.in("S 0 mss 1460");
  t.watch(t.requests[0]!.accept()!);
  t.flush();
  t.in(". 1 ack 1");
  t.drop();
  t.write(10);
  t.write(10);
  assert.deepEqual(t.drop().map(({ length }) => length), [10, 10]);
});

Deno.test("without a forwarder every port is closed; segments of unknown flows are reset", () => {
  const t = new Forwarding();
  t.iss = 0;
  t.in(". 500 ack 700");
  t.out("R 700");
  t.tcp.setForwarder(t.host.nic, undefined);
  t.in("S 0 mss 1460");
  t.out("R. 0 ack 1");
});

Deno.test("a new SYN to a target in TIME-WAIT asks the forwarder again (RFC 6191)", () => {
  const t = new Forwarding();
  t.in("S 0 mss 1460");
  t.watch(t.requests[0]!.accept()!);
  t.flush();
  t.in(". 1 ack 1");
  t.endpoint!.close();
  t.flush();
  t.in("F. 1 ack 2");
  assert.equal(t.tcp.timeWaitCount, 1);
  t.drop();
  t.in("S 100 mss 1460");
  assert.deepEqual([t.requests.length, t.tcp.timeWaitCount], [2, 0]);
  t.requests[1]!.accept();
  t.flush();
  assert.ok(t.drop()[0]!.sequence > 2);
});
