/** Captures of a simulated gateway: what its packets were is known. */

import assert from "node:assert/strict";
import { CaptureError } from "../../../proxy/capture/error.ts";
import { BlockSplitter } from "../../../proxy/capture/blocks.ts";
import { type CaptureOptions, Captures } from "../../../proxy/capture/captures.ts";
import { ENHANCED_PACKET, packetIn } from "../../../proxy/capture/pcapng.ts";
import { ip } from "../../netstack/packets.ts";
import { EchoClient, Pinger } from "../../sim/applications.ts";
import type { SimEngineOptions } from "../../sim/engine.ts";
import { site } from "../../sim/engine_site.ts";
import { ECHO, SimTargets } from "../../sim/targets.ts";
import { drain, readPcapng } from "./pcapng_reader.ts";
import { hasTshark, tshark } from "./tshark.ts";

const TARGET = ip("10.70.0.1");
/** Of the simulated clock's 0, ms. */
const EPOCH = Date.UTC(2026, 0, 1);

function lab(client: Partial<SimEngineOptions> = { impairments: { delay: 10 } }) {
  const { world, sim, gateway, clients: [laptop] } = site(1, [client]);
  const proxy = gateway.forward(new SimTargets(sim), ["10.70.0.0/16"]);
  const [hub] = laptop!.engine.device.peers();
  hub!.addAllowedIp({ address: TARGET.bytes, length: 16 });
  laptop!.route("10.70.0.0/16", laptop!.engine.nic1);
  const [peer] = gateway.engine.device.peers();
  peer!.name = "laptop";
  const { engine } = gateway;
  const captures = new Captures(
    { engine, proxy, port: 51820, listenAddress: "192.0.2.1" },
    () => EPOCH + sim.now,
  );
  const transfer = (bytes: number) => {
    const client = new EchoClient(laptop!.connectTcp(TARGET, ECHO), bytes, 1);
    assert.ok(sim.runUntil(() => client.hasEnded, 120_000), `${client.error}`);
    assert.ok(client.isRight);
    sim.runFor(5_000);
  };
  const record = async (options: CaptureOptions, run: () => void) => {
    const capture = captures.open(options);
    run();
    capture.stop();
    const bytes = await drain(capture);
    return { bytes, ...readPcapng(bytes) };
  };
  return { world, sim, engine, proxy, captures, laptop: laptop!, transfer, record };
}

Deno.test("a capture has every packet of the tunnel once, with its time, direction, peer and flow", async () => {
  const { engine, record, transfer, captures, sim } = lab();
  const before = { ...engine.stack.counters.ip };
  const file = await record({}, () => transfer(100_000));
  const { ip } = engine.stack.counters;
  const count = (wanted: string) =>
    file.packets.filter(({ direction }) => direction === wanted).length;
  assert.equal(count("in"), ip.received - before.received);
  assert.equal(count("out"), ip.sent - before.sent);
  assert.deepEqual(file.interfaces, [{ name: "nic1", snapLength: 0 }]);
  const { length } = file.packets;
  assert.deepEqual(file.statistics.slice(-1), [{
    at: "nic1",
    seen: length,
    accepted: length,
    dropped: 0,
  }]);
  assert.equal(file.secrets, "");
  const comments = new Set(file.packets.map(({ comment }) => comment));
  assert.equal(comments.size, 1, `${[...comments]}`);
  assert.match([...comments][0]!, /^peer laptop, flow [0-9a-f]{8}$/);
  for (const { data, original, time } of file.packets) {
    assert.equal(data.length, original);
    assert.equal(data[2]! << 8 | data[3]!, original);
    const ms = Number(time / 1_000_000n) - EPOCH;
    assert.ok(ms >= 0 && ms <= sim.now, `${ms}`);
  }
  assert.equal(captures.size, 0);
  assert.ok(engine.nic1.link === engine.link, "the tap is gone");
});

Deno.test("the packet that a flow is made because of has its id too, by every protocol and at every place", async () => {
  const { record, laptop, sim, proxy } = lab();
  const ids: string[] = [];
  const firsts = (comments: readonly (string | undefined)[]) =>
    assert.deepEqual(
      comments.map((comment) => /^peer laptop, flow ([0-9a-f]{8})$/.exec(comment!)?.[1]).sort(),
      ids.toSorted(),
    );
  proxy.admission.table.observe({
    began: ({ id }) => void ids.push(id.slice(0, 8)),
    ended: () => {},
  });
  const file = await record({ at: ["nic1", "nic2"], snapLength: 20 }, () => {
    laptop.connectTcp(TARGET, ECHO);
    const pinger = new Pinger(laptop.engine, TARGET, 5000);
    pinger.ask(100);
    sim.runFor(500);
  });
  assert.equal(ids.length, 2);
  for (const at of ["nic1", "nic2"]) {
    const seen = new Set<number>();
    const first = file.packets.filter((packet) => {
      const protocol = packet.data[9]!;
      if (packet.at !== at || packet.direction !== "in" || seen.has(protocol)) return false;
      seen.add(protocol);
      return true;
    });
    firsts(first.map(({ comment }) => comment));
  }
});

