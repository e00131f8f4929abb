/**
 * Datagrams of programs of this host into the tunnel.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { IpAddress } from "../../../netstack/mod.ts";
import { DEFAULT_TIMEOUTS } from "../../../proxy/config/defaults.ts";
import { InboundUdp } from "../../../proxy/inbound/udp.ts";
import type { InboundUdpSession, UdpProgram } from "../../../proxy/inbound/udp_session.ts";
import { answering, ELSEWHERE, inboundLab, PROGRAM, THERE } from "./lab.ts";

/** A port of a program's, and what it is answered. */
class Program implements UdpProgram {
  readonly source = PROGRAM;
  readonly sourcePort: number;
  readonly replies: string[] = [];
  hasEnded = false;
  takes = true;

  constructor(port: number) {
    this.sourcePort = port;
  }

  reply(
    from: IpAddress,
    port: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): boolean {
    const text = new TextDecoder().decode(buffer.subarray(offset, offset + length));
    if (this.takes) this.replies.push(`${from}:${port} ${text}`);
    return this.takes;
  }

  ended(): void {
    this.hasEnded = true;
  }
}

function site(...of: Parameters<typeof inboundLab>) {
  const lab = inboundLab(...of);
  const udp = new InboundUdp(lab.host, {
    owner: lab.owner,
    openSockets: () => ({
      hasReady: false,
      drain() {},
      flush() {},
      close: () => Promise.resolve(),
    }),
  });
  const echo = answering(lab.there, 7);
  const send = (session: InboundUdpSession, text: string, port = 7, to = THERE) => {
    const bytes = new TextEncoder().encode(text);
    session.forward(to, port, bytes, 0, bytes.length, lab.clock.now);
  };
  const begin = (port = 40_000, destination = THERE, destinationPort = 7) => {
    const program = new Program(port);
    const session = udp.begins(program, destination, destinationPort, lab.clock.now);
    return { program, session };
  };
  const flows = () => lab.host.admission.table.flows();
  return { ...lab, udp, echo, send, begin, flows };
}

Deno.test("a datagram arrives, and its answer comes in the name of who was asked", () => {
  const { begin, send, run, echo, flows, udp } = site();
  const { program, session } = begin();
  send(session!, "a");
  send(session!, "b");
  run();
  assert.deepEqual(echo.seen, [["10.9.0.1", "a"], ["10.9.0.1", "b"]]);
  assert.deepEqual(program.replies, ["10.9.0.2:7 a!", "10.9.0.2:7 b!"]);
  const [flow] = flows();
  const { packetsUp, packetsDown, bytesUp, bytesDown, state } = flow!;
  assert.deepEqual({ packetsUp, packetsDown, bytesUp, bytesDown, state }, {
    ...{ packetsUp: 2, packetsDown: 2, bytesUp: 2, bytesDown: 4, state: "open" },
  });
  assert.deepEqual([udp.counters.datagramsUp, udp.counters.datagramsDown], [2, 2]);
});

Deno.test("one port of a program is one port in the tunnel, and each target a flow", () => {
  const { begin, send, run, there, flows } = site();
  const other = answering(there, 53);
  const { program, session } = begin();
  send(session!, "a");
  send(session!, "b", 53);
  run();
  assert.deepEqual(program.replies.toSorted(), ["10.9.0.2:53 b!", "10.9.0.2:7 a!"]);
  assert.equal(other.seen.length, 1);
  assert.deepEqual(flows().map(({ destinationPort }) => destinationPort), [7, 53]);
  assert.equal(there.resources().udpFlows, 0);
});

Deno.test("who was not sent to gets nothing in, and what the program does not take is counted", () => {
  const { begin, send, run, there, udp } = site({}, "address-port");
  const { program, session } = begin();
  // It answers from another port than it was asked at.
  const asked = there.bindUdp({ port: 9 });
  const other = there.bindUdp({ port: 10 });
  asked.handler = {
    datagram: (_endpoint, source, port, _buffer, _offset, _length, now) =>
      void other.send(source, port, new Uint8Array(1), 0, 1, now),
  };
  send(session!, "a", 9);
  run();
  assert.deepEqual(program.replies, []);
  assert.equal(udp.counters.filtered, 1);
  program.takes = false;
  send(session!, "b");
  run();
  assert.equal(udp.counters.noRoom, 1);
  assert.equal(udp.counters.datagramsDown, 0);
});

Deno.test("a session ends when nothing goes either way; one that asks name servers alone, sooner", () => {
  const { begin, send, run, udp } = site();
  const { udpIdleMs, udpDnsIdleMs } = DEFAULT_TIMEOUTS;
  const [first, second] = [begin(40_000), begin(40_001, THERE, 53)];
  send(first.session!, "a");
  run(udpDnsIdleMs);
  assert.deepEqual([first.program.hasEnded, second.program.hasEnded], [false, true]);
  send(first.session!, "b");
  run();
  run(udpIdleMs - 1);
  assert.equal(first.program.hasEnded, false);
  run(1);
  assert.equal(first.program.hasEnded, true);
  assert.deepEqual([udp.counters.idle, udp.size], [2, 0]);
});

Deno.test("what no peer has is refused, and a session that cannot begin leaves nothing", () => {
  const { begin, send, udp, host } = site({ maxUdpSessions: 2 });
  assert.equal(begin(40_000, ELSEWHERE).session, undefined);
  assert.equal(begin(40_000, THERE, 0).session, undefined);
  assert.equal(udp.counters.forbidden, 2);
  const [first, second] = [begin(1), begin(2)];
  send(second.session!, "x", 7, ELSEWHERE);
  assert.equal(udp.counters.forbidden, 3, "a flow of a session is asked for too");
  const third = begin(3);
  assert.ok(third.session !== undefined);
  assert.ok(first.program.hasEnded || second.program.hasEnded, "the idlest made room");
  assert.equal(host.admission.sessions.total, 2);
});

Deno.test("a flow that is ended on request ends its session with the last, and closing ends all", async () => {
  const { begin, send, run, udp, flows, host } = site();
  const { program, session } = begin();
  send(session!, "a");
  send(session!, "b", 53);
  const [one, two] = flows();
  one!.carrier!.endFlow(one!, "killed");
  assert.equal(program.hasEnded, false);
  two!.carrier!.endFlow(two!, "killed");
  assert.equal(program.hasEnded, true);
  run();
  const again = begin();
  udp.close();
  assert.equal(begin(40_002).session, undefined);
  assert.equal(udp.counters.closing, 1);
  await udp.abort();
  assert.equal(again.program.hasEnded, true);
  assert.equal(host.stack.resources().udpEndpoints, 0, "no port is left in the tunnel");
});

Deno.test("another idle time holds for sessions that are under way", () => {
  const { begin, send, run, udp, setTimeouts } = site();
  const { program, session } = begin();
  send(session!, "a");
  run();
  run(500);
  udp.timeoutsChanged(setTimeouts({ udpIdleMs: 1_000 }));
  run(499);
  assert.equal(program.hasEnded, false);
  run(1);
  assert.equal(program.hasEnded, true);
});
