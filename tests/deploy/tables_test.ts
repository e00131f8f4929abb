import assert from "node:assert/strict";
import { rowsOf, TABLES } from "../../deploy/tables.ts";

for (const table of TABLES) {
  const document = table.document.pathname.replace(/.*\/docs\//, "docs/");
  Deno.test(`${document} has every row of its table, and no other (deno task docs:tables)`, async () => {
    assert.ok(table.rows.length > 20);
    assert.deepEqual(await rowsOf(table), table.rows);
  });
}
