import assert from "node:assert/strict";
import { FAMILIES } from "../../../../proxy/watch/metrics/metrics.ts";

Deno.test("names and labels follow Prometheus's conventions", () => {
  assert.equal(new Set(FAMILIES.map(({ name }) => name)).size, FAMILIES.length);
  for (const { name, type, labels = [], help } of FAMILIES) {
    assert.match(name, /^(?:wirestack|process)_[a-z_]+$/);
    assert.equal(name.endsWith("_total"), type === "counter", name);
    if (type === "histogram") assert.ok(name.endsWith("_seconds"), name);
    for (const label of labels) assert.match(label, /^[a-z_]+$/);
    assert.match(help, /^[A-Z].*\.$/);
  }
});
