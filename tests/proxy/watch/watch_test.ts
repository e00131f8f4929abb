import assert from "node:assert/strict";
import { tellTrouble } from "../../../proxy/watch/watch.ts";
import { captureLog } from "../log/capture.ts";

Deno.test("an access log that is written again says how many lines were lost, or that none was", () => {
  using log = captureLog();
  tellTrouble("access.json", { error: new Error("No space left on device"), lost: 0 });
  tellTrouble("access.json", { error: undefined, lost: 0 });
  tellTrouble("access.json", { error: undefined, lost: 7 });
  assert.deepEqual(log.lines.map((line) => line.trimEnd().replace(/^\S+ /, "")), [
    "warning status: access log access.json: No space left on device",
    "warning status: access log access.json: is written again, no line was lost",
    "warning status: access log access.json: lines were lost: 7",
  ]);
});
