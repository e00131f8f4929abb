import assert from "node:assert/strict";
import { clientFilesReader } from "../../../../../proxy/bind/stream/tls/files.ts";
import { runHere } from "../../../cli/run_here.ts";

Deno.test("files of a client are read again each time; who may not any more keeps the last", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    await runHere(["gencerts", "--out", `${folder}/a`]);
    await runHere(["gencerts", "--out", `${folder}/b`]);
    const [certPath, keyPath] = [`${folder}/cert.pem`, `${folder}/key.pem`];
    const put = (from: string) => {
      Deno.copyFileSync(`${folder}/${from}/client/cert.pem`, certPath);
      Deno.copyFileSync(`${folder}/${from}/client/key.pem`, keyPath);
    };
    const late = clientFilesReader({ certPath, keyPath });
    assert.throws(late, /cert\.pem is not there, expected a file in PEM/);
    put("a");
    const read = clientFilesReader({ certPath, keyPath });
    const first = read().certificate.serial;
    assert.equal(late().certificate.serial, first);
    put("b");
    const second = read().certificate.serial;
    assert.notEqual(second, first);
    // In this process that is a permission; under another user it is the system's.
    const script = `
      import { clientFilesReader } from ${
      JSON.stringify(
        new URL("../../../../../proxy/bind/stream/tls/files.ts", import.meta.url).href,
      )
    };
      const files = ${JSON.stringify({ certPath, keyPath })};
      const read = clientFilesReader(files);
      Deno.permissions.revokeSync({ name: "read" });
      console.log(read().certificate.serial);
      try { clientFilesReader(files)(); } catch (error) { console.log(error.message); }`;
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--quiet", "--no-check", script],
      cwd: new URL("../../../../../", import.meta.url),
    }).output();
    const lines = new TextDecoder().decode(stdout).trimEnd().split("\n");
    assert.equal(lines[0], second);
    assert.match(lines[1]!, /cert\.pem may not be read, expected a file in PEM$/);
    Deno.removeSync(certPath);
    assert.throws(read, /is not there/, "that is another matter");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
