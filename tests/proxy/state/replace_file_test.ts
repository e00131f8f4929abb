import assert from "node:assert/strict";
import { replaceFile } from "../../../proxy/state/replace_file.ts";

for (const isDurable of [false, true]) {
  Deno.test(`a file is replaced whole, and is this user's alone${isDurable ? ", on the disk" : ""}`, () => {
    using folder = temporary();
    const path = `${folder.path}/state`;
    replaceFile(path, "old", { isDurable });
    replaceFile(path, new TextEncoder().encode("new"), { isDurable });
    assert.equal(Deno.readTextFileSync(path), "new");
    assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
    assert.deepEqual(folder.names(), ["state"]);
  });
}

Deno.test("what a killed writer left goes, and a link in its place is not followed", () => {
  using folder = temporary();
  const path = `${folder.path}/state`;
  const other = `${folder.path}/other`;
  Deno.writeTextFileSync(other, "somebody else's");
  Deno.symlinkSync(other, `${path}.new`);
  replaceFile(path, "ours", { mode: 0o644 });
  assert.equal(Deno.readTextFileSync(other), "somebody else's");
  assert.equal(Deno.readTextFileSync(path), "ours");
  assert.equal(Deno.lstatSync(path).isSymlink, false);
  assert.equal(Deno.statSync(path).mode! & 0o777 & ~0o044, 0o600); // the umask may take the rest
  assert.deepEqual(folder.names(), ["other", "state"]);
});

Deno.test("the old file stays where the new one cannot be written", () => {
  using folder = temporary();
  const path = `${folder.path}/state`;
  replaceFile(path, "old");
  Deno.mkdirSync(`${path}.new/taken`, { recursive: true });
  assert.throws(() => replaceFile(path, "new"));
  assert.equal(Deno.readTextFileSync(path), "old");
});

function temporary(): { path: string; names(): string[] } & Disposable {
  const path = Deno.makeTempDirSync();
  return {
    path,
    names: () => Array.from(Deno.readDirSync(path), ({ name }) => name).sort(),
    [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }),
  };
}
