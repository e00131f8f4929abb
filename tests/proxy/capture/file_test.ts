import assert from "node:assert/strict";
import { CaptureError } from "../../../proxy/capture/error.ts";
import { CaptureFile, checkPlace } from "../../../proxy/capture/file.ts";
import {
  concat,
  headerBlocks,
  packetBlockLength,
  Timestamp,
  writePacketBlock,
} from "../../../proxy/capture/pcapng.ts";
import { Recorder } from "../../../proxy/capture/recorder.ts";
import { TempFolder } from "../../temp_folder.ts";

/** More than a packet, so that each file has one. */
const ROTATION = { bytes: 1_500, count: 3 };
const NOBODY = { name: "nobody", uid: 65_534, gid: 65_534 };

Deno.test("where the next of the files that take turns cannot be made the capture fails, and still is closed", async () => {
  using folder = new TempFolder();
  const file = new CaptureFile(`${folder.path}/a.pcapng`, ROTATION);
  await file.write(concat([header(), packet()]));
  Deno.removeSync(folder.path, { recursive: true });
  await assert.rejects(file.write(packet()), CaptureError);
  await assert.rejects(file.write(packet()), CaptureError);
  file.close();
  file.close();
});

Deno.test("a capture that is there stays until there is another: who tries the place leaves it as it was", async () => {
  using folder = new TempFolder();
  const path = `${folder.path}/a.pcapng`;
  Deno.writeTextFileSync(path, "of yesterday");
  const left = () => Array.from(Deno.readDirSync(folder.path), ({ name }) => name);
  checkPlace(path, undefined);
  await new Recorder({ write: { to: "file", path }, at: [], snapLength: 0 }).close();
  assert.deepEqual([left(), Deno.readTextFileSync(path)], [["a.pcapng"], "of yesterday"]);

  const refused = (path: string) => {
    try {
      checkPlace(path, undefined);
    } catch (error) {
      assert.ok(error instanceof CaptureError);
      return error.message;
    }
    return undefined;
  };
  const missing = `${folder.path}/none/a.pcapng`;
  assert.equal(refused(missing), `${missing}: No such file or directory (os error 2)`);
  Deno.mkdirSync(`${folder.path}/b`);
  assert.equal(
    refused(`${folder.path}/b`),
    `${folder.path}/b: is a folder, expected the path of a file`,
  );
  Deno.symlinkSync(path, `${folder.path}/c`);
  assert.equal(
    refused(`${folder.path}/c`),
    `${folder.path}/c: is a link, expected the path of a file`,
  );
});

Deno.test({
  name: "files that take turns are refused where the user that root becomes may make none",
  ignore: Deno.uid() !== 0,
  fn() {
    using folder = new TempFolder();
    Deno.chmodSync(folder.path, 0o700);
    const path = `${folder.path}/a.pcapng`;
    checkPlace(path, undefined, NOBODY);
    checkPlace(path, ROTATION);
    assert.throws(
      () => checkPlace(path, ROTATION, NOBODY),
      (error) => error instanceof CaptureError && error.option === "rotate",
    );
    // Nobody may make files here, and replace those of its own.
    Deno.chmodSync(folder.path, 0o1777);
    checkPlace(path, ROTATION, NOBODY);
    new CaptureFile(path, ROTATION, NOBODY).close();
    const { uid, gid, mode } = Deno.statSync(`${folder.path}/a_1.pcapng`);
    assert.deepEqual([uid, gid, mode! & 0o777], [NOBODY.uid, NOBODY.gid, 0o600]);
  },
});

function header(): Uint8Array {
  return headerBlocks("test", [{ name: "a", description: "b", snapLength: 0, filter: "tcp" }]);
}

/** A thousand bytes. */
function packet(): Uint8Array {
  const length = packetBlockLength(1_000, 0, false);
  const bytes = new Uint8Array(length);
  writePacketBlock(
    ...[new DataView(bytes.buffer), bytes, 0, length, 0, new Timestamp(), 1_000, 1_000] as const,
    ...[true, 0, undefined, 0] as const,
  );
  return bytes;
}
