/**
 * `deno task compile`: writes one executable that holds Wirestack and everything it needs.
 *
 * Two kinds, the same from outside. `denort` is what `deno compile` makes; it has to download its runtime, or be told of
 * one by DENORT_BIN. `deno` is the self-contained script of pack.ts, for where that cannot be had.
 *
 * @module
 */

import { chmod, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { pack, USER_FOLDERS } from "./pack.ts";
import config from "../deno.json" with { type: "json" };

const usage = `usage: deno task compile [--runtime=denort|deno] [--target=TRIPLE]

  --runtime   denort: what deno compile makes. deno: self-contained, carries the deno executable.
              Default: denort, and deno where denort's runtime cannot be had.
  --target    for another platform than this one, by denort only: see deno compile --help
`;

const root = resolve(import.meta.dirname!, "..");
const entry = join(root, "main.ts");

/** What main.ts imports when the process has confined itself, which may start it again. */
const REST = "./proxy/cli/program.ts";

/** What of {@link REST} few need, and as what it is imported there, by no other name and nothing else. */
const LIBRARIES = [
  { path: "./proxy/certificates/x509.ts", specifier: "./x509.ts" },
  { path: "./proxy/bind/stream/grpc/library.ts", specifier: "./library.ts" },
] as const;

/** The program is all there is: nothing beside it, above it or in the network is looked for. */
const selfContained = [
  "--no-config",
  "--no-lock",
  "--no-npm",
  "--no-remote",
  "--cached-only",
  "--no-code-cache",
];

/** The executable would be made without what is imported late. */
const IMPORTS_LATE = "--unstable-lazy-dynamic-imports";

if (import.meta.main) process.exitCode = await main(Deno.args);

/** @returns the exit status: 2 for wrong arguments, 1 for what cannot be had or made */
export async function main(
  args: string[],
  output = join(root, "dist", "wirestack"),
): Promise<number> {
  let options;
  try {
    options = parse(args);
  } catch (error) {
    console.error(`compile: ${(error as Error).message}\n\n${usage}`);
    return 2;
  }
  if (options.help) {
    console.log(usage);
    return 0;
  }
  const { runtime, target } = options;
  await mkdir(dirname(output), { recursive: true });

  // `deno bundle` does not check types, and a failed `deno compile` shall mean its runtime.
  const checked = await deno(["check", "--quiet", entry]);
  if (!checked.success) {
    console.error(checked.errors);
    return 1;
  }
  if (runtime !== "deno") {
    const made = await compile(output, target);
    if (made.success) {
      console.log(`wrote ${output} (denort${target === undefined ? "" : `, ${target}`})`);
      return 0;
    }
    if (!made.noRuntime) return 1;
    if (runtime === "denort" || target !== undefined) {
      console.error(`compile: denort cannot be had: ${made.noRuntime}`);
      return 1;
    }
    console.error(
      `compile: denort cannot be had (${made.noRuntime}): writing a self-contained executable that carries deno`,
    );
  }
  const size = await bundleAndPack(output);
  if (size === undefined) return 1;
  console.log(`wrote ${output} (deno ${Deno.version.deno}, ${(size / 1e6).toFixed(1)} MB)`);
  return 0;
}

function parse(args: string[]) {
  const { values } = parseArgs({
    args,
    options: {
      runtime: { type: "string" },
      target: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.runtime !== undefined && values.runtime !== "denort" && values.runtime !== "deno") {
    throw new TypeError(`--runtime: ${values.runtime}: expected denort or deno`);
  }
  if (values.runtime === "deno" && values.target !== undefined) {
    throw new TypeError(
      "--target: needs --runtime=denort: deno carries this machine's own executable",
    );
  }
  return values;
}

/**
 * What `deno task start` may do is what the executable may do.
 *
 * @param userFolders What stands for the folders that variables of the environment name when it runs.
 */
export function permissions(userFolders = ""): string[] {
  const [options] = config.tasks.start.command.split(' "$ROOT/main.ts"');
  return [
    ...options!.split(" ").filter((word) => word.startsWith("--") && word !== IMPORTS_LATE)
      .map((word) => word.replace(/(,\$[\w/.]+)+$/, userFolders)),
    ...config.unstable.map((feature) => `--unstable-${feature}`),
  ];
}

async function compile(
  output: string,
  target: string | undefined,
): Promise<{ success: boolean; noRuntime?: string }> {
  // Beside it: deno overwrites nothing but what it has made, and what runs is not to be written to.
  // The name stays, to which it may add something.
  const folder = `${output}.${process.pid}.d`;
  let success, errors;
  try {
    ({ success, errors } = await deno([
      "compile",
      "--quiet",
      "--no-check",
      ...permissions(),
      ...(target === undefined ? [] : ["--target", target]),
      "--output",
      join(folder, basename(output)),
      entry,
    ]));
    if (success) {
      for (const name of await readdir(folder)) {
        await rename(join(folder, name), join(dirname(output), name));
      }
      return { success };
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  // The one failure that has a way out; whatever else is wrong is shown as it came.
  const reason = errors.match(/Setting up base binary\.\s+(?:\d+: )?(.*)/)?.[1] ??
    errors.match(/Could not find denort.*/)?.[0];
  // A DENORT_BIN that was asked for and is not there is a mistake to show, not to work around.
  if (reason === undefined || process.env.DENORT_BIN) {
    console.error(errors);
    return { success };
  }
  return { success, noRuntime: reason };
}

async function bundleAndPack(output: string): Promise<number | undefined> {
  const named = (name: string) => `${output}.${process.pid}.${name}`;
  const [program, rest] = [named("js"), named("rest.js")];
  const libraries = LIBRARIES.map((_, i) => named(`library${i}.js`));
  const temporary = `${output}.${process.pid}`;
  try {
    const bundle = ["bundle", "--quiet", "--platform", "deno"];
    for (
      const arguments_ of [
        [...bundle, "--external", REST, "--output", program, entry],
        [
          ...[...bundle, ...LIBRARIES.flatMap(({ specifier }) => ["--external", specifier])],
          ...["--output", rest, join(root, REST)],
        ],
        ...LIBRARIES.map(({ path }, i) => [
          ...[...bundle, "--minify", "--output", libraries[i]!, join(root, path)],
        ]),
      ]
    ) {
      const { success, errors } = await deno(arguments_);
      if (success) continue;
      console.error(errors);
      return undefined;
    }
    const text = await readFile(program, "utf8");
    const pieces = pack({
      program: (name) => new TextEncoder().encode(importing(text, name)),
      rest: new TextEncoder().encode(
        carrying(
          await readFile(rest, "utf8"),
          await Promise.all(libraries.map((file) => readFile(file, "utf8"))),
        ),
      ),
      runtime: await readFile(Deno.execPath()),
      flags: [...selfContained, ...permissions(USER_FOLDERS)],
      launcher: await readFile(join(import.meta.dirname!, "launcher.sh"), "utf8"),
    });
    await using file = await open(temporary, "w");
    for (const piece of pieces) await file.writeFile(piece);
    await chmod(temporary, 0o755);
    await rename(temporary, output);
    return pieces.reduce((sum, piece) => sum + piece.length, 0);
  } finally {
    for (const bundle of [program, rest, ...libraries]) await rm(bundle, { force: true });
    await rm(temporary, { force: true });
  }
}

/**
 * Has a bundle import a file beside it in place of {@link REST}. By a variable: what stands in an
 * import itself the runtime reads and looks through before anything runs.
 */
function importing(program: string, name: string): string {
  const statement = `import("${REST}")`;
  if (!program.includes(statement)) throw new Error(`the bundle of main.ts has no ${statement}`);
  return `const wirestackRest = "./${name}";\n${
    program.replaceAll(statement, "import(wirestackRest)")
  }`;
}

/**
 * Has a bundle carry {@link LIBRARIES} as text. What is never looked through costs a start nothing: as
 * code one took 18 ms. In functions, for nobody keeps what is in one that was not called.
 */
function carrying(rest: string, libraries: readonly string[]): string {
  let text = rest;
  let carried = "";
  for (const [i, { specifier }] of LIBRARIES.entries()) {
    const statement = `import("${specifier}")`;
    if (!text.includes(statement)) throw new Error(`the bundle of ${REST} has no ${statement}`);
    // What is no file has no place of its own to look for others from, and looks for none.
    const code = libraries[i]!.replaceAll("(import.meta.url)", '("file:///wirestack.js")');
    const base64 = new TextEncoder().encode(code).toBase64();
    carried += `const wirestackLibrary${i} = () => "data:text/javascript;base64,${base64}";\n`;
    text = text.replaceAll(statement, `import(wirestackLibrary${i}())`);
  }
  return carried + text;
}

/** Runs this deno, silently. */
async function deno(args: string[]): Promise<{ success: boolean; errors: string }> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: root,
    env: { NO_COLOR: "1" },
    stdout: "null",
    stderr: "piped",
  }).output();
  return { success, errors: new TextDecoder().decode(stderr).trimEnd() };
}
