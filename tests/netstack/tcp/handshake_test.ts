import assert from "node:assert/strict";
import { PEER, PEER_PORT, Script } from "./script.ts";

Deno.test("passive open: SYN, SYN-ACK, ACK (RFC 9293 §3.5)", () => {
  const t = new Script();
  t.listen();
  t.in("S 0 mss 1460");
  t.out("S. 0 ack 1 mss 1460");
  assert.equal(t.endpoint, undefined);
  t.in(". 1 ack 1");
  assert.equal(t.endpoint!.state, "established");
  assert.deepEqual(t.events, ["connected"]);
  t.quiet();
});

Deno.test("active open: SYN, SYN-ACK, ACK", () => {
  const t = new Script();
  t.connect();
  t.out("S 0 mss 1460");
  t.in("S. 0 ack 1");
  t.out(". 1 ack 1");
  assert.deepEqual(t.events, ["connected"]);
});

Deno.test("options are offered, and answered only if offered (RFC 7323 §2.2, RFC 2018 §2)", () => {
  const all = { timestamps: true, windowScale: true, sack: true };
  const active = new Script(all);
  active.connect();
  const syn = active.out("S 0 mss 1460 sackok wscale 7");
  assert.ok(syn.ts);

  const with_ = new Script(all);
  with_.listen();
  with_.in("S 0 mss 1460 sackok wscale 7 ts 100 0");
  const answer = with_.out("S. 0 ack 1 mss 1460 sackok wscale 7");
  assert.equal(answer.ts![1], 100);

  const without = new Script(all);
  without.listen();
  without.in("S 0 mss 1460");
  const bare = without.out("S. 0 ack 1 mss 1460");
  assert.deepEqual([bare.sackok, bare.wscale, bare.ts], [false, undefined, undefined]);
});

Deno.test("simultaneous open (RFC 9293 §3.5, figure 7)", () => {
  const t = new Script();
  t.connect();
  t.out("S 0");
  t.in("S 0 mss 1460");
  t.out("S. 0 ack 1");
  assert.equal(t.endpoint!.state, "syn-received");
  t.in("S. 0 ack 1");
  assert.equal(t.endpoint!.state, "established");
  t.in("P. 1:101 ack 1");
  t.read(1, 101);
});

Deno.test("a SYN is retransmitted six times with backoff, then the attempt times out", () => {
  const t = new Script();
  t.connect();
  const start = t.now;
  t.wait(200_000);
  const times = t.drop().map((sent) => sent.at - start);
  // RFC 6298 §2.1 and §5.5: 1 s, doubled each time.
  assert.deepEqual(times, [0, 1000, 3000, 7000, 15000, 31000, 63000]);
  assert.deepEqual(t.events, ["closed: timeout"]);
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timers], [0, 0]);
});

Deno.test("a SYN-ACK that nobody acknowledges expires and leaves nothing behind", () => {
  const t = new Script();
  t.listen();
  t.in("S 0 mss 1460");
  t.wait(200_000);
  assert.equal(t.drop().length, 7);
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timers], [0, 0]);
  assert.equal(t.endpoint, undefined);
});

Deno.test("a retransmitted SYN in SYN-RECEIVED gets the SYN-ACK again (RFC 9293 §3.10.7.4)", () => {
  const t = new Script();
  t.listen();
  t.in("S 0 mss 1460");
  t.out("S. 0 ack 1");
  t.in("S 0 mss 1460");
  t.out("S. 0 ack 1");
  assert.equal(t.tcp.connectionCount, 1);
});

Deno.test("SYN-RECEIVED: an ACK of something else is answered with RST (RFC 9293 §3.10.7.4)", () => {
  for (const ack of [0, 2, 1000, -5]) {
    const t = new Script();
    t.listen();
    t.in("S 0 mss 1460");
    t.out("S. 0 ack 1");
    t.in(`. 1 ack ${ack}`);
    t.out(`R ${ack}`);
    t.in(". 1 ack 1");
    assert.equal(t.endpoint!.state, "established");
  }
});

Deno.test("SYN-SENT: an ACK of something else is answered with RST (RFC 9293 §3.10.7.3)", () => {
  const t = new Script();
  t.connect();
  t.out("S 0");
  t.in("S. 0 ack 2");
  t.out("R 2");
  t.in(". 0 ack 0");
  t.out("R 0");
  assert.equal(t.endpoint!.state, "syn-sent");
});

