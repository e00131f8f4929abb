/** README's program of a Deno module, with the files and commands that stand there. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { output, Process } from "../e2e/process.ts";
import { ownUdpPort } from "../proxy/own_port.ts";
import { TempFolder } from "../temp_folder.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url)).replace(/\/$/, "");
const README = Deno.readTextFileSync(`${ROOT}/README.md`);

/** The first block of that kind that holds `text`. */
function block(kind: string, text: string): string {
  const parts = README.split("\n```"); // what is inside has an odd place
  const found = parts.find((part, i) =>
    i % 2 === 1 && part.startsWith(`${kind}\n`) && part.includes(text)
  );
  assert.ok(found !== undefined, `README has no block ${kind} with ${text}`);
  return found.slice(kind.length + 1);
}

/** Words of a line of README, behind its program's. */
function words(line: string, program: string): string[] {
  const [first, ...rest] = line.trim().replace(/^\$ /, "").split(" ");
  assert.equal(first, program);
  return rest;
}

Deno.test("README's hello.ts runs with its site.conf, its add-peer and its permissions", {
  ignore: Deno.build.os === "windows",
}, async () => {
  using folder = new TempFolder();
  // The clone, and the folder beside it.
  Deno.symlinkSync(ROOT, `${folder.path}/wirestack`);
  const here = `${folder.path}/hello`;
  Deno.mkdirSync(here);
  await using server = await hello("hello from behind the gateway\n");
  // But for ports: others run tests on this machine too.
  const site = block("ini", "ListenPort = 51820")
    .replace("51820", String(ownUdpPort())) +
    `\n[Rule]\nTo = 10.50.0.1\nPorts = tcp/8080\nRewrite = 127.0.0.1:${server.port}\n`;
  Deno.writeTextFileSync(`${here}/site.conf`, site, { mode: 0o600 });
  const program = block("ts", "Wirestack.start");
  Deno.writeTextFileSync(`${here}/hello.ts`, program);
  const deno = [Deno.execPath(), "run", "--quiet", "--no-prompt", "--no-check"];
  const wirestack = [...deno, "--allow-all", "--unstable-net", `${ROOT}/main.ts`];

  const added = block("sh", "add-peer hello");
  await output([...wirestack, ...words(added, "../wirestack/dist/wirestack")], { cwd: here });
  assert.ok(Deno.statSync(`${here}/client.conf`).isFile);

  const up = [...wirestack, "up", "site.conf", "--control-dir", "off"];
  await using gateway = new Process("gateway", ["env", `STATE_DIRECTORY=${here}`, ...up], {
    cwd: here,
  });
  await gateway.line(/listening on UDP port/);
  const run = block("", "hello.ts\nHTTP/1.0 200 OK").split("\n")[0]!;
  const [tool, version, command, ...flags] = words(run, "npx");
  assert.deepEqual([tool, version!.split("@")[0], command], ["-y", "deno", "run"]);
  const ran = await output([...deno, ...flags], { cwd: here });
  assert.match(ran, /^HTTP\/1\.\d 200 OK\r\n/);
  assert.match(ran, /\r\n\r\nhello from behind the gateway\n\n$/);
});

/** Serves one page, on loopback. */
async function hello(page: string): Promise<{ port: number } & AsyncDisposable> {
  const server = createServer((request, response) => {
    response.statusCode = request.url === "/hello.txt" ? 200 : 404;
    response.end(page);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
