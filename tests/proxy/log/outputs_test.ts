import assert from "node:assert/strict";
import { openLineFile, OutputError } from "../../../proxy/log/outputs.ts";

/** Why a file cannot be written to. */
function refused(path: string): string {
  try {
    openLineFile(path, () => {});
  } catch (error) {
    assert.ok(error instanceof OutputError, String(error));
    return error.message;
  }
  assert.fail("it was opened");
}

Deno.test("a log that cannot be written to says what is wrong with it, and what would do", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const missing = `${folder}/no/such/log`;
    assert.equal(
      refused(missing),
      `${missing}: its folder is not there, expected a file in one that is`,
    );
    assert.equal(refused(folder), `${folder}: is a folder, expected the path of a file`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