Deno.test("SYN-SENT: only an RST that acknowledges the SYN refuses (RFC 9293 §3.10.7.3)", () => {
  const t = new Script();
  t.connect();
  t.out("S 0");
  t.in("R 0");
  t.in("R. 0 ack 7");
  assert.equal(t.endpoint!.state, "syn-sent");
  t.in("R. 0 ack 1");
  assert.deepEqual(t.events, ["closed: refused"]);
  t.quiet();
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timers], [0, 0]);
});

Deno.test("SYN-RECEIVED: the exact RST returns to LISTEN (RFC 9293 §3.10.7.4)", () => {
  const t = new Script();
  t.listen();
  t.in("S 0 mss 1460");
  t.out("S. 0 ack 1");
  t.in("R 1");
  t.quiet();
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timers], [0, 0]);
  t.iss = undefined;
  t.in("S 0 mss 1460");
  t.out("S. 0 ack 1");
});

Deno.test("data queued in SYN-SENT goes out with the handshake's last ACK", () => {
  const t = new Script();
  t.connect();
  t.out("S 0");
  assert.equal(t.write(100), 100);
  t.quiet();
  t.in("S. 0 ack 1 mss 1460");
  t.out("P. 1:101 ack 1");
  t.quiet();
});

Deno.test("data in a SYN is not taken; the peer sends it again", () => {
  const t = new Script();
  t.listen();
  t.in("S 0:100 mss 1460");
  t.out("S. 0 ack 1");
  t.in("P. 1:101 ack 1");
  t.read(1, 101);
});

Deno.test("a closed port answers RST, an RST is never answered (RFC 9293 §3.10.7.1)", () => {
  const t = new Script();
  t.in("S 0 mss 1460");
  t.out("R. 0 ack 1");
  t.iss = 0;
  t.in(". 5 ack 77");
  t.out("R 77");
  t.in("R 5");
  t.in("R. 5 ack 7");
  t.quiet();
});

Deno.test("the backlog is bounded; a place is free again when a handshake ends", () => {
  const t = new Script({ backlog: 2, synCookies: false });
  t.listen();
  for (let i = 0; i < 3; i++) {
    t.peerPort = PEER_PORT + i;
    t.in("S 0 mss 1460");
  }
  assert.equal(t.drop().length, 2);
  assert.equal(t.tcp.counters.backlogFull, 1);
  t.peerPort = PEER_PORT;
  t.in("R 1");
  t.peerPort = PEER_PORT + 2;
  t.in("S 0 mss 1460");
  assert.equal(t.drop().length, 1);
});

Deno.test("an ICMP error fails a connection attempt, and nothing later (RFC 5461 §3)", () => {
  for (
    const [kind, event] of [["host-unreachable", "unreachable"], [
      "port-unreachable",
      "refused",
    ]] as const
  ) {
    const t = new Script();
    const endpoint = t.connect();
    t.drop();
    quote(t, kind, 0, 12345, endpoint.localPort);
    assert.deepEqual(t.events, [], "a forged quotation changes nothing");
    quote(t, kind, 0, t.iss!, endpoint.localPort);
    assert.deepEqual(t.events, [`closed: ${event}`]);
  }
  const t = new Script();
  const endpoint = t.established();
  t.write(10);
  quote(t, "host-unreachable", 0, t.iss! + 1, endpoint.localPort);
  assert.equal(endpoint.state, "established");
});

Deno.test("connect refuses what cannot be: port, route, limit", () => {
  const t = new Script({ maxConnections: 1 });
  assert.throws(() => t.tcp.connect({ remote: PEER, remotePort: 0 }, 0), RangeError);
  assert.throws(() => t.tcp.connect({ remote: PEER, remotePort: 70_000 }, 0), RangeError);
  t.connect();
  assert.throws(() => t.tcp.connect({ remote: PEER, remotePort: 9 }, 0), /1 TCP connections/);
  t.listen();
  assert.throws(() => t.listen(), /port 80 is in use/);
});

function quote(
  t: Script,
  kind: "host-unreachable" | "port-unreachable" | "too-big",
  mtu: number,
  sequence: number,
  localPort: number,
): void {
  const quoted = new Uint8Array(28);
  quoted.set([10, 0, 0, 1], 12);
  quoted.set([10, 0, 0, 2], 16);
  new DataView(quoted.buffer).setUint16(20, localPort);
  new DataView(quoted.buffer).setUint16(22, PEER_PORT);
  new DataView(quoted.buffer).setInt32(24, sequence);
  t.tcp.handleIcmpError(kind, mtu, 4, quoted, 12, 16, 20, 8, t.now);
  t.flush();
}
