import assert from "node:assert/strict";
import fc from "fast-check";
import { parseIpAddress } from "../../../proxy/address.ts";
import { Flow, FlowOwner } from "../../../proxy/flow/flow.ts";
import type { StreamError } from "../../../proxy/flow/stream.ts";
import { Splice, type SpliceOwner } from "../../../proxy/splice/splice.ts";
import { PacedWorld } from "../flow/paced_world.ts";
import { MemoryStream, type MemoryStreamOptions } from "./memory_stream.ts";

/** Two streams joined, and what becomes of them. */
class Site implements SpliceOwner {
  readonly source: MemoryStream;
  readonly target: MemoryStream;
  readonly flow: Flow;
  readonly splice: Splice;
  broken: [by: "source" | "target", error: StreamError][] = [];
  halfClosed = 0;
  ended = 0;
  clock = 0;

  constructor(source: MemoryStreamOptions, target: MemoryStreamOptions) {
    this.source = new MemoryStream(source);
    this.target = new MemoryStream(target);
    const [client, server] = [parseIpAddress("10.9.0.2")!, parseIpAddress("10.50.0.1")!];
    const owner = new FlowOwner(() => "peer");
    this.flow = new Flow("tcp", owner, client, 40_000, server, 80, 0);
    this.splice = new Splice(this.flow, this, this.source, this.target);
  }

  /** Gives both directions a rate of a byte a millisecond, in packets of some bytes. */
  limit(world: PacedWorld): void {
    const shape = { header: 1, payload: 9 };
    this.flow.up = world.pace([world.bucket(8_000)], shape);
    this.flow.down = world.pace([world.bucket(8_000), world.bucket(9_000)], shape);
    // All that was saved up is gone.
    for (const pace of [this.flow.up, this.flow.down]) while (pace.admitsPacket(100, world.now));
  }

  now(): number {
    return this.clock;
  }

  onHalfClosed(): void {
    this.halfClosed++;
  }

  onBroken(by: "source" | "target", error: StreamError): void {
    this.broken.push([by, error]);
  }

  onEnded(): void {
    this.ended++;
  }
}

const SMALL: MemoryStreamOptions = { capacity: 4, chunk: 4, lends: false };
const options = fc.record({
  capacity: fc.integer({ min: 1, max: 40 }),
  chunk: fc.integer({ min: 1, max: 40 }),
  lends: fc.boolean(),
});
const side = fc.constantFrom("source" as const, "target" as const);
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ side, send: fc.uint8Array({ minLength: 1, maxLength: 60 }) }),
  },
  { weight: 6, arbitrary: fc.record({ side, receive: fc.integer({ min: 1, max: 60 }) }) },
  { weight: 1, arbitrary: fc.record({ side, finish: fc.constant(true) }) },
);
type Step = { side: "source" | "target"; send?: Uint8Array; receive?: number; finish?: boolean };

/** Does the steps, and checks what must hold after each. */
function run(
  site: Site,
  steps: readonly Step[],
  sizes: Record<"source" | "target", number>,
  world?: PacedWorld,
) {
  const ends = {
    source: { stream: site.source, sent: [] as number[], received: [] as number[], done: false },
    target: { stream: site.target, sent: [] as number[], received: [] as number[], done: false },
  };
  const check = () => {
    for (const [name, other] of [["source", "target"], ["target", "source"]] as const) {
      const { received, stream } = ends[name];
      assert.deepEqual(received, ends[other].sent.slice(0, received.length), "in order");
      assert.ok(stream.held <= sizes[name], `${stream.held} bytes are held`);
    }
  };
  for (const { side, send, receive, finish } of steps) {
    const end = ends[side];
    if (send !== undefined && !end.done) {
      end.sent.push(...send);
      end.stream.send(send);
    } else if (receive !== undefined) end.received.push(...end.stream.receive(receive));
    else if (finish && !end.done) {
      end.done = true;
      end.stream.finish();
    }
    check();
    world?.run(site.clock = world.now + 3);
    check();
  }
  return { ends, check };
}

/** A full queue, and the rest of one chunk. */
const sizesOf = (source: MemoryStreamOptions, target: MemoryStreamOptions) => ({
  source: source.capacity + target.chunk,
  target: target.capacity + source.chunk,
});

/** Nothing limits the two, or a rate does each way. */
const world = fc.boolean().map((isPaced) => isPaced ? new PacedWorld() : undefined);

