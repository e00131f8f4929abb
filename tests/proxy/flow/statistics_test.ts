import assert from "node:assert/strict";
import fc from "npm:fast-check@4.10.2";
import { parseIpAddress } from "../../../proxy/address.ts";
import { Flow, type FlowCarrier, type FlowEnd, FlowOwner } from "../../../proxy/flow/flow.ts";
import { NetworkTable } from "../../../proxy/flow/networks.ts";
import { type Rule, ruleKey, type RuleOptions, RuleState } from "../../../proxy/flow/rule.ts";
import { FlowStatistics } from "../../../proxy/flow/statistics.ts";
import { FlowTable } from "../../../proxy/flow/table.ts";

const ip = (text: string) => parseIpAddress(text)!;

/** Flows of two peers in a table, with carriers that know the round trip. */
function lab(networks?: NetworkTable, table: FlowTable = new FlowTable()) {
  const statistics = new FlowStatistics(table, networks);
  const peers = ["laptop", "phone"].map((name) => new FlowOwner(() => name));
  const begin = (
    peer: FlowOwner,
    target: string,
    now = 0,
    protocol: "tcp" | "udp" = "tcp",
    rule?: Rule,
  ) => {
    const flow = new Flow(protocol, peer, ip("10.9.0.2"), 40_000, ip(target), 80, now);
    flow.dialled = flow.destination;
    flow.rule = rule;
    flow.carrier = {
      inspect: ({ packetsUp, packetsDown }: Flow) => ({
        state: "open",
        rttMs: 20,
        retransmits: 2,
        outOfOrder: 1,
        packetsUp,
        packetsDown,
      }),
      targetRttMs: () => protocol === "udp" ? 0 : 5,
    } as unknown as FlowCarrier;
    table.add(flow);
    return flow;
  };
  return { table, statistics, peers, begin };
}

Deno.test("peers, networks and all together have what their flows did, ended or not", () => {
  const { table, statistics, peers, begin } = lab();
  const [laptop, phone] = peers as [FlowOwner, FlowOwner];
  const first = begin(laptop, "10.50.1.1");
  const second = begin(laptop, "10.50.2.1");
  const third = begin(phone, "10.50.1.9", 0, "udp");
  [first.bytesUp, first.packetsUp] = [100, 3];
  [second.bytesDown, second.packetsDown] = [5_000, 4];
  [third.bytesUp, third.packetsUp] = [7, 1];
  first.dialMs = 12;
  table.open(first);
  table.remove(first, "closed");
  statistics.refused(third, "unsafe", undefined);
  statistics.settle();
  const figures = (totals = statistics.all) => {
    const { flows, live, refused, bytesUp, bytesDown, packetsUp, packetsDown, retransmits } =
      totals;
    return [flows, live, refused, bytesUp, bytesDown, packetsUp, packetsDown, retransmits];
  };
  assert.deepEqual(figures(), [3, 2, 1, 107, 5_000, 4, 4, 6]);
  assert.deepEqual(figures(laptop.totals), [2, 1, 0, 100, 5_000, 3, 4, 4]);
  assert.deepEqual(figures(phone.totals), [1, 1, 1, 7, 0, 1, 0, 2]);
  assert.deepEqual(figures(statistics.networks.of(ip("10.50.1.0"))), [2, 1, 0, 107, 0, 4, 0, 4]);
  assert.deepEqual(statistics.begun, { tcp: 2, udp: 1, icmp: 0 });
  assert.deepEqual(statistics.endings.tcp, { closed: 1 });
  assert.deepEqual(statistics.refusals.udp, { unsafe: 1 });
  assert.deepEqual(laptop.totals!.stats(0).dial, { count: 1, meanMs: 12, maxMs: 12 });
  assert.deepEqual([statistics.dialTimes.count, statistics.roundTrips.count], [1, 1]);
  for (const totals of [statistics.all, laptop.totals!, statistics.networks.of(ip("10.50.1.0"))]) {
    const { rtt, targetRtt } = totals.stats(0);
    assert.deepEqual(rtt, { count: 1, meanMs: 20, maxMs: 20 });
    assert.deepEqual(targetRtt, { count: 1, meanMs: 5, maxMs: 5 });
  }
  const { count, sumMs } = statistics.targetRoundTrips.stats();
  assert.deepEqual([count, sumMs], [1, 5]);
  statistics.settle();
  assert.deepEqual(figures(), [3, 2, 1, 107, 5_000, 4, 4, 6], "counted once");
  table.remove(third, "idle");
  assert.equal(phone.totals!.targetRtt.count, 0, "nobody measures UDP's");
});

