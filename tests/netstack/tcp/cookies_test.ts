import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/address.ts";
import {
  decodeSack,
  decodeWindowScale,
  encodeOptions,
  SynCookies,
} from "../../../netstack/tcp/cookies.ts";
import { Random } from "../../sim/random.ts";
import { Script } from "./script.ts";

const LOCAL = IpAddress.v4(10, 0, 0, 1);
const REMOTE = IpAddress.v4(10, 0, 0, 2);

function cookies(): SynCookies {
  const random = new Random(1);
  return new SynCookies((out) => random.fill(out));
}

Deno.test("past the backlog a SYN is answered by cookie and nothing is kept (RFC 4987 §3.6)", () => {
  const t = new Script({ backlog: 0, sack: true, timestamps: true, windowScale: true });
  t.listen();
  t.in("S 0 mss 1460 sackok wscale 7 ts 500 0");
  const answer = t.out("S. 0 ack 1 mss 1460 sackok wscale 7");
  assert.deepEqual([t.tcp.connectionCount, t.tcp.halfOpenCount, t.tcp.timers], [0, 0, 0]);
  t.wait(100);
  t.in(`P. 1:101 ack 1 win 1000 ts 501 ${answer.ts![0]}`);
  assert.equal(t.endpoint!.state, "established");
  t.read(1, 101);
  // Everything agreed on in the SYN holds.
  const { mss, sendWindow } = t.endpoint!.info();
  assert.deepEqual([mss, sendWindow], [1448, 1000 << 7]);
  t.drop();
  t.in(`. 201:301 ack 1 ts 502 ${answer.ts![0]}`);
  t.out(". 1 ack 101 sack 201:301");
});

Deno.test("a client without timestamps has its segment size, and no other option", () => {
  const t = new Script({ backlog: 0, sack: true, timestamps: true, windowScale: true });
  t.listen();
  t.in("S 0 mss 1300 sackok wscale 7");
  const answer = t.out("S. 0 ack 1");
  assert.deepEqual([answer.sackok, answer.wscale, answer.ts], [false, undefined, undefined]);
  t.in(". 1 ack 1 win 1000");
  assert.deepEqual([t.endpoint!.info().mss, t.endpoint!.info().sendWindow], [1300, 1000]);
});

Deno.test("an ACK that answers no cookie is reset", () => {
  const t = new Script({ backlog: 0 });
  t.listen();
  t.in("S 0 mss 1460");
  t.out("S. 0 ack 1");
  t.in(". 1 ack 2");
  assert.equal(t.drop()[0]!.flags, "R");
  // The right one, but of another client.
  t.peerPort++;
  t.in(". 1 ack 1");
  assert.equal(t.drop()[0]!.flags, "R");
  assert.equal(t.tcp.connectionCount, 0);
});

Deno.test("a cookie is good for this flow, this number and two minutes", () => {
  const jar = cookies();
  const made = jar.make(LOCAL, 80, REMOTE, 4000, 77, 1460, 1_000);
  const check = (port: number, irs: number, iss: number, now: number) =>
    jar.check(LOCAL, 80, REMOTE, port, irs, iss, now);
  assert.equal(check(4000, 77, made, 1_000), 1_460);
  assert.equal(check(4000, 77, made, 64_500), 1_460);
  assert.equal(check(4001, 77, made, 1_000), 0);
  assert.equal(check(4000, 78, made, 1_000), 0);
  for (let bit = 0; bit < 32; bit++) assert.equal(check(4000, 77, made ^ 1 << bit, 1_000), 0);
  jar.make(LOCAL, 80, REMOTE, 4000, 77, 1460, 128_500);
  assert.equal(check(4000, 77, made, 128_500), 0);
});

Deno.test("options survive in a timestamp that is never ahead of the clock", () => {
  const random = new Random(5);
  for (let i = 0; i < 10_000; i++) {
    const clock = random.below(2 ** 31);
    const scale = random.between(-1, 14);
    const sack = random.chance(0.5);
    const value = encodeOptions(clock, scale, sack);
    assert.deepEqual([decodeWindowScale(value), decodeSack(value)], [scale, sack]);
    const behind = (clock - value) | 0;
    assert.ok(behind >= 0 && behind < 64, `${behind} behind`);
  }
});
