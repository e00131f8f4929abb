import assert from "node:assert/strict";
import { replaceFile, replaceFileBeside } from "../../../proxy/state/replace_file.ts";

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

Deno.test("a file that is replaced beside is the old one until all is there, with what came last", async () => {
  using folder = temporary();
  const path = `${folder.path}/state`;
  const bytes = (text: string) => new TextEncoder().encode(text);
  const seen: (string | number)[] = [];
  const look = (text: string) => {
    seen.push(Deno.readTextFileSync(path));
    return bytes(text);
  };
  replaceFile(path, "old");
  await replaceFileBeside(
    path,
    function* () {
      yield look("new, ");
      yield look("newer, ");
    }(),
    {
      last: () => look("last"),
      replaced: (size) => seen.push(Deno.readTextFileSync(path), size),
      signal: new AbortController().signal,
    },
  );
  const text = "new, newer, last";
  assert.deepEqual(seen, ["old", "old", "old", text, text.length]);
  assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
  assert.deepEqual(folder.names(), ["state"]);
});

Deno.test("who ends that at whatever step finds the old file, and what another writes beside it by then stays", async () => {
  for (const at of [0, 1, 2, 3]) {
    using folder = temporary();
    const path = `${folder.path}/state`;
    replaceFile(path, "old");
    const stopped = new AbortController();
    const end = (step: number) => {
      if (step !== at) return;
      stopped.abort(new Error("ended"));
      assert.deepEqual(folder.names(), ["state"], `at once, at ${step}`);
      Deno.writeTextFileSync(`${path}.new`, "another's");
    };
    end(0);
    const replacing = replaceFileBeside(
      path,
      function* () {
        for (const step of [1, 2]) {
          end(step);
          yield new Uint8Array(10);
        }
        queueMicrotask(() => end(3)); // while the disk is waited for
      }(),
      {
        last: () => assert.fail("it was ended"),
        replaced: () => assert.fail("it was ended"),
        signal: stopped.signal,
      },
    );
    await assert.rejects(replacing, /ended/);
    assert.equal(Deno.readTextFileSync(path), "old");
    assert.equal(Deno.readTextFileSync(`${path}.new`), "another's", `${at}`);
  }
});

Deno.test("the old file stays where there is no room beside it", async () => {
  using folder = temporary();
  const path = `${folder.path}/state`;
  replaceFile(path, "old");
  const replaced = () => assert.fail("it was not");
  const { signal } = new AbortController();
  const last = () => {
    throw new Error("full");
  };
  await assert.rejects(replaceFileBeside(path, [], { last, replaced, signal }), /full/);
  assert.deepEqual(folder.names(), ["state"]);
  Deno.mkdirSync(`${path}.new/taken`, { recursive: true });
  await assert.rejects(
    replaceFileBeside(path, [], { last: () => new Uint8Array(), replaced, signal }),
  );
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