Deno.test("while bytes move there is a sample a second, and none when nothing does", () => {
  const { statistics, peers, begin } = lab();
  const flow = begin(peers[0]!, "10.50.1.1");
  const samples: number[] = [];
  // As the engine does: asked twice a turn, a turn each 100 ms while there is traffic or a timer.
  let timer = 0;
  for (let now = 0; now <= 20_000; now += 100) {
    const isTraffic = now >= 2_000 && now < 5_000;
    if (isTraffic) flow.bytesUp += 100;
    if (!isTraffic && now < timer) continue;
    if (statistics.pollTimeout() <= now) {
      statistics.handleTimeout(now);
      samples.push(now);
    }
    timer = statistics.pollTimeout();
    if (now === 4_900) {
      const { up } = flow.account!.rates!;
      assert.ok(up > 900 && up < 1_100, `${up} bytes per second`);
    }
  }
  assert.deepEqual(samples, [0, 2_000, 3_000, 4_000, 5_000, 6_000]);
  assert.equal(flow.account!.rates!.isMoving, false);
  const rates = peers[0]!.totals!.rates!.stats(6_000);
  assert.equal(rates.upLastSecond, 0);
  assert.ok(rates.upLastMinute > 0);
});

Deno.test("round trips to both sides of a flow that goes on are counted once a minute", () => {
  const { statistics, peers, begin } = lab();
  const flow = begin(peers[0]!, "10.50.1.1");
  for (let now = 0; now < 120_000; now += 1_000) {
    flow.bytesUp += 100;
    if (statistics.pollTimeout() <= now) statistics.handleTimeout(now);
  }
  const { rtt, targetRtt } = peers[0]!.totals!.stats(120_000);
  assert.deepEqual([rtt.count, rtt.meanMs], [2, 20]);
  assert.deepEqual([targetRtt.count, targetRtt.meanMs], [2, 5]);
});

Deno.test("a flow counts with the rule that has it, and what it moves later with the one that takes over", () => {
  const { table, statistics, peers, begin } = lab();
  const rule = (number: number, port: number): Rule => {
    const options: RuleOptions = {
      from: [],
      to: [],
      ports: [{ protocol: "tcp", first: port, last: port }],
      action: "allow",
      warmConnections: 0,
    };
    return { ...options, number, state: new RuleState(ruleKey(options)) };
  };
  const [first, second] = [rule(1, 80), rule(2, 81)];
  const flow = begin(peers[0]!, "10.50.1.1", 0, "tcp", first);
  flow.bytesUp = 10;
  statistics.settle();
  flow.rule = second;
  flow.bytesUp = 15;
  statistics.settle();
  const figures = ({ state }: Rule) => {
    const { flows, live, bytesUp } = state.totals!;
    return [flows, live, bytesUp];
  };
  assert.deepEqual([figures(first), figures(second)], [[1, 0, 10], [1, 1, 5]]);
  table.refuse(flow, "rejected");
  table.remove(flow, "closed");
  assert.deepEqual(figures(second), [1, 0, 5]);
  assert.equal(second.state.totals!.refused, 1);
  assert.equal(ruleKey({ ...first, rate: 1_000, maxConnections: 5 }), first.state.key);
});

Deno.test("a flow that outlives its network's own figures goes on counting in the rest", () => {
  const { table, statistics, peers, begin } = lab(new NetworkTable(4));
  const old = begin(peers[0]!, "10.50.0.1");
  for (let i = 1; i <= 4; i++) begin(peers[0]!, `10.50.${i}.1`).bytesUp = 1_000;
  statistics.settle();
  for (let i = 5; i <= 6; i++) begin(peers[0]!, `10.50.${i}.1`);
  old.bytesUp = 77;
  table.remove(old, "closed");
  assert.ok(statistics.networks.rest.bytesUp >= 77);
  statistics.settle();
  let [bytes, live] = [statistics.networks.rest.bytesUp, statistics.networks.rest.live];
  for (const network of statistics.networks.networks()) {
    bytes += network.bytesUp;
    live += network.live;
  }
  assert.deepEqual([bytes, live], [4_077, 6]);
});

Deno.test("whatever flows do and whenever it is looked at, groups add up to what the flows did", () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("begin" as const), peer: fc.nat(1), network: fc.nat(9) }),
    fc.record({ do: fc.constant("move" as const), flow: fc.nat(20), bytes: fc.nat(10_000) }),
    fc.record({ do: fc.constant("end" as const), flow: fc.nat(20) }),
    fc.record({ do: fc.constantFrom("sample" as const, "settle" as const) }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
    const { table, statistics, peers, begin } = lab(new NetworkTable(3));
    const flows: Flow[] = [];
    let now = 0;
    for (const each of steps) {
      now += 300;
      const flow = "flow" in each ? flows[each.flow % Math.max(1, flows.length)] : undefined;
      if (each.do === "begin") flows.push(begin(peers[each.peer]!, `10.50.${each.network}.1`, now));
      else if (each.do === "move" && flow?.end === undefined && flow !== undefined) {
        flow.bytesDown += each.bytes;
        flow.packetsDown++;
      } else if (each.do === "end" && flow !== undefined) {
        table.remove(flow, "closed" satisfies FlowEnd);
      } else if (each.do === "sample" && statistics.pollTimeout() <= now) {
        statistics.handleTimeout(now);
      } else if (each.do === "settle") statistics.settle();
    }
    statistics.settle();
    const done = (field: "bytesDown" | "packetsDown", of: readonly Flow[] = flows) =>
      of.reduce((total, flow) => total + flow[field], 0);
    const live = flows.filter(({ end }) => end === undefined).length;
    assert.equal(statistics.all.bytesDown, done("bytesDown"));
    assert.equal(statistics.all.packetsDown, done("packetsDown"));
    assert.equal(statistics.all.live, live);
    for (const peer of peers) {
      const own = flows.filter(({ owner }) => owner === peer);
      assert.equal(peer.totals?.bytesDown ?? 0, done("bytesDown", own));
    }
    const networks = [statistics.networks.rest, ...statistics.networks.networks()];
    assert.equal(networks.reduce((sum, { bytesDown }) => sum + bytesDown, 0), done("bytesDown"));
    assert.equal(networks.reduce((sum, network) => sum + network.live, 0), live);
  }));
});

