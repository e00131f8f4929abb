import assert from "node:assert/strict";
import type { IpAddress } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { NameCache } from "../../../proxy/target/name_cache.ts";
import { type NameAnswer, Names, type NameSource } from "../../../proxy/target/names.ts";
import { SystemNames } from "../../../proxy/target/system_names.ts";
import { until } from "../until.ts";
import { captureLog } from "../log/capture.ts";
import { settle, TestClock } from "./clock.ts";

/** Says what a test wants, when it wants it. */
class Source implements NameSource<"AAAA" | "A"> {
  readonly questions = ["AAAA", "A"] as const;
  readonly staleMs = 86_400_000;
  readonly asked: string[] = [];
  readonly #open = new Map<string, PromiseWithResolvers<NameAnswer>>();

  ask(name: string, question: string): Promise<NameAnswer> {
    this.asked.push(`${question} ${name}`);
    const pending = Promise.withResolvers<NameAnswer>();
    this.#open.set(`${question} ${name}`, pending);
    return pending.promise;
  }

  async say(what: string, addresses: string, ttl = 60): Promise<void> {
    const list = addresses.split(" ").filter(Boolean).map((text) => parseIpAddress(text)!);
    this.#open.get(what)!.resolve({ addresses: list, ttlMs: ttl * 1000 });
    await settle();
  }

  async fail(...what: string[]): Promise<void> {
    for (const one of what) this.#open.get(one)!.reject(new Error("no name server answers"));
    await settle();
  }
}

function lab(cache = new NameCache()) {
  const clock = new TestClock();
  const source = new Source();
  const names = new Names({ source, ...clock, cache });
  /** What a flow gets: `addresses|` for each call, `!` at the last. */
  const resolve = (name: string) => {
    const got: string[] = [];
    const lookup = names.resolve(name, {
      found: (addresses: readonly IpAddress[], isLast) =>
        void got.push(addresses.join(" ") + (isLast ? "!" : "")),
    });
    return { got, cancel: () => lookup.cancel() };
  };
  return { clock, source, names, resolve, cache };
}

Deno.test("a name is asked for once, however many flows wait, and not again while it holds", async () => {
  const { clock, source, resolve } = lab();
  const flows = Array.from({ length: 50 }, () => resolve("a.test"));
  assert.deepEqual(source.asked, ["AAAA a.test", "A a.test"]);
  await source.say("AAAA a.test", "2001:db8::1", 30);
  await source.say("A a.test", "192.0.2.1", 30);
  for (const { got } of flows) assert.deepEqual(got, ["2001:db8::1 192.0.2.1!"]);
  await clock.advance(29_000);
  assert.deepEqual(resolve("a.test").got, ["2001:db8::1 192.0.2.1!"], "known: within the call");
  assert.equal(source.asked.length, 2);
  assert.equal(clock.timers, 0);
});

Deno.test("a TTL counts as at least a second and at most five minutes, that there is nothing too", async () => {
  const { clock, source, resolve } = lab();
  resolve("short.test");
  await source.say("AAAA short.test", "", 0);
  await source.say("A short.test", "192.0.2.1", 0);
  resolve("long.test");
  await source.say("AAAA long.test", "", 86_400);
  await source.say("A long.test", "192.0.2.1", 86_400);
  source.asked.length = 0;
  await clock.advance(999);
  resolve("short.test");
  assert.deepEqual(source.asked, []);
  await clock.advance(1);
  resolve("short.test");
  assert.deepEqual(source.asked, ["AAAA short.test", "A short.test"]);
  source.asked.length = 0;
  await clock.advance(298_999);
  resolve("long.test");
  assert.deepEqual(source.asked, []);
  await clock.advance(1);
  resolve("long.test");
  assert.deepEqual(source.asked, ["AAAA long.test", "A long.test"]);
});

/** The system's, and how often it was asked. */
class CountedSystem extends SystemNames {
  asked = 0;
  answered = 0;

  override ask(name: string): Promise<NameAnswer> {
    this.asked++;
    return super.ask(name).finally(() => this.answered++);
  }
}

Deno.test("what the system resolves, which tells no TTL, holds for 30 s", async () => {
  const clock = new TestClock();
  const source = new CountedSystem();
  const names = new Names({ source, ...clock });
  const got: string[] = [];
  const resolve = () =>
    void names.resolve("localhost", { found: (addresses) => void got.push(addresses.join(" ")) });
  resolve();
  await until(() => got.length === 1, "the system has answered");
  assert.match(got[0]!, /127\.0\.0\.1|::1/);
  await clock.advance(29_999);
  resolve();
  assert.deepEqual([got.length, source.asked], [2, 1]);
  await clock.advance(1);
  resolve();
  assert.equal(source.asked, 2);
  await until(() => source.answered === 2, "it has again");
  await settle();
});

Deno.test("the other family is waited for 50 ms, and handed on when it comes later", async () => {
  const { clock, source, resolve } = lab();
  const { got } = resolve("a.test");
  await source.say("A a.test", "192.0.2.1");
  await clock.advance(49);
  assert.deepEqual(got, []);
  await clock.advance(1);
  assert.deepEqual(got, ["192.0.2.1"]);
  await source.say("AAAA a.test", "2001:db8::1");
  assert.deepEqual(got, ["192.0.2.1", "2001:db8::1!"]);
});

