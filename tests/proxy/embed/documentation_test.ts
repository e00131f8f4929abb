import assert from "node:assert/strict";

const ROOT = new URL("../../../", import.meta.url);

Deno.test("the examples of mod.ts, wireguard/mod.ts and docs/module.md are checked, and run", async () => {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["test", "--doc", "--no-prompt", "--allow-net"],
      // Without deno.json, as in somebody's program: there an import may be unused, and deno test
      // imports everything that a module exports.
      ...["--no-config", "--lock=deno.lock", "--unstable-net"],
      ...["mod.ts", "wireguard/mod.ts", "docs/module.md"],
    ],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert.ok(success, text + new TextDecoder().decode(stderr));
  assert.match(text, /ok \| 8 passed/);
});
