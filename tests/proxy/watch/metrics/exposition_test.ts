import assert from "node:assert/strict";
import { Histogram } from "../../../../proxy/flow/histogram.ts";
import { Exposition } from "../../../../proxy/watch/metrics/exposition.ts";

Deno.test("a family has its help and type once, and none without samples is written", () => {
  const out = new Exposition();
  out.family({ name: "empty", type: "gauge", help: "Nothing." });
  out.family({
    name: "a_total",
    type: "counter",
    help: 'Back\\slash and\nline "q".',
    labels: ["x"],
  });
  out.sample(1, 'a "b" \\ \n');
  out.sample(2.5, "c");
  out.family({ name: "b", type: "gauge", help: "B." });
  out.sample(Infinity);
  assert.equal(
    out.text(),
    '# HELP a_total Back\\\\slash and\\nline "q".\n# TYPE a_total counter\n' +
      'a_total{x="a \\"b\\" \\\\ \\n"} 1\na_total{x="c"} 2.5\n' +
      "# HELP b B.\n# TYPE b gauge\nb +Inf\n",
  );
});

Deno.test("a histogram of milliseconds is one of seconds, each bucket with what is below it", () => {
  const histogram = new Histogram([1, 250]);
  for (const ms of [0.5, 1, 100, 1000]) histogram.observe(ms);
  const out = new Exposition();
  out.family({ name: "t_seconds", type: "histogram", help: "T.", labels: ["leg"] });
  out.times(histogram, "tunnel");
  assert.deepEqual(out.text().trimEnd().split("\n").slice(2), [
    't_seconds_bucket{leg="tunnel",le="0.001"} 2',
    't_seconds_bucket{leg="tunnel",le="0.25"} 3',
    't_seconds_bucket{leg="tunnel",le="+Inf"} 4',
    't_seconds_sum{leg="tunnel"} 1.1015',
    't_seconds_count{leg="tunnel"} 4',
  ]);
});