Deno.test("that one family has nothing is no reason to go without the other", async () => {
  const { clock, source, resolve } = lab();
  const { got } = resolve("a.test");
  await source.say("AAAA a.test", "");
  await clock.advance(3_000);
  assert.deepEqual(got, []);
  await source.say("A a.test", "192.0.2.1");
  assert.deepEqual(got, ["192.0.2.1!"]);
});

Deno.test("a flow that has given up is told nothing, and the answer is kept for others", async () => {
  const { source, resolve } = lab();
  const gone = resolve("a.test");
  gone.cancel();
  await source.say("AAAA a.test", "");
  await source.say("A a.test", "192.0.2.1");
  assert.deepEqual(gone.got, []);
  assert.deepEqual(resolve("a.test").got, ["192.0.2.1!"]);
});

Deno.test("while no server answers known names go on and others fail, with one line in all", async () => {
  using log = captureLog();
  const { clock, source, resolve } = lab();
  resolve("known.test");
  await source.say("AAAA known.test", "", 5);
  await source.say("A known.test", "192.0.2.1", 5);
  await clock.advance(5_000);
  // The first waits for the answer, as long as RFC 8767 has it.
  const first = resolve("known.test");
  await clock.advance(1_799);
  assert.deepEqual(first.got, []);
  await clock.advance(51);
  assert.deepEqual(first.got, ["192.0.2.1"], "of the other family nothing is known");
  await source.fail("AAAA known.test", "A known.test");
  for (let i = 0; i < 20; i++) {
    assert.deepEqual(resolve("known.test").got, ["192.0.2.1!"], "from then on at once");
    const other = resolve(`other${i}.test`);
    await source.fail(`AAAA other${i}.test`, `A other${i}.test`);
    assert.deepEqual(other.got, ["!"]);
    assert.deepEqual(resolve(`other${i}.test`).got, ["!"], "not asked again so soon");
  }
  assert.equal(log.lines.length, 1, log.lines.join("\n"));
  assert.match(log.lines[0]!, /known\.test is not resolved: no name server answers/);
  // It is asked again, later and later, and goes on as soon as somebody answers.
  source.asked.length = 0;
  await clock.advance(10_000);
  resolve("known.test");
  assert.deepEqual(source.asked, ["AAAA known.test", "A known.test"]);
  await source.say("AAAA known.test", "");
  await source.say("A known.test", "192.0.2.2");
  assert.deepEqual(resolve("known.test").got, ["192.0.2.2!"]);
  assert.equal(log.lines.length, 2);
  assert.match(log.lines[1]!, /resolved again/);
});

Deno.test("what is known of a name is used for a day at most after its time", async () => {
  const { clock, source, resolve } = lab();
  resolve("a.test");
  await source.say("AAAA a.test", "");
  await source.say("A a.test", "192.0.2.1", 5);
  await clock.advance(5_000 + 86_400_000);
  const { got } = resolve("a.test");
  await source.fail("AAAA a.test", "A a.test");
  assert.deepEqual(got, ["!"]);
});

Deno.test("a name that is said not to be there ends at once, with one line until it is", async () => {
  using log = captureLog();
  const { clock, source, resolve } = lab();
  resolve("a.test");
  await source.say("AAAA a.test", "");
  await source.say("A a.test", "192.0.2.1", 5);
  await clock.advance(5_000);
  for (let i = 0; i < 3; i++) {
    const { got } = resolve("a.test");
    await source.say("AAAA a.test", "", 2);
    await source.say("A a.test", "", 2);
    assert.deepEqual(got, ["!"]);
    assert.deepEqual(resolve("a.test").got, ["!"]);
    await clock.advance(2_000);
  }
  assert.equal(log.lines.length, 1);
  assert.match(log.lines[0]!, /a\.test has no address/);
});

Deno.test("what is remembered is bounded, and the name not used for longest is forgotten", async () => {
  const cache = new NameCache(8);
  const { source, resolve } = lab(cache);
  for (let i = 0; i < 5; i++) {
    resolve(`n${i}.test`);
    await source.say(`AAAA n${i}.test`, "");
    await source.say(`A n${i}.test`, "192.0.2.1");
    resolve("n0.test");
    assert.ok(cache.size <= 8, `${cache.size} entries`);
  }
  source.asked.length = 0;
  resolve("n0.test");
  resolve("n4.test");
  assert.deepEqual(source.asked, []);
  resolve("n1.test");
  assert.deepEqual(source.asked, ["AAAA n1.test", "A n1.test"]);
});

Deno.test("nobody is called once names are closed", async () => {
  const { source, names, resolve } = lab();
  const { got } = resolve("a.test");
  names.close();
  await source.fail("AAAA a.test", "A a.test");
  assert.deepEqual(got, []);
});

Deno.test("it says when a name is worth asking for again", async () => {
  const { clock, source, names, resolve } = lab();
  resolve("a.test");
  await source.say("AAAA a.test", "2001:db8::1", 30);
  await source.say("A a.test", "192.0.2.1", 20);
  assert.equal(names.renewAt("a.test"), clock.now() + 20_000);
  await clock.advance(20_000);
  resolve("a.test");
  await source.fail("A a.test");
  assert.equal(names.renewAt("a.test"), clock.now() + 1_000);
});
