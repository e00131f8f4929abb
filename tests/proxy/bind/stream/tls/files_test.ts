import assert from "node:assert/strict";
import { ClientFilesReader } from "../../../../../proxy/bind/stream/tls/client_files.ts";
import { readClientFiles, readServerFiles } from "../../../../../proxy/bind/stream/tls/files.ts";
import { Reading } from "../../../../../proxy/bind/stream/tls/reading.ts";
import { MadeAuthority } from "../../certificates/made.ts";
import { forbid, hide } from "../forbid.ts";

class Files implements Disposable {
  readonly folder = Deno.makeTempDirSync();
  readonly certPath = `${this.folder}/cert.pem`;
  readonly keyPath = `${this.folder}/key.pem`;
  readonly clientCaPath = `${this.folder}/ca.pem`;

  /** In the place of those that are there, as one who renews does. */
  put(name: "cert" | "key" | "ca" | "crl", text: string): void {
    const path = `${this.folder}/${name}.pem`;
    Deno.writeTextFileSync(`${path}.new`, text);
    Deno.renameSync(`${path}.new`, path);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

Deno.test("files of a client are read again each time; who may not any more keeps the last, and it is said of new ones", async () => {
  using files = new Files();
  const { certPath, keyPath } = files;
  const authority = await MadeAuthority.make();
  const [first, second] = [
    await authority.leaf({ name: "first" }),
    await authority.leaf({ name: "second" }),
  ];
  const said: string[] = [];
  const readerOf = () => new ClientFilesReader({ certPath, keyPath }, (e) => said.push(e.message));
  const shown = (reader: ClientFilesReader) => reader.read().certificate.description;
  const late = readerOf();
  assert.match(late.problem!, /cert\.pem is not there, expected a file in PEM/);
  assert.throws(() => late.read(), /cert\.pem is not there, expected a file in PEM/);
  files.put("cert", first.cert);
  files.put("key", first.key);
  const reader = readerOf();
  assert.equal(reader.problem, undefined);
  assert.equal(shown(reader), "first");
  assert.equal(shown(late), "first");
  files.put("cert", second.cert);
  files.put("key", second.key);
  for (const one of [reader, late]) assert.equal(shown(one), "second");
  assert.deepEqual(said, []);
  {
    using _ = forbid(certPath, keyPath);
    assert.equal(shown(reader), "second");
    assert.equal(shown(late), "second");
    assert.deepEqual(said, [], "nothing has changed");
    files.put("cert", first.cert);
    files.put("key", first.key);
    for (let i = 0; i < 3; i++) assert.equal(shown(reader), "second");
    assert.deepEqual(said, [`${certPath} may not be read, expected a file in PEM`], "once");
    reader.review();
    assert.equal(said.length, 2, "when it is asked for");
    assert.throws(() => readerOf().read(), /cert\.pem may not be read, expected a file in PEM$/);
  }
  assert.equal(shown(reader), "first");
  said.length = 0;
  {
    using _ = hide(certPath, keyPath);
    for (let i = 0; i < 3; i++) assert.equal(shown(reader), "first");
    assert.deepEqual(said, [], "nobody can say that something has changed");
    reader.review();
    assert.equal(said.length, 1, "when it is asked for");
  }
  assert.equal(shown(reader), "first");
  Deno.removeSync(certPath);
  assert.throws(() => reader.read(), /is not there/, "that is another matter");
});

Deno.test("a certificate that was renewed for the same key counts though the key may not be read; one for another does not", async () => {
  using files = new Files();
  const { certPath, keyPath } = files;
  const authority = await MadeAuthority.make();
  const [first, other] = [await authority.leaf({ name: "a" }), await authority.leaf({ name: "b" })];
  const again = await authority.leaf({ name: "renewed", keys: first.keys });
  files.put("cert", first.cert);
  files.put("key", first.key);
  const said: string[] = [];
  const reader = new ClientFilesReader({ certPath, keyPath }, (e) => said.push(e.message));
  using _ = forbid(keyPath);
  files.put("cert", again.cert);
  assert.equal(reader.read().certificate.description, "renewed");
  files.put("cert", other.cert);
  assert.equal(reader.read().certificate.description, "renewed");
  assert.match(said.at(-1)!, /key\.pem may not be read/);
  assert.throws(() => readClientFiles({ certPath, keyPath }), /key\.pem may not be read/);
});

Deno.test("of a server's files each that may be read counts", async () => {
  using files = new Files();
  const authority = await MadeAuthority.make();
  const other = await MadeAuthority.make();
  const leaf = await authority.leaf({ name: "hub", usage: "serverAuth" });
  files.put("cert", leaf.cert);
  files.put("key", leaf.key);
  files.put("ca", authority.cert);
  const before = new Reading();
  const first = readServerFiles(files, before);
  using _ = forbid(files.keyPath);
  files.put("ca", other.cert);
  const reading = before.again();
  const second = readServerFiles(files, reading);
  assert.equal(second.key, first.key);
  assert.equal(second.ca, other.cert);
  assert.match(reading.kept!.message, /key\.pem may not be read/);
  // A key that was never read is none.
  assert.throws(
    () =>
      readServerFiles(
        { ...files, certPath: files.certPath, keyPath: `${files.folder}/none` },
        reading.again(),
      ),
    /none is not there/,
  );
});
