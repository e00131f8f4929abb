/**
 * The self-contained executable: a POSIX shell script that carries the program and a `deno` executable behind itself.
 *
 * ```
 * block 0          #!/bin/sh, the figures below, launcher.sh, newlines
 * blocks 1 … n     the bundled program, padded with newlines
 * blocks n + 1 …   the deno executable
 * ```
 *
 * Whole blocks, so that `dd` (POSIX, everywhere) gets them out in one go.
 *
 * @module
 */

import { createHash } from "node:crypto";

/** What goes into the file. */
export interface Package {
  /** The bundled program: JavaScript, one file. */
  program: Uint8Array;
  /** A `deno` executable. */
  runtime: Uint8Array;
  /** Arguments for `deno run` in front of the program: permissions and the like, words without white space. */
  flags: readonly string[];
  /** launcher.sh. */
  launcher: string;
}

/** In a flag: launcher.sh puts a comma and the folder for control sockets in its place, or nothing. */
export const SESSION_FOLDER = "@SESSION@";

/** Bytes; also the room that launcher.sh has. */
const BLOCK = 32768;

/**
 * Lays out the executable, in the pieces that go to the file one after the other.
 *
 * @throws RangeError if the launcher does not fit its block
 * @throws TypeError if a flag is not a plain word
 */
export function pack({ program, runtime, flags, launcher }: Package): Uint8Array[] {
  for (const flag of flags) {
    if (!/^[\w./:,=@%+-]+$/.test(flag)) throw new TypeError(`not a plain word: ${flag}`);
  }
  const padded = pad(program);
  const header = new TextEncoder().encode(
    [
      "#!/bin/sh",
      "# Wirestack, self-contained. Binary data follows the script: see docs/binary.md.",
      `block=${BLOCK} program_blocks=${padded.length / BLOCK}`,
      ...figures("program", padded, ".js"),
      ...figures("runtime", runtime, ""),
      `flags='${flags.join(" ")}'`,
      launcher,
    ].join("\n"),
  );
  if (header.length > BLOCK) {
    throw new RangeError(`launcher of ${header.length} bytes, ${BLOCK} at most`);
  }
  return [pad(header), padded, runtime];
}

/** Files are named by their content: versions live side by side, and a runtime that is the same is there once. */
function figures(name: string, content: Uint8Array, suffix: string): string[] {
  const sha256 = createHash("sha256").update(content).digest("hex");
  const blake2b = createHash("blake2b512").update(content).digest("hex");
  return [
    `${name}_name=wirestack-${sha256.slice(0, 16)}${suffix}`,
    `${name}_sha256=${sha256}`,
    `${name}_blake2b=${blake2b}`,
  ];
}

function pad(content: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil(content.length / BLOCK) * BLOCK).fill(0x0a);
  padded.set(content);
  return padded;
}
