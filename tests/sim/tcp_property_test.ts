import assert from "node:assert/strict";
import { forSeeds } from "./seeds.ts";
import { checkTcpProperty } from "./tcp_property.ts";

// `deno task test:seeds` tries more of them.
Deno.test("random applications over a random network: all bytes right or a clean error, nothing left", () => {
  const ends = new Set<string>();
  forSeeds(400, (seed) => {
    for (const end of checkTcpProperty(seed).ends) ends.add(end);
  });
  if (Deno.env.get("SEED") !== undefined) return;
  // The seeds reach every way a connection can end.
  for (const end of ["ok", "aborted", "reset", "timeout"]) assert.ok(ends.has(end), end);
});
