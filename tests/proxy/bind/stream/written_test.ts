/** What a connection was given and has not left. */

import assert from "node:assert/strict";
import { Written } from "../../../../proxy/bind/stream/written.ts";

Deno.test("of small ones no more may be there than of those that fill their memory, and then there is room", () => {
  const written = new Written();
  let done = 0;
  let given = 0;
  do {
    written.push(50, () => done++);
    given++;
  } while (!written.isFull);
  assert.ok(given <= 64, `${given}`);
  assert.equal(written.size, 50 * given);
  assert.equal(done, 0);
  assert.equal(written.left(), true);
  assert.deepEqual([written.isFull, written.size, done], [false, 50 * (given - 1), 1]);
  // Nobody is told twice.
  assert.equal(written.left(), false);
  written.clear();
  assert.deepEqual([written.size, done], [0, given]);
});
