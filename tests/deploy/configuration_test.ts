/** The documentation of the configuration, and the permissions for its variables, are those of the schema. */

import assert from "node:assert/strict";
import { documented, OTHER_VARIABLES, permitted } from "../../deploy/configuration.ts";
import { VARIABLE_NAMES } from "../../proxy/config/variables.ts";
import config from "../../deno.json" with { type: "json" };

const REMEDY = "run deno task docs:configuration";

async function read(name: string): Promise<string> {
  return await Deno.readTextFile(new URL(`../../${name}`, import.meta.url));
}

Deno.test("the tables of docs/configuration.md are the schema's", async () => {
  const text = await read("docs/configuration.md");
  assert.equal(await documented(text), text, REMEDY);
  assert.ok(!text.includes("[object"), "a default is written as one would write it");
  // What is written by hand stays, what is the schema's does not.
  const changed = text.replace("| 0 to 65535 ", "| 0 to 65536 ").replace("any free one", "ANY ONE");
  assert.notEqual(changed, text);
  const made = await documented(changed);
  assert.ok(made.includes("ANY ONE") && !made.includes("65536"));
});

Deno.test("the tasks may read the variables of the configuration, and none of another name", async () => {
  const manifest = await read("deno.json");
  assert.equal(permitted(manifest), manifest, REMEDY);
  for (const task of ["dev", "start", "start:ffi", "start:sandbox"] as const) {
    const [, names] = /--allow-env=(\S+)/.exec(config.tasks[task].command)!;
    assert.deepEqual(names!.split(",").filter((name) => name.startsWith("WIRESTACK_")), [
      ...VARIABLE_NAMES,
    ]);
    for (const name of OTHER_VARIABLES) {
      assert.ok(names!.split(",").includes(name), `${task} ${name}`);
    }
  }
});
