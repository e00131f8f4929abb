/**
 * A host for what changes a machine as root: its /etc, its /usr/local and others are copies that go with
 * the test.
 *
 * @module
 */

import assert from "node:assert/strict";
import { installation } from "../e2e/gateway.ts";
import { Lab } from "../e2e/lab.ts";
import type { Output } from "../e2e/process.ts";

const ROOT = new URL("../..", import.meta.url).pathname;

/** In the mount namespace that `ip netns exec` has made. */
const COPIES = `set -eu
mount -t tmpfs none "$scratch"
for folder in $FOLDERS; do
  name=$(basename $folder)
  mkdir "$scratch/$name" "$scratch/$name.work"
  mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$scratch/$name,workdir=$scratch/$name.work" /$folder
done
mount -t tmpfs none /run
mkdir -p /usr/local/bin
`;

/**
 * Runs a shell's script on such a host, which has an empty /run besides. The first of its commands that
 * fails ends it, and the test. It is given `$ROOT`, where the sources are, `$DENO`, and `$scratch`, a
 * folder of its own.
 *
 * @param folders As `usr/local`, no two of one last name.
 */
export async function onOwnHost(
  folders: readonly string[],
  script: string,
  { env }: { readonly env?: Record<string, string> } = {},
): Promise<Output> {
  const { deno } = await installation();
  await using lab = await Lab.create();
  const host = await lab.host("host");
  const output = await host.run(["sh", "-c", `${COPIES}${script}`], {
    env: {
      ...Deno.env.toObject(),
      ...env,
      ...{ DENO: deno, ROOT, FOLDERS: folders.join(" "), scratch: lab.directory },
    },
    timeoutMs: 600_000,
  });
  assert.equal(output.code, 0, `${output.stdout}${output.stderr}`);
  return output;
}
