/**
 * The demonstration as its reader runs it: what it prints, how it ends, and that nothing is left of it.
 *
 * @module
 */

import assert from "node:assert/strict";
import config from "../../../deno.json" with { type: "json" };
import { ended } from "../children.ts";

const root = new URL("../../../", import.meta.url);
const text = new TextDecoder();
const permissions = config.tasks.start.command.split(" ").filter((word) => word.startsWith("--"));

/** Whatever the demo starts inherits this from it, and is found by it. */
function mark(): Record<string, string> {
  return { NO_COLOR: "1", DEMO_TEST: crypto.randomUUID() };
}

/** Command lines of the processes that carry a mark. */
async function left(env: Record<string, string>): Promise<string[]> {
  const found: string[] = [];
  if (Deno.build.os !== "linux") return found;
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const read = (file: string) => Deno.readTextFile(`/proc/${name}/${file}`).catch(() => "");
    if ((await read("environ")).includes(env.DEMO_TEST!)) found.push(await read("cmdline"));
  }
  return found;
}

/** What was told to end takes its time on a machine that has others to serve. */
async function nothingIsLeft(env: Record<string, string>): Promise<void> {
  for (let tries = 0;; tries++) {
    const found = await left(env);
    if (found.length === 0) return;
    assert.ok(tries < 600, found.join("; "));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function accountOf(stdout: string): Map<string, string> {
  const lines = stdout.trimEnd().split("\n");
  assert.match(lines.at(-1)!, /^demo ok/);
  return new Map(lines.slice(0, -1).map((line) => [line.slice(0, 10).trim(), line.slice(11)]));
}

Deno.test("deno task demo goes through the tunnel and says what went where", async () => {
  const env = mark();
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "demo"],
    cwd: root,
    env,
    stdin: "null",
  }).output();
  assert.equal(code, 0, text.decode(stderr));
  const account = accountOf(text.decode(stdout));
  assert.match(account.get("keys")!, /^gateway [A-Za-z0-9+/]{43}=$/);
  assert.match(account.get("gateway")!, /^process \d+, WireGuard on 127\.0\.0\.1:\d+\/udp$/);
  assert.match(account.get("client")!, /^process \d+, /);
  assert.match(account.get("handshake")!, /^completed at \d{4}-/);
  assert.match(account.get("page")!, /: 1,048,576 bytes in [\d.]+ ms$/);
  assert.match(account.get("echo")!, /^1, 512, 1,392 bytes, all back unchanged$/);
  assert.match(account.get("refused")!, /: refused after [\d.]+ ms$/);
  assert.match(account.get("bytes")!, /^client to gateway [\d,]+, back [\d,]+, encrypted$/);
  await nothingIsLeft(env);
});

Deno.test("without the permission to start processes the demo is one process", async () => {
  const env = mark();
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", ...permissions, "main.ts", "demo"],
    cwd: root,
    env,
  }).output();
  assert.equal(code, 0, text.decode(stderr));
  const account = accountOf(text.decode(stdout));
  for (const role of ["gateway", "client"]) {
    assert.match(account.get(role)!, /^inside this process \(it may not start others\), /);
  }
});

for (const [signal, status] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  Deno.test(`${signal}, delivered twice, ends the demo and all it started`, async () => {
    const env = mark();
    const command = new Deno.Command(Deno.execPath(), {
      args: ["run", ...permissions, `--allow-run=${Deno.execPath()}`, "main.ts", "demo"],
      cwd: root,
      env,
      stdout: "piped",
      stderr: "piped",
    });
    const child = ended(command.spawn());
    const errors = new Response(child.stderr).text();
    let out = "";
    for await (const chunk of child.stdout) {
      // Gateway and client processes both come before the account's second half.
      if (out.includes("\ngateway ")) continue;
      out += text.decode(chunk);
      if (!out.includes("\ngateway ")) continue;
      assert.ok(Deno.build.os !== "linux" || (await left(env)).length >= 2, "demo and gateway");
      child.kill(signal);
      child.kill(signal);
    }
    assert.equal((await child.status).code, status, await errors);
    assert.match(await errors, /^demo failed: (interrupted|terminated)\n$/);
    await nothingIsLeft(env);
  });
}

Deno.test("a demo that cannot do its work fails with one line", async () => {
  const env = mark();
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", ...permissions, "--deny-net=127.0.0.1", "main.ts", "demo"],
    cwd: root,
    env,
  }).output();
  assert.equal(code, 1);
  assert.doesNotMatch(text.decode(stdout), /^demo ok/m);
  assert.match(text.decode(stderr), /^demo failed: .*\n$/);
  await nothingIsLeft(env);
});