/** A table that counts the flows that it shows, and starts again whenever it is asked how many. */
class CountedTable extends FlowTable {
  #shown = 0;

  override get live(): Iterable<Flow> {
    return this.#counted(super.live);
  }

  *#counted(flows: Iterable<Flow>): Generator<Flow, void, undefined> {
    for (const flow of flows) {
      this.#shown++;
      yield flow;
    }
  }

  shown(): number {
    const shown = this.#shown;
    this.#shown = 0;
    return shown;
  }
}

Deno.test("a sample of thousands of flows is taken in steps, and nothing that begins, moves and ends meanwhile is missing", () => {
  const table = new CountedTable();
  const { statistics, peers, begin } = lab(undefined, table);
  const flows: Flow[] = [];
  let [up, down, longest, samples] = [0, 0, 0, 0];
  let state = 1;
  const random = (below: number) => {
    state = Math.imul(state, 1_664_525) + 1_013_904_223 | 0;
    return (state >>> 8) % below;
  };
  const add = (now: number) =>
    flows.push(begin(peers[random(2)]!, `10.50.${random(4)}.1`, now, "udp"));
  for (let i = 0; i < 4_000; i++) add(0);
  const steady = begin(peers[0]!, "10.60.0.1");
  let timer = 0;
  for (let now = 0; now < 12_000; now++) {
    if (now < 10_000) {
      steady.bytesUp += 100;
      up += 100;
      for (let i = 0; i < 20; i++) {
        const flow = flows[random(flows.length)]!;
        const bytes = random(1_500);
        flow.bytesUp += bytes;
        flow.bytesDown += 2 * bytes;
        flow.packetsUp++;
        up += bytes;
        down += 2 * bytes;
      }
      if (random(4) === 0) add(now);
      if (random(4) === 0) table.remove(flows.splice(random(flows.length), 1)[0]!, "closed");
    }
    if (now >= timer && statistics.pollTimeout() <= now) {
      table.shown();
      statistics.handleTimeout(now);
      const shown = table.shown();
      longest = Math.max(longest, shown);
      if (shown > 0) samples++;
    }
    timer = statistics.pollTimeout();
    if (now === 8_500) {
      const rate = steady.account!.rates!.stats(now);
      assert.ok(Math.abs(rate.upLastSecond / 100_000 - 1) < 0.01, JSON.stringify(rate));
      const all = statistics.all.rates!.stats(now);
      assert.ok(Math.abs(all.upLastSecond / (up / now * 1_000) - 1) < 0.1, JSON.stringify(all));
    }
  }
  assert.ok(longest <= 1_024, `${longest} flows in one step`);
  assert.ok(samples > 40, `${samples} steps`);
  // Nobody has asked for the totals to be settled.
  const { all } = statistics;
  assert.deepEqual([all.bytesUp, all.bytesDown], [up, down]);
  const [laptop, phone] = peers.map(({ totals }) => totals!);
  assert.equal(laptop!.bytesUp + phone!.bytesUp, up);
  assert.equal(all.live, table.size);
});

Deno.test("totals of more flows than may be looked at in one go are those of the last sample", () => {
  const { statistics, peers, begin } = lab();
  const flows = Array.from({ length: 16_384 }, () => begin(peers[0]!, "10.50.1.1"));
  for (const flow of flows) flow.bytesUp = 1;
  statistics.settle();
  assert.equal(statistics.all.bytesUp, 16_384);
  flows.push(begin(peers[0]!, "10.50.1.1"));
  for (const flow of flows) flow.bytesUp = 3;
  statistics.settle();
  assert.equal(statistics.all.bytesUp, 16_384);
  for (let now = 1_000; now < 1_100; now++) statistics.handleTimeout(now);
  assert.equal(statistics.all.bytesUp, 3 * 16_385);
});

Deno.test("totals of thousands of flows are settled in steps", () => {
  const table = new CountedTable();
  const { statistics, peers, begin } = lab(undefined, table);
  for (let i = 0; i < 5_000; i++) begin(peers[0]!, "10.50.1.1").packetsUp = 2;
  let steps = 0;
  for (const _ of statistics.settleInSteps()) {
    steps++;
    assert.ok(table.shown() <= 1_024);
  }
  assert.equal(steps, 4);
  assert.equal(statistics.all.packetsUp, 10_000);
});