Deno.test("what no flow is made of has its peer alone, and nothing behind it", async () => {
  const { record, laptop, sim } = lab();
  const file = await record({}, () => {
    const pinger = new Pinger(laptop.engine, ip("10.9.0.1"), 5000); // the gateway's own: no flow
    pinger.ask(100);
    sim.runFor(500);
  });
  assert.ok(file.packets.length > 0);
  const blocks: Uint8Array[] = [];
  new BlockSplitter().push(file.bytes, (piece, all) => {
    for (const { type, start, end } of all) {
      if (type === ENHANCED_PACKET) blocks.push(piece.slice(start, end));
    }
  });
  assert.equal(blocks.length, file.packets.length);
  for (const block of blocks) assert.equal(packetIn(block).comment, "peer laptop");
  for (const { comment } of file.packets) assert.equal(comment, "peer laptop");
  if (!hasTshark()) return;
  const comments = await tshark(file.bytes, "-T", "fields", "-e", "frame.comment");
  assert.deepEqual(new Set(comments), new Set(["peer laptop"]));
});

Deno.test("NIC 2 shows what its forwarders take and answer, and nothing that is not theirs", async () => {
  const { record, transfer, laptop, sim } = lab();
  const file = await record({ at: ["nic2"] }, () => {
    transfer(20_000);
    const pinger = new Pinger(laptop.engine, ip("10.9.0.1"), 5000); // the gateway's own
    pinger.ask(4);
    sim.runFor(1_000);
  });
  const all = await lab().record({ at: ["nic1", "nic2"] }, () => {});
  assert.deepEqual(all.interfaces.map(({ name }) => name), ["nic1", "nic2"]);
  assert.ok(file.packets.length > 20);
  for (const { data, direction } of file.packets) {
    const target = data.subarray(direction === "in" ? 16 : 12).subarray(0, 4);
    assert.deepEqual([...target], [...TARGET.bytes]);
  }
  assert.ok(new Set(file.packets.map(({ direction }) => direction)).size === 2);
});

Deno.test("two captures at once, each with its own filter and length; a packet is cut off and its length told", async () => {
  const { captures, transfer, sim, laptop } = lab();
  const some = captures.open({ filter: "icmp or udp", snapLength: 30 });
  const others = captures.open({ filter: "tcp" });
  transfer(10_000);
  const pinger = new Pinger(laptop.engine, TARGET, 5000);
  pinger.ask(100);
  sim.runFor(1_000);
  assert.equal(captures.size, 2);
  some.stop();
  others.stop();
  const [udp, tcp] = [readPcapng(await drain(some)), readPcapng(await drain(others))];
  assert.deepEqual(udp.packets.map(({ data, original }) => [data.length, original, data[9]]), [
    [30, 128, 17],
    [30, 128, 17],
  ]);
  assert.ok(tcp.packets.length > 10 && tcp.packets.every(({ data }) => data[9] === 6));
  const { seen, accepted } = udp.statistics.at(-1)!;
  assert.ok(seen > accepted && accepted === 2);
});

Deno.test("a filter by peer and by flow picks theirs, both ways", async () => {
  const { captures, transfer, sim, laptop, proxy } = lab();
  const all = captures.open({ filter: "peer laptop" });
  const client = new EchoClient(laptop.connectTcp(TARGET, ECHO), 40_000, 1);
  sim.runUntil(() => proxy.admission.table.size > 0, 10_000);
  const [flow] = proxy.admission.table.flows();
  const one = captures.open({ filter: `flow ${flow!.id.slice(0, 6)}` });
  transfer(20_000);
  assert.ok(client.isRight);
  all.stop();
  one.stop();
  const [ofPeer, ofFlow] = [readPcapng(await drain(all)), readPcapng(await drain(one))];
  assert.equal(ofPeer.packets.length, ofPeer.statistics.at(-1)!.seen);
  assert.ok(ofFlow.packets.length > 10 && ofFlow.packets.length < ofPeer.packets.length);
  assert.deepEqual([...new Set(ofFlow.packets.map(({ comment }) => comment))], [
    `peer laptop, flow ${flow!.id.slice(0, 8)}`,
  ]);
  assert.equal(new Set(ofFlow.packets.map(({ direction }) => direction)).size, 2);
});

