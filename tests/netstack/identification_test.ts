import assert from "node:assert/strict";
import { Identification } from "../../netstack/identification.ts";
import { Random } from "../sim/random.ts";

Deno.test("no IPv4 identification comes twice within a period, over several periods", () => {
  const random = new Random(1);
  const identification = new Identification((out) => random.fill(out));
  for (let period = 0; period < 3; period++) {
    const seen = new Set<number>();
    for (let i = 0; i < 0x10000; i++) seen.add(identification.ipv4());
    assert.equal(seen.size, 0x10000);
  }
});

Deno.test("an identification says nothing about the next: neighbours are as far apart as chance", () => {
  const random = new Random(2);
  const identification = new Identification((out) => random.fill(out));
  let previous = identification.ipv4();
  let near = 0;
  for (let i = 0; i < 20_000; i++) {
    const next = identification.ipv4();
    if (Math.abs(next - previous) <= 256) near++;
    previous = next;
  }
  // 1 in 128 by chance: 156 of 20,000.
  assert.ok(near > 100 && near < 220, `${near}`);
});

Deno.test("two stacks with different secrets, and two periods, have different orders", () => {
  const orders = [1, 2].map((seed) => {
    const random = new Random(seed);
    const identification = new Identification((out) => random.fill(out));
    return [0, 1].map(() => Array.from({ length: 0x10000 }, () => identification.ipv4()));
  }).flat();
  for (let i = 0; i < orders.length; i++) {
    for (let j = 0; j < i; j++) {
      const same = orders[i]!.filter((id, index) => id === orders[j]![index]).length;
      assert.ok(same < 20, `${same} of 65536 in the same place`);
    }
  }
});
