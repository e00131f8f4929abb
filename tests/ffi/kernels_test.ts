import assert from "node:assert/strict";
import { Kernels } from "../../ffi/mod.ts";
import config from "../../deno.json" with { type: "json" };

const KERNELS = new URL("../../ffi/kernels/", import.meta.url);

Deno.test("the committed module is what its source compiles to", async () => {
  // As the task does it, in a process of its own: the compiler is in a lock file of its own.
  const [, options, program] = /^deno (run .*?) (deploy\/\S+)$/.exec(
    config.tasks["build:kernels"].command,
  )!;
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [...options!.split(" "), program!, "--print"],
    cwd: new URL("../../", import.meta.url),
    stderr: "inherit",
  }).output();
  assert.ok(success);
  const text = new TextDecoder().decode(stdout);
  assert.equal(text, Deno.readTextFileSync(new URL("module.ts", KERNELS)));
});

/** What `deno task start` sets for them. */
const WIDE = "--v8-flags=--experimental-wasm-wide-arithmetic,--experimental-wasm-revectorize";

Deno.test("those of wide arithmetic pass the same tests", async () => {
  assert.ok(config.tasks.start.command.includes(WIDE.replace(/.*=/, "")));
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "--no-check", "--no-prompt", "-A", WIDE, "tests/ffi/kernels_aead_test.ts"],
    cwd: new URL("../../", import.meta.url),
    env: { WIDE_KERNELS: "1", NO_COLOR: "1" },
  }).output();
  assert.ok(success, new TextDecoder().decode(stdout));
});

Deno.test({
  name: "vectors of 256 bits are used where the processor has them",
  // Other processors have none, or V8 has no revectorizer for them.
  ignore: Deno.build.arch !== "x86_64" ||
    !Deno.readTextFileSync("/proc/cpuinfo").includes(" avx2 "),
  async fn() {
    const text = await output(
      [`${WIDE},--trace-wasm-revectorize,--no-liftoff`],
      `
      import { Kernels } from ${JSON.stringify(new URL("kernels.ts", KERNELS).href)};
      const key = new Kernels(0).aead.importKey(new Uint8Array(32));
      key.seal(0, 0, new Uint8Array(1000), 0, 900);
    `,
    );
    // A state of 16 words takes 48 additions a double round, in pairs: less is no loop's.
    const [, count] = /[Dd]ecided? to vectorize, (\d+) revectorizable nodes/.exec(text)!;
    assert.ok(Number(count) > 200, `${count} nodes`);
  },
});

Deno.test("the kernels need no permission", async () => {
  const text = await output(
    [],
    `
    import { Kernels } from ${JSON.stringify(new URL("kernels.ts", KERNELS).href)};
    console.log(new Kernels(0).sum(Uint8Array.of(1, 2), 0, 2, 3));
  `,
  );
  assert.equal(text, `${0x0102 + 3}\n`);
});

Deno.test("regions are aligned, apart from each other and zero, until the arena is full", () => {
  const kernels = new Kernels(10_000);
  let end = 0;
  for (const [size, alignment] of [[1, 1], [100, 64], [0, 16], [4096, 4096], [7, 1]] as const) {
    const offset = kernels.allocate(size, alignment);
    assert.equal(offset % alignment, 0);
    assert.ok(offset >= end);
    end = offset + size;
    assert.ok(kernels.bytes.subarray(offset, end).every((byte) => byte === 0));
  }
  const left = kernels.bytes.length - end;
  assert.throws(() => kernels.allocate(left + 1, 1), {
    name: "RangeError",
    message: `the arena is full: ${left} bytes left, asked for ${left + 1}`,
  });
  assert.equal(kernels.allocate(left, 1), end);
  assert.throws(() => kernels.allocate(1, 1), RangeError);
});

Deno.test("an arena has the size that was requested", () => {
  for (const size of [0, 1, 65_536, 1_000_000]) new Kernels(size).allocate(size, 1);
});

Deno.test("sizes and alignments that are none are refused", () => {
  const kernels = new Kernels(1000);
  for (const size of [-1, 0.5, NaN, Infinity]) {
    assert.throws(() => kernels.allocate(size, 1), RangeError);
  }
  for (const alignment of [0, -2, 3, 0.5, NaN]) {
    assert.throws(() => kernels.allocate(1, alignment), RangeError);
  }
  for (const size of [-1, NaN, 2 ** 32, Infinity]) {
    assert.throws(() => new Kernels(size), RangeError);
  }
});

Deno.test("the memory cannot grow, so its views and pointers stay valid", () => {
  const { memory, bytes } = new Kernels(1000);
  assert.throws(() => memory.grow(1), RangeError);
  assert.equal(bytes.buffer, memory.buffer);
  assert.equal(bytes.length, memory.buffer.byteLength);
});

/** What a program writes that has no permission. */
async function output(options: readonly string[], program: string): Promise<string> {
  await using child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "--no-config", "--no-lock", ...options, "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(program));
  await writer.close();
  return new TextDecoder().decode((await child.output()).stdout);
}
