/**
 * The self-contained executable: a POSIX shell script that carries the program and a `deno` executable behind itself.
 *
 * ```
 * block 0          #!/bin/sh, the figures below, launcher.sh, newlines
 * blocks 1 … n     the bundled program, padded with newlines
 * blocks n + 1 …   the rest that it loads, in the same way
 * blocks m + 1 …   the deno executable
 * ```
 *
 * Whole blocks, so that `dd` (POSIX, everywhere) gets them out in one go.
 *
 * @module
 */

import { createHash } from "node:crypto";

/** What goes into the file. */
export interface Package {
  /** The bundled program: JavaScript, one file. Is told the name that {@link rest} gets beside it. */
  program: (rest: string) => Uint8Array;
  /** What the program imports: JavaScript, one file. Apart, for it is not loaded before it is needed. */
  rest: Uint8Array;
  /** A `deno` executable. */
  runtime: Uint8Array;
  /** Arguments for `deno run` in front of the program: permissions and the like, words without white space. */
  flags: readonly string[];
  /** launcher.sh. */
  launcher: string;
}

/** In a flag: launcher.sh puts the folders for control sockets and state in its place, each behind a comma. */
export const USER_FOLDERS = "@FOLDERS@";

/** Bytes; also the room that launcher.sh has. */
const BLOCK = 32768;

/**
 * Lays out the executable, in the pieces that go to the file one after the other.
 *
 * @throws RangeError if the launcher does not fit its block
 * @throws TypeError if a flag is not a plain word
 */
export function pack({ program, rest, runtime, flags, launcher }: Package): Uint8Array[] {
  for (const flag of flags) {
    if (!/^[\w./:,=@%+-]+$/.test(flag)) throw new TypeError(`not a plain word: ${flag}`);
  }
  const paddedRest = pad(rest);
  const padded = pad(program(nameOf(paddedRest, ".rest.js")));
  const header = new TextEncoder().encode(
    [
      "#!/bin/sh",
      "# Wirestack, self-contained. Binary data follows the script: see docs/binary.md.",
      `block=${BLOCK} program_blocks=${padded.length / BLOCK} rest_blocks=${
        paddedRest.length / BLOCK
      }`,
      ...figures("program", padded, ".js"),
      ...figures("rest", paddedRest, ".rest.js"),
      ...figures("runtime", runtime, ""),
      `flags='${flags.join(" ")}'`,
      launcher,
    ].join("\n"),
  );
  if (header.length > BLOCK) {
    throw new RangeError(`launcher of ${header.length} bytes, ${BLOCK} at most`);
  }
  return [pad(header), padded, paddedRest, runtime];
}

/** Files are named by their content: versions live side by side, and a runtime that is the same is there once. */
function figures(name: string, content: Uint8Array, suffix: string): string[] {
  const blake2b = createHash("blake2b512").update(content).digest("hex");
  return [
    `${name}_name=${nameOf(content, suffix)}`,
    `${name}_sha256=${sha256(content)}`,
    `${name}_blake2b=${blake2b}`,
  ];
}

function nameOf(content: Uint8Array, suffix: string): string {
  return `wirestack-${sha256(content).slice(0, 16)}${suffix}`;
}

function sha256(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

function pad(content: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil(content.length / BLOCK) * BLOCK).fill(0x0a);
  padded.set(content);
  return padded;
}
