import assert from "node:assert/strict";
import { parseFilter } from "../../../proxy/capture/filter.ts";
import { FilterError } from "../../../proxy/capture/filter_error.ts";
import { CapturedPacket } from "../../../proxy/capture/packet.ts";
import { compileFilter } from "../../../proxy/capture/predicate.ts";
import { Random } from "../../sim/random.ts";
import type { Target } from "../target.ts";

const INPUTS = 300;

const WORDS = [
  ...["host", "net", "port", "proto", "peer", "flow", "src", "dst", "and", "or", "not"],
  ...["tcp", "udp", "icmp", "icmp6", "(", ")", "!", "&&", "||", '"', "10.0.0.1", "fd00::1"],
  ...["10.0.0.0/8", "::/0", "443", "80-90", "99999", "laptop", "0f", "é", "\0", "\n"],
];

export const captureFilter: Target = {
  name: "capture-filter",
  about: "filters of captures, nearly right: a place in the text, or a verdict on any bytes",
  run(seed) {
    const random = new Random(seed);
    const packet = new CapturedPacket();
    for (let i = 0; i < INPUTS; i++) {
      const text = Array.from(
        { length: random.below(12) },
        () => WORDS[random.below(WORDS.length)]!,
      ).join(random.chance(0.9) ? " " : "");
      try {
        const node = parseFilter(text, { peer: (name) => name, flow: (id) => id });
        const predicate = compileFilter(node, { peerOf: () => "laptop", flowOf: () => "0f" });
        const bytes = random.bytes(random.below(80));
        if (bytes.length > 0 && random.chance(0.8)) bytes[0] = random.chance(0.5) ? 0x45 : 0x60;
        packet.parse("in", bytes, 0, bytes.length, undefined);
        assert.equal(typeof predicate(packet), "boolean");
      } catch (error) {
        if (!(error instanceof FilterError)) throw error;
        assert.ok(error.at >= 0 && error.at <= text.length, `${JSON.stringify(text)}: ${error.at}`);
      }
    }
    return INPUTS;
  },
};
