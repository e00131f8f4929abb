import assert from "node:assert/strict";
import { collectWhenQuiet } from "../../../proxy/cli/garbage.ts";

Deno.test("what a start has left is collected once, when the process takes no more than a gateway at rest", async () => {
  // Of a core, ms, each time it is asked: at the start, and after turns of 10 ms.
  const used = [100, 110, 115, 115.3, 115.4];
  let asked = 0;
  const collected = Promise.withResolvers<number>();
  let times = 0;
  const stop = collectWhenQuiet(
    ({ type, flavor }) => {
      times++;
      assert.deepEqual([type, flavor], ["major", "last-resort"]);
      collected.resolve(asked);
    },
    () => used[asked++] ?? 115.4,
    10,
  );
  try {
    assert.equal(await collected.promise, 5); // 10, 5 and 0.3 ms were too much
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual([times, asked], [1, 5]);
  } finally {
    stop();
  }
});

Deno.test("where V8 offers no collection, or the gateway ends before, nothing is waited for", () => {
  collectWhenQuiet(undefined, () => assert.fail("asked"))();
  collectWhenQuiet(() => assert.fail("collected"), () => 0, 1)(); // a timer left would fail the test
});
