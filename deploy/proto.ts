/**
 * `deno task proto`: makes `proto/relay.ts` from `proto/relay.proto`; with `--print` to standard
 * output.
 *
 * @module
 */

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { formatted } from "./formatted.ts";

const root = resolve(import.meta.dirname!, "..");

/**
 * Programs of their own with a lock file of their own, `proto.lock`: `deno task` fetches all that
 * `deno.lock` names, and the compiler is 90 MB that nobody needs who runs a gateway.
 */
const COMPILER = "npm:@bufbuild/buf@1.75.0";
const GENERATOR = "npm:ts-proto@2.18.0/protoc-gen-ts_proto";
const RUN = [
  "run",
  "--quiet",
  "--no-config",
  `--lock=${join(root, "deploy", "proto.lock")}`,
  "--frozen",
  "-A",
];

/** The generator's: the interface of grpc-js, bytes as views, and nothing that is not called. */
const OPTIONS = [
  ...["outputServices=grpc-js", "esModuleInterop=true", "outputJsonMethods=false"],
  ...["outputPartialMethods=false", "useExactTypes=false", "annotateFilesWithVersion=true"],
];

/** What ships names its packages in full. */
const PACKAGES: readonly (readonly [string, string])[] = [
  ["@bufbuild/protobuf/wire", "npm:@bufbuild/protobuf@2.17.0/wire"],
  ["@grpc/grpc-js", "npm:@grpc/grpc-js@1.14.7"],
];

const HEAD = `/**
 * \`relay.proto\`, compiled. Made by \`deno task proto\`: do not edit.
 *
 * @module
 */

// deno-lint-ignore-file

import { Buffer } from "node:buffer";
`;

if (import.meta.main) {
  const text = await formatted(moduleText(await generate()), "ts");
  if (Deno.args.includes("--print")) process.stdout.write(text);
  else await writeFile(join(root, "proto", "relay.ts"), text);
}

/** What the generator writes. */
async function generate(): Promise<string> {
  const out = await mkdtemp(join(tmpdir(), "proto-"));
  try {
    const template = {
      version: "v2",
      plugins: [{ local: [Deno.execPath(), ...RUN, GENERATOR], out, opt: OPTIONS }],
    };
    const options = ["generate", "proto", "--template", JSON.stringify(template)];
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [...RUN, COMPILER, ...options],
      cwd: root,
    }).output();
    if (!success) throw new Error(`buf failed\n${new TextDecoder().decode(stderr)}`);
    return await readFile(join(out, "relay.ts"), "utf8");
  } finally {
    await rm(out, { recursive: true });
  }
}

/** What `proto/relay.ts` holds, but for its form. */
function moduleText(generated: string): string {
  let text = generated;
  for (const [name, full] of PACKAGES) text = text.replace(`from "${name}"`, `from "${full}"`);
  return HEAD + text;
}
