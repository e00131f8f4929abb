/** A TLS stream inside the tunnel, as a capture has it and tshark reads it. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { pattern, SITE, startPair } from "../pair.ts";
import { hasTshark, tshark } from "./tshark.ts";

const BYTES = 700_000;

function isInstalled(program: string, argument: string): boolean {
  try {
    return new Deno.Command(program, { args: [argument], stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch {
    return false;
  }
}

Deno.test({
  name: "tshark follows a TLS stream of the inner packets to its last byte",
  ignore: !hasTshark() || Deno.build.os === "windows" ||
    !isInstalled("curl", "--version") || !isInstalled("openssl", "version"),
  async fn() {
    const folder = await Deno.makeTempDir();
    try {
      const { success } = await new Deno.Command("openssl", {
        args: [
          ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=site"],
          ...["-keyout", `${folder}/key.pem`, "-out", `${folder}/cert.pem`],
        ],
        stdout: "null",
        stderr: "null",
      }).output();
      assert.ok(success);
      const body = pattern(BYTES, 7);
      await using server = Deno.serve({
        hostname: "127.0.0.1",
        port: 0,
        key: await Deno.readTextFile(`${folder}/key.pem`),
        cert: await Deno.readTextFile(`${folder}/cert.pem`),
        onListen() {},
      }, () => new Response(body.slice()));
      await using pair = await startPair();
      // For curl, which knows nothing of the tunnel.
      using way = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const forwarded = (async () => {
        const outside = await way.accept();
        const inside = await pair.client.connect({ hostname: SITE, port: server.addr.port });
        await Promise.allSettled([
          outside.readable.pipeTo(inside.writable),
          inside.readable.pipeTo(outside.writable),
        ]);
      })();
      const capture = pair.gateway.capture({ at: ["nic2"], filter: `port ${server.addr.port}` });
      const file = new Response(capture.pcapng).bytes();
      const { code } = await new Deno.Command("curl", {
        args: [
          ...["--silent", "--insecure", "--http1.1", "--output", `${folder}/body`],
          `https://127.0.0.1:${(way.addr as Deno.NetAddr).port}/`,
        ],
        env: { SSLKEYLOGFILE: `${folder}/keys` },
      }).output();
      assert.equal(code, 0);
      await forwarded;
      capture.stop();
      const hash = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
      assert.equal(hash(await Deno.readFile(`${folder}/body`)), hash(body));
      const lines = await tshark(
        await file,
        ...["-d", `tcp.port==${server.addr.port},tls`, "-o", `tls.keylog_file:${folder}/keys`],
        ...["-q", "-z", "follow,tls,raw,0"],
      );
      // One side is indented; which of them depends on the ports.
      const sides = [/^\t([0-9a-f]+)$/, /^([0-9a-f]+)$/].map((side) =>
        Uint8Array.fromHex(lines.map((line) => side.exec(line)?.[1] ?? "").join(""))
      );
      const bytes = sides.find((side) =>
        new TextDecoder().decode(side.subarray(0, 15)) === "HTTP/1.1 200 OK"
      );
      assert.ok(bytes !== undefined);
      assert.equal(hash(bytes.subarray(bytes.length - BYTES)), hash(body));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