Deno.test("a reader that does not read loses packets, which are counted where they are missing; the tunnel loses none", async () => {
  const { captures, transfer, engine } = lab();
  const capture = captures.open({ bufferBytes: 20_000 });
  transfer(200_000);
  const { seen, dropped } = capture.counts;
  assert.ok(dropped > 50);
  // The header, figures, and what the buffer holds.
  const pieces: Uint8Array[] = [];
  for (let i = 0; i < 3; i++) pieces.push((await capture.read())!.slice());
  assert.ok(pieces[2]!.length > 10_000 && pieces[2]!.length <= 20_000);
  const next = capture.read(); // the reader is back
  transfer(1_000);
  pieces.push((await next)!.slice());
  capture.stop();
  pieces.push(await drain(capture));
  const file = readPcapng(Uint8Array.from(pieces.flatMap((piece) => [...piece])));
  const [final] = file.statistics.slice(-1);
  assert.equal(final!.dropped, dropped, "none since");
  assert.equal(file.packets.length, final!.accepted - final!.dropped);
  assert.ok(final!.seen > seen);
  const counted = file.packets.reduce((sum, { drops }) => sum + drops, 0);
  assert.equal(counted, dropped, "each gap says how many it was");
  assert.equal(engine.counters.faults, 0);
});

Deno.test("wrong options each have their line", () => {
  const { captures } = lab();
  const cases: [CaptureOptions, CaptureError["option"], RegExp][] = [
    [{ at: ["nic3"] }, "at", /^"nic3": there is none, expected nic1, nic2, outer/],
    [{ at: ["link:phone"] }, "at", /^"link:phone": there is none, expected .*; no link is there$/],
    [{ filter: "prot tcp" }, "filter", /^"prot" is unknown, expected .*\n {2}prot tcp\n {2}\^$/],
    [{ filter: "peer nobody" }, "filter", /peer "nobody": unknown, expected a peer's name/],
    [{ filter: "flow 00" }, "filter", /flow "00": there is none, expected one of show flows/],
    [{ at: ["outer"], filter: "not peer laptop" }, "filter", /^peer is not known of WireGuard's/],
    [{ snapLength: 70_000 }, "snap", /^70000 is out of range, expected 0 to 65535/],
    [{ keys: true }, "keys", /expected --at outer/],
  ];
  for (const [options, option, message] of cases) {
    assert.throws(() => captures.open(options), (error) => {
      assert.ok(error instanceof CaptureError);
      assert.equal(error.option, option);
      assert.match(error.message, message);
      return true;
    });
  }
  const open = Array.from({ length: 8 }, () => captures.open({}));
  assert.throws(() => captures.open({}), /8 captures run already/);
  open.forEach((capture) => capture.close());
  assert.equal(captures.size, 0);
});

Deno.test({
  name: "tshark reads it without a complaint, and finds the retransmissions that the loss made",
  ignore: !hasTshark(),
  async fn() {
    const { engine, record, transfer } = lab({ impairments: { delay: 10, loss: 0.05 } });
    const before = engine.stack.counters.tcp.retransmits;
    const { bytes, packets } = await record({}, () => transfer(400_000));
    const resent = engine.stack.counters.tcp.retransmits - before;
    assert.ok(resent > 0);
    const lines = await tshark(
      bytes,
      ...["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-T", "fields"],
      ...["-e", "frame.interface_name", "-e", "_ws.malformed", "-e", "ip.checksum.status"],
      ...["-e", "tcp.checksum.status", "-e", "ip.src", "-e", "tcp.analysis.retransmission"],
      ...["-e", "tcp.analysis.fast_retransmission", "-e", "tcp.analysis.spurious_retransmission"],
      ...["-e", "tcp.analysis.out_of_order"],
    );
    assert.equal(lines.length, packets.length);
    const fields = lines.map((line) => line.split("\t"));
    for (const [at, malformed, ofIp, ofTcp] of fields) {
      assert.deepEqual([at, malformed, ofIp, ofTcp], ["nic1", "", "1", "1"]);
    }
    // Its words differ by how soon it comes, but every one is a segment that was there before.
    const found = fields.filter(([, , , , source, ...again]) =>
      source === `${TARGET}` && again.some((mark) => mark !== "")
    );
    assert.equal(found.length, resent);
  },
});

Deno.test({
  name: "outside, with keys, tshark reads what is inside; without, it sees WireGuard alone",
  ignore: !hasTshark(),
  async fn() {
    for (const keys of [false, true]) {
      const { record, transfer } = lab();
      const { bytes, packets, secrets } = await record(
        { at: ["outer"], keys },
        () => transfer(30_000),
      );
      assert.equal(/^LOCAL_EPHEMERAL_PRIVATE_KEY = /m.test(secrets), keys);
      const lines = await tshark(
        bytes,
        ...["-o", "ip.check_checksum:TRUE", "-T", "fields", "-E", "occurrence=f"],
        ...["-e", "wg.type", "-e", "ip.checksum.status", "-e", "udp.port", "-e", "tcp.dstport"],
      );
      const fields = lines.map((line) => line.split("\t"));
      assert.equal(fields.length, packets.length);
      for (const [type, checksum, port] of fields) {
        assert.ok(["1", "2", "4"].includes(type!));
        assert.deepEqual([checksum, port], ["1", "51820"]);
      }
      const readable = fields.filter(([type, , , tcp]) => type === "4" && tcp !== "");
      assert.equal(readable.length > 30, keys, `${readable.length} of ${fields.length}`);
    }
  },
});
