import assert from "node:assert/strict";
import { packet, TCP, tcpSyn } from "../netstack/packets.ts";
import { PcapWriter } from "../sim/pcap.ts";
import { ACK, Capture, type CapturedSegment, FIN, judgement, RST, SYN } from "./capture.ts";
import { Lab, labTest } from "./lab.ts";

/** A connection in which "us" has connected, after `segments`. */
function judge(...segments: Partial<CapturedSegment>[]) {
  const handshake: Partial<CapturedSegment>[] = [
    { source: "us", flags: SYN, sequence: 0 },
    { source: "them", flags: SYN | ACK, sequence: 0, window: 100 },
    { source: "us", flags: ACK, sequence: 1, acknowledgment: 1, window: 64 },
  ];
  const empty = { stream: 0, source: "us", flags: ACK, sequence: 1, acknowledgment: 1 };
  const rest = { length: 0, window: 64, unit: 8 };
  const all = [...handshake, ...segments].map((segment) => ({ ...empty, ...rest, ...segment }));
  const { offences, resets } = judgement(all, ["us"]);
  return { offences: offences.map((text) => text.slice(0, text.indexOf(":"))), resets };
}

Deno.test("the judge of a capture has nothing against what is right", () => {
  assert.deepEqual(
    judge(
      { length: 100 },
      { sequence: 101, length: 1 }, // the probe
      { source: "them", length: 50, acknowledgment: 101, window: 200 },
      { sequence: 101, acknowledgment: 51, length: 200, window: 8 },
      { sequence: 301, flags: FIN | ACK, acknowledgment: 51, window: 16 },
      { source: "them", flags: FIN | ACK, sequence: 51, acknowledgment: 302 },
      { sequence: 302, acknowledgment: 52, window: 0 },
      { sequence: 302, flags: RST },
    ),
    { offences: [], resets: 0 },
  );
});

Deno.test("the judge of a capture finds each offence", () => {
  assert.deepEqual(judge({ length: 103 }).offences, ["beyond the window's edge 101"]);
  assert.deepEqual(judge({ acknowledgment: 2 }).offences, ["acknowledges more than 1"]);
  assert.deepEqual(judge({ window: 56 }).offences, ["takes the window's edge back from 65"]);
  assert.deepEqual(judge({ flags: RST }, {}), { offences: ["after its own RST"], resets: 1 });
});

labTest("tshark finds what is broken, and only from whom it was asked", async () => {
  await using lab = await Lab.create();
  const path = `${lab.directory}/broken.pcap`;
  const addresses = { source: "192.0.2.1", destination: "192.0.2.2" };
  const sound = tcpSyn(addresses.source, 1000, addresses.destination, 9001);
  const badChecksum = sound.slice();
  badChecksum[36]! ^= 1;
  const badHeader = sound.slice();
  badHeader[10]! ^= 1;
  // RFC 9293 §3.1: a data offset beyond the end of the segment.
  const malformed = packet({
    ...addresses,
    protocol: TCP,
    payload: Uint8Array.from([3, 232, 35, 41, ...Array(8).fill(0), 0xf0, SYN, ...Array(6).fill(0)]),
  });
  const writer = PcapWriter.open(path);
  for (const bytes of [sound, badChecksum, badHeader, malformed]) {
    writer.write(0, bytes, 0, bytes.length);
  }
  writer.close();
  const capture = new Capture(path);
  const numbers = (lines: string[]) => lines.map((line) => parseInt(line));
  assert.deepEqual(numbers(await capture.broken(["192.0.2.1"])), [2, 3, 4]);
  assert.deepEqual(await capture.broken(["192.0.2.2", "2001:db8::1"]), []);
}, ["tshark"]);
