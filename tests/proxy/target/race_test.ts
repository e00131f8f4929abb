import assert from "node:assert/strict";
import { parseIpAddress } from "../../../proxy/address.ts";
import type { ByteStream, Dialer, DialError, DialHandler } from "../../../proxy/flow/stream.ts";
import { Race } from "../../../proxy/target/race.ts";
import { TestClock } from "./clock.ts";

class Lab {
  readonly clock = new TestClock();
  /** Attempts as they begin, and what is given up. */
  readonly events: string[] = [];
  readonly running = new Map<string, DialHandler>();
  result: string | undefined;
  readonly race: Race;

  constructor() {
    const dialer: Dialer = {
      dial: (address, port, handler) => {
        this.events.push(`${this.clock.now() - 1_000} ${address}:${port}`);
        this.running.set(`${address}`, handler);
        return {
          abort: () => {
            this.running.delete(`${address}`);
            this.events.push(`abort ${address}`);
          },
        };
      },
    };
    this.race = new Race({
      dialer,
      port: 80,
      after: this.clock.after,
      connected: (stream, address) => this.result = `${address} ${stream === STREAM}`,
      failed: (why) => this.result = why,
    });
  }

  add(text: string, isLast = true): void {
    this.race.add(text.split(" ").filter(Boolean).map((one) => parseIpAddress(one)!), isLast);
  }

  connect(address: string): void {
    const handler = this.running.get(address)!;
    this.running.delete(address);
    handler.connected(STREAM);
  }

  fail(address: string, why: DialError): void {
    const handler = this.running.get(address)!;
    this.running.delete(address);
    handler.dialFailed(why);
  }
}

const STREAM = {} as ByteStream;

Deno.test("attempts begin 250 ms apart, with families in turn, and the first that connects wins", async () => {
  const lab = new Lab();
  lab.add("2001:db8::1 2001:db8::2 192.0.2.1 192.0.2.2");
  await lab.clock.advance(700);
  assert.deepEqual(lab.events, ["0 2001:db8::1:80", "250 192.0.2.1:80", "500 2001:db8::2:80"]);
  lab.events.length = 0;
  lab.connect("192.0.2.1");
  assert.equal(lab.result, "192.0.2.1 true");
  assert.deepEqual(lab.events, ["abort 2001:db8::1", "abort 2001:db8::2"]);
  await lab.clock.advance(10_000);
  assert.equal(lab.events.length, 2, "nothing begins any more");
  assert.equal(lab.clock.timers, 0);
});

Deno.test("one that fails has the next begin at once", async () => {
  const lab = new Lab();
  lab.add("2001:db8::1 192.0.2.1");
  await lab.clock.advance(5);
  lab.fail("2001:db8::1", "net");
  assert.deepEqual(lab.events, ["0 2001:db8::1:80", "5 192.0.2.1:80"]);
  lab.connect("192.0.2.1");
  assert.equal(lab.result, "192.0.2.1 true");
});

Deno.test("the other family may come later, and goes next", async () => {
  const lab = new Lab();
  lab.add("192.0.2.1 192.0.2.2", false);
  await lab.clock.advance(100);
  lab.add("2001:db8::1", true);
  await lab.clock.advance(150);
  assert.deepEqual(lab.events, ["0 192.0.2.1:80", "250 2001:db8::1:80"]);
});

Deno.test("it is over when all have failed and no more come, with the reason that says most", () => {
  const lab = new Lab();
  lab.add("192.0.2.1 192.0.2.2", false);
  lab.fail("192.0.2.1", "refused");
  lab.fail("192.0.2.2", "net");
  assert.equal(lab.result, undefined, "the other family is still to come");
  lab.add("2001:db8::1");
  lab.fail("2001:db8::1", "timeout");
  assert.equal(lab.result, "refused");
  assert.equal(lab.clock.timers, 0);
});

Deno.test("no address at all is a host that cannot be reached", () => {
  const lab = new Lab();
  lab.add("", false);
  assert.equal(lab.result, undefined);
  lab.add("");
  assert.equal(lab.result, "host");
});

Deno.test("whoever gives up leaves no attempt and no timer", async () => {
  const lab = new Lab();
  lab.add("192.0.2.1 192.0.2.2");
  await lab.clock.advance(250);
  lab.race.abort();
  assert.equal(lab.running.size, 0);
  assert.equal(lab.clock.timers, 0);
  lab.add("192.0.2.3");
  assert.equal(lab.running.size, 0);
  assert.equal(lab.result, undefined);
});

Deno.test("of many addresses so many are tried and no more", () => {
  const lab = new Lab();
  lab.add(Array.from({ length: 40 }, (_, i) => `192.0.2.${i}`).join(" "));
  for (let i = 0; lab.running.size > 0; i++) lab.fail(`192.0.2.${i}`, "host");
  assert.equal(lab.events.length, 16);
  assert.equal(lab.result, "host");
});

Deno.test("an address that comes twice is tried once, and the only one is not waited for", () => {
  const lab = new Lab();
  lab.add("192.0.2.1 192.0.2.1", false);
  lab.add("192.0.2.1");
  assert.deepEqual(lab.events, ["0 192.0.2.1:80"]);
  lab.fail("192.0.2.1", "refused");
  assert.equal(lab.result, "refused");
  const other = new Lab();
  other.add("192.0.2.1");
  assert.equal(other.clock.timers, 0);
});
