/**
 * What the verdict about one flow costs, by the number of rules: all of `Admission.decide`, or looking
 * at one rule after the other.
 */

import { matches } from "../tests/proxy/flow/rule.ts";
import { admissionWith, manyRules, requestFor } from "./rules.ts";

for (const count of [0, 100, 1_000, 10_000]) {
  const rules = manyRules(count);
  const admission = admissionWith(rules);
  const requests = Array.from(
    { length: 1_024 },
    (_, i) => requestFor(i * 9, i % 4 === 0 ? 80 : 443),
  );
  let turn = 0;
  Deno.bench({
    name: `a verdict among ${count} rules`,
    group: `${count} rules`,
    baseline: true,
    fn: () => void admission.decide(requests[turn++ & 1_023]!),
  });
  Deno.bench({
    name: `the same one by one`,
    group: `${count} rules`,
    fn() {
      const request = requests[turn++ & 1_023]!;
      rules.find((rule) => matches(rule, request));
    },
  });
}

for (const count of [1_000, 10_000]) {
  const rules = manyRules(count);
  Deno.bench({
    name: `${count} rules made ready`,
    group: "reload",
    fn: () => void admissionWith(rules),
  });
}
