/** A gateway that may open few files, and clients that want more. */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import type { TunnelConn } from "../../../proxy/tunnel/conn.ts";
import { fileURLToPath } from "node:url";
import { Process } from "../../e2e/process.ts";
import { TempFolder } from "../../temp_folder.ts";
import { runHere } from "../cli/run_here.ts";
import { SITE } from "../pair.ts";
import { startWirestack } from "../start.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const WANTED = 300;

Deno.test(
  "with `ulimit -n 100` a gateway says so at start, when it has none left and when it has again, and in show",
  {
    ignore: Deno.build.os !== "linux",
  },
  async () => {
    using folder = new TempFolder();
    const [key, clientKey] = [generatePrivateKey(), generatePrivateKey()];
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    const serving = (async () => {
      for await (const conn of listener) conn.readable.pipeTo(conn.writable).catch(() => {});
    })();
    await using gateway = new Process("gateway", [
      ...["sh", "-c", 'ulimit -n 100 && exec "$@"', "sh"],
      ...["env", `STATE_DIRECTORY=${folder.path}`, Deno.execPath(), "run", "--quiet"],
      ...["--no-prompt", "--no-check", "--allow-all", "--unstable-net", "main.ts", "up", "-"],
      ...["--name", "lab", "--control-dir", folder.path, "--no-confine"],
    ], {
      cwd: ROOT,
      input: `[Interface]\nPrivateKey = ${encodeKey(key)}\nAddress = 10.9.0.1/24\n` +
        `[Peer]\nPublicKey = ${encodeKey(publicKeyOf(clientKey))}\nAllowedIPs = 10.9.0.2/32\n` +
        `[Proxy]\nSubnets = 10.50.0.0/16\nMap = ${SITE} -> 127.0.0.1\n`,
    });
    await gateway.line(
      / warning target: this process may open 100 files, .* together allow \d+ sockets/,
    );
    const [, udp] = await gateway.line(/listening on UDP port (\d+)/);
    await using client = await startWirestack({
      interface: { privateKey: encodeKey(clientKey), address: "10.9.0.2/24" },
      peers: [{
        publicKey: encodeKey(publicKeyOf(key)),
        allowedIps: "0.0.0.0/0",
        endpoint: `127.0.0.1:${udp}`,
      }],
    });
    const open: TunnelConn[] = [];
    const tried = await Promise.allSettled(
      Array.from({ length: WANTED }, async () => {
        open.push(await client.connect({ hostname: SITE, port, timeoutMs: 10_000 }));
      }),
    );
    const failed = tried.filter(({ status }) => status === "rejected").length;
    assert.ok(
      failed > WANTED - 100 && open.length > 10,
      `${failed} failed, ${open.length} did not`,
    );
    const show = async () => (await runHere(["show", "lab", "--control-dir", folder.path])).out;
    const shown = await show();
    const [, dropped] = /^ {2}dropped: .*target out of descriptors (\d+)/m.exec(shown) ?? [];
    assert.ok(Number(dropped) > 0, shown);

    for (const conn of open) conn.close();
    const [, count] = await gateway.line(
      / there are file descriptors again; (\d+) connections and sessions failed/,
    );
    assert.ok(Number(count) >= Number(dropped));
    const begins = gateway.lines.filter((line) => line.includes("no file descriptors are left"));
    assert.equal(begins.length, 1, `${gateway}`);
    while (!/^ {2}connections: 0 open, 0 being made/m.test(await show()));
    using again = await client.connect({ hostname: SITE, port });
    assert.equal(await again.write(Uint8Array.of(1)), 1);
    listener.close();
    await serving;
  },
);
