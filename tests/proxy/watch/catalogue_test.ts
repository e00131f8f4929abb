import assert from "node:assert/strict";
import { FAMILIES } from "../../../proxy/watch/metrics.ts";

const DOCUMENT = new URL("../../../docs/monitoring.md", import.meta.url);

Deno.test("docs/monitoring.md has every metric, and no other", async () => {
  const text = await Deno.readTextFile(DOCUMENT);
  const table = text.split("<!-- metrics -->")[1]!.split("<!-- /metrics -->")[0]!;
  const rows = table.trim().split("\n").slice(2)
    .map((row) => row.split("|").slice(1, -1).map((cell) => cell.trim()));
  assert.deepEqual(
    rows,
    FAMILIES.map(({ name, type, labels = [], help }) => [
      `\`${name}\``,
      type,
      labels.map((label) => `\`${label}\``).join(", "),
      help.replace(/\.$/, ""),
    ]),
  );
});

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
