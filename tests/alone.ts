/**
 * A test that counts what its process has open is alone in one: `deno test --parallel` runs other
 * files in the same process.
 *
 * @module
 */

import { preset } from "./preset.ts";

const CHILD = "WIRESTACK_TEST_ALONE";

/** Whether this process was started for one test. */
export const isAlone = (): boolean => Deno.env.get(CHILD) !== undefined;

/** Runs the body of a test in a process of its own. */
export async function alone(
  { name, origin }: Deno.TestContext,
  fn: () => Promise<void>,
): Promise<void> {
  if (isAlone()) return await fn();
  const preloads = [
    ...(preset.ffi ? ["over_ffi.ts"] : []),
    ...(preset.crypto !== undefined ? ["noble.ts"] : []),
  ].flatMap((preload) => ["--preload", new URL(preload, import.meta.url).pathname]);
  const pattern = name.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["test", "--no-prompt", "--allow-all", "--no-check", ...preloads],
      ...[`--filter=/^${pattern}$/`, new URL(origin).pathname],
    ],
    env: { NO_COLOR: "1", [CHILD]: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout);
  if (!success || !text.includes(" 1 passed ")) {
    throw new Error(`${text}${new TextDecoder().decode(stderr)}`);
  }
}