Deno.test("every byte arrives in order, both half-closes arrive behind the last, and nothing is queued without bound", () => {
  const steps = fc.array(step, { maxLength: 80 });
  fc.assert(fc.property(options, options, steps, world, (a, b, steps, world) => {
    const site = new Site(a, b);
    if (world !== undefined) site.limit(world);
    const { ends, check } = run(site, steps, sizesOf(a, b), world);
    for (const end of Object.values(ends)) if (!end.done) end.stream.finish();
    for (let i = 0; i < 10_000 && site.ended === 0; i++) {
      world?.run(site.clock = world.now + 10);
      for (const end of Object.values(ends)) end.received.push(...end.stream.receive(7));
      check();
    }
    assert.deepEqual(ends.target.received, ends.source.sent);
    assert.deepEqual(ends.source.received, ends.target.sent);
    assert.deepEqual([site.source.seen, site.target.seen], ["end", "end"]);
    assert.deepEqual([site.ended, site.broken], [1, []]);
    assert.equal(site.flow.bytesUp, ends.source.sent.length);
    assert.equal(site.flow.bytesDown, ends.target.sent.length);
  }));
});

Deno.test("a reset of either side, at any time, reaches the other: at once, or behind what it answered and closed", () => {
  const error = fc.constantFrom("reset" as const, "failed" as const);
  fc.assert(
    fc.property(options, options, fc.array(step), side, error, world, (
      a,
      b,
      steps,
      breaker,
      error,
      world,
    ) => {
      const site = new Site(a, b);
      if (world !== undefined) site.limit(world);
      const { ends } = run(site, steps, sizesOf(a, b), world);
      const other = breaker === "source" ? "target" : "source";
      const mine = ends[breaker];
      const yours = ends[other];
      if (site.ended > 0) return; // both had closed
      const wasClosed = mine.stream.isClosed;
      mine.stream.break(error);
      if (wasClosed) return;
      for (let i = 0; i < 1_000 && site.ended === 0; i++) {
        world?.run(site.clock = world.now + 10);
        yours.received.push(...yours.stream.receive(7));
      }
      assert.deepEqual([site.ended, site.broken], [1, [[breaker, error]]]);
      assert.ok(yours.stream.isClosed);
      if (!mine.done) assert.equal(yours.stream.seen, "reset");
      assert.deepEqual(yours.received, mine.sent.slice(0, yours.received.length));
    }),
  );
});

Deno.test("a target that answers, closes and then resets: the source gets the answer, then the reset", () => {
  const site = new Site(SMALL, SMALL);
  site.target.send([1, 2, 3, 4, 5, 6]);
  site.source.receive(2);
  site.target.finish();
  site.target.break("reset");
  site.source.send([9, 9, 9]); // to nobody
  assert.deepEqual([site.source.seen, site.ended], ["open", 0]);
  assert.deepEqual(site.source.receive(10), [3, 4, 5, 6]);
  assert.deepEqual([site.source.seen, site.ended], ["reset", 1]);
});

Deno.test("a rate holds an answer back, and nothing waits for a limit that is lifted", () => {
  const world = new PacedWorld();
  const site = new Site({ ...SMALL, capacity: 400 }, { ...SMALL, chunk: 300 });
  site.limit(world);
  const answer = Array.from({ length: 300 }, (_, i) => i & 255);
  site.target.send(answer);
  site.target.finish();
  world.run(site.clock = 200);
  assert.deepEqual([site.source.held, site.flow.lastActivity], [0, 0]);
  site.flow.down!.setBuckets([]);
  world.run(site.clock = 201);
  assert.deepEqual(site.source.receive(400), answer);
  assert.equal(site.flow.lastActivity, 201, "what waited has moved");
  assert.deepEqual([site.source.seen, site.flow.state], ["end", "half-closed"]);
});

Deno.test("activity is noted, and told of while one side has ended", () => {
  const site = new Site(SMALL, SMALL);
  site.clock = 5;
  site.source.send([1]);
  assert.deepEqual([site.flow.lastActivity, site.halfClosed, site.flow.state], [5, 0, "open"]);
  site.source.finish();
  assert.deepEqual([site.halfClosed, site.flow.state], [1, "half-closed"]);
  site.clock = 9;
  site.target.send([2]);
  assert.deepEqual([site.flow.lastActivity, site.halfClosed], [9, 2]);
});

Deno.test("an abort resets both sides and tells once", () => {
  const site = new Site(SMALL, SMALL);
  site.target.send([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  site.splice.abort();
  site.splice.abort();
  assert.deepEqual([site.source.seen, site.target.seen, site.ended], ["reset", "reset", 1]);
});
