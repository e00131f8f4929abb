import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/mod.ts";
import { decodeAnswer } from "../../../proxy/target/dns_message.ts";
import { encodeProxyHeader, parseProxyHeader } from "../../../proxy/target/proxy_protocol.ts";
import { encodeReply, soa } from "../../proxy/target/name_server.ts";
import { Random } from "../../sim/random.ts";
import type { Target } from "../target.ts";

const INPUTS = 200;
/** The longest header that is taken. */
const MAX_HEADER = 16 + 2_048;

export const dns: Target = {
  name: "dns",
  about:
    "name servers' answers, mutated: addresses and times within bounds, or none, never a throw",
  run(seed) {
    const random = new Random(seed);
    const name = "a.example.test";
    const message = encodeReply({
      rcode: random.chance(0.8) ? 0 : random.below(16),
      answers: [
        { name, type: "CNAME", ttl: random.below(2 ** 31), data: "b.example.test" },
        { name: "b.example.test", type: "A", ttl: 60, data: "192.0.2.1" },
        { name: "b.example.test", type: "TXT", ttl: 60, data: "text" },
      ],
      authorities: random.chance(0.5) ? [soa(60)] : [],
    }, { id: 7, name, type: "A" });
    for (let i = 0; i < INPUTS; i++) {
      const answer = decodeAnswer(mutate(random, message), 7, name, "A");
      if (answer === undefined || answer.kind === "truncated" || answer.kind === "failed") continue;
      assert.ok(answer.ttlMs >= 0 && answer.ttlMs < 1000 * 2 ** 31);
      if (answer.kind !== "addresses") continue;
      assert.ok(answer.addresses.length > 0 && answer.addresses.length <= 32);
      assert.ok(answer.addresses.every(({ version }) => version === 4));
    }
    return INPUTS;
  },
};

export const proxyProtocol: Target = {
  name: "proxy-protocol",
  about:
    "headers of the PROXY protocol, mutated: a verdict within the bound, no byte too many taken",
  run(seed) {
    const random = new Random(seed);
    const end = () => new IpAddress(random.bytes(random.chance(0.5) ? 4 : 16));
    for (let i = 0; i < INPUTS; i++) {
      const header = encodeProxyHeader(random.chance(0.5) ? "v1" : "v2", "tcp", {
        source: end(),
        sourcePort: random.below(65_536),
        destination: end(),
        destinationPort: random.below(65_536),
      });
      const stream = mutate(random, Uint8Array.of(...header, ...random.bytes(random.below(200))));
      let taken = 0;
      for (;;) {
        const parsed = parseProxyHeader(stream.slice(0, taken));
        if (parsed.kind === "header") assert.equal(parsed.length, taken);
        if (parsed.kind !== "more") break;
        assert.ok(parsed.length > 0);
        taken += parsed.length;
        assert.ok(taken <= MAX_HEADER);
        if (taken > stream.length) break;
      }
    }
    return INPUTS;
  },
};

function mutate(random: Random, bytes: Uint8Array): Uint8Array {
  const out = bytes.slice(0, bytes.length - (random.chance(0.3) ? random.below(bytes.length) : 0));
  for (let i = random.below(5); i > 0; i--) out[random.below(out.length)] = random.below(256);
  return out;
}
