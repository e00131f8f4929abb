import assert from "node:assert/strict";
import { NewFolders } from "../../../../proxy/cli/certificates/folders.ts";
import { ConfigError } from "../../../../proxy/config/error.ts";
import { Made } from "./made.ts";

const PAIRS = new Map(["a", "b", "c"].map((name) => [name, { certificate: name, key: name }]));

Deno.test("where something has come in the way half-way, all that was placed is taken back", async () => {
  await using made = new Made();
  Deno.mkdirSync(made.out);
  {
    using folders = NewFolders.stage(made.out, PAIRS);
    Deno.mkdirSync(`${made.out}/b`);
    Deno.writeTextFileSync(`${made.out}/b/theirs`, "theirs");
    assert.throws(
      () => folders.place(PAIRS.keys()),
      (error) => error instanceof ConfigError && error.message.includes("/b: is there already, "),
    );
    assert.ok(`${made.out}/a/key.pem` in made.contents());
  }
  assert.deepEqual(made.contents(), {
    [made.out]: "",
    [`${made.out}/b`]: "",
    [`${made.out}/b/theirs`]: "theirs",
  });
});

Deno.test("folders that are not kept go again, with those made on the way to them", async () => {
  await using made = new Made();
  const out = `${made.path}/x/y/z`;
  {
    using folders = NewFolders.stage(out, PAIRS);
    folders.place(PAIRS.keys());
    assert.equal(made.contents()[`${out}/c/cert.pem`], "c");
  }
  assert.deepEqual(made.contents(), {});
});

Deno.test("two at once: one has all of its folders there, the other none", async () => {
  await using made = new Made();
  {
    using first = NewFolders.stage(made.out, PAIRS);
    {
      const theirs = [...PAIRS.keys()].map((name) =>
        [name, { certificate: "2", key: "2" }] as const
      );
      using second = NewFolders.stage(made.out, new Map(theirs));
      first.place(["a"]);
      assert.throws(() => second.place(PAIRS.keys()), /\/a: is there already/);
    }
    first.place(["b", "c"]);
    first.keep();
  }
  const files = Object.entries(made.contents()).filter(([path]) => path.endsWith(".pem"));
  assert.deepEqual(files.map(([, text]) => text).sort(), ["a", "a", "b", "b", "c", "c"]);
});

Deno.test("an --out that is a file, or below one, is refused in a line", async () => {
  await using made = new Made();
  Deno.writeTextFileSync(`${made.path}/file`, "x");
  for (const out of [`${made.path}/file`, `${made.path}/file/below`]) {
    assert.throws(
      () => NewFolders.stage(out, PAIRS),
      { message: `--out: ${out}: is not a folder, expected one, or a name for a new one` },
    );
  }
  assert.deepEqual(made.contents(), { [`${made.path}/file`]: "x" });
});
