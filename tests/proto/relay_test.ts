import assert from "node:assert/strict";
import config from "../../deno.json" with { type: "json" };

Deno.test("the committed code is what its schema compiles to", async () => {
  // As the task does it, in a process of its own: the compiler is in a lock file of its own.
  const [, options, program] = /^deno (run .*?) (deploy\/\S+)$/.exec(config.tasks.proto.command)!;
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [...options!.split(" "), program!, "--print"],
    cwd: new URL("../../", import.meta.url),
    stderr: "inherit",
  }).output();
  assert.ok(success);
  const text = new TextDecoder().decode(stdout);
  assert.equal(text, Deno.readTextFileSync(new URL("../../proto/relay.ts", import.meta.url)));
});
