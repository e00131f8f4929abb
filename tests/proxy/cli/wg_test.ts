import assert from "node:assert/strict";
import { programTest } from "../../with_program.ts";
import { type Result, runHere } from "./run_here.ts";

const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

const test = (name: string, body: () => Promise<void>) => programTest("wg", name, body);

test("our keys are wg's keys, and wg's are ours", async () => {
  for (const make of [wg, wirestack]) {
    for (let i = 0; i < 10; i++) {
      const key = (await make("genkey")).out;
      const [theirs, ours] = [await wg("pubkey", key), await wirestack("pubkey", key)];
      assert.equal(theirs.status, 0);
      assert.deepEqual(ours, theirs);
    }
  }
});

test("our preshared keys are taken where wg's are", async () => {
  const [theirs, ours] = [await wg("genpsk"), await wirestack("genpsk")];
  for (const { status, out } of [theirs, ours]) {
    assert.equal(status, 0);
    // An unclamped key is a private key as well as any.
    assert.deepEqual(await wirestack("pubkey", out), await wg("pubkey", out));
  }
});

test("wrong input gets wg's message and status", async () => {
  const inputs = [
    "",
    "\n",
    "abc\n",
    PRIVATE.slice(1),
    `${PRIVATE}x`,
    `${PRIVATE}\n\nx`,
    `\n${PRIVATE}`,
  ]
    .concat([
      `${PRIVATE} \t\r\n\v\f\0`,
      `${PRIVATE.slice(0, 42)}l=`,
      "=".repeat(44),
      "A".repeat(44),
    ])
    .concat([`${PRIVATE.slice(0, 20)} ${PRIVATE.slice(21)}`, `${PRIVATE.slice(0, 42)}==`]);
  for (const input of inputs) {
    const theirs = await wg("pubkey", input);
    const ours = await wirestack("pubkey", input);
    // The name in front is the program's own.
    for (const result of [theirs, ours]) result.error = result.error.replace(/^\S+: /, "");
    assert.deepEqual(ours, theirs, JSON.stringify(input));
  }
});

async function wg(command: string, input = ""): Promise<Result> {
  const child = new Deno.Command("wg", {
    args: [command],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  // wg may have ended before it reads everything.
  await writer.write(new TextEncoder().encode(input)).then(() => writer.close()).catch(() => {});
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { status: code, out: decoder.decode(stdout), error: decoder.decode(stderr) };
}

function wirestack(command: string, input = ""): Promise<Result> {
  return runHere([command], input);
}
