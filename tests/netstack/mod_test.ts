import assert from "node:assert/strict";

/** What is written below the `@example` of a module, as somebody would copy it. */
function example(source: string): string {
  const match = /@example[^\n]*\n \* ```ts\n([\s\S]*?) \* ```/.exec(source);
  assert.ok(match);
  return match[1]!.replaceAll(/^ \* ?/gm, "");
}

Deno.test("the example in the module's documentation runs as it stands", async () => {
  const root = new URL("../../", import.meta.url);
  const source = await Deno.readTextFile(new URL("netstack/mod.ts", root));
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--check", "--ext=ts", "-"],
    cwd: root,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(example(source)));
  await writer.close();
  const { success, stdout, stderr } = await process.output();
  assert.ok(success, new TextDecoder().decode(stderr));
  assert.equal(new TextDecoder().decode(stdout), "5 bytes from 10.0.0.2 port 7\n");
});
