/**
 * QR codes of a terminal, read by a program that is not ours.
 *
 * @module
 */

import assert from "node:assert/strict";
import jsqr from "npm:jsqr@1.4.0";

// deno-lint-ignore no-control-regex -- that is what is there
const COLOURS = /\x1b\[[\d;]*m/g;

/** What a camera would read from the terminal: eight pixels for a module. */
export function scan(terminal: string): string {
  const lines = terminal.trimEnd().split("\n").map((line) => [...line.replace(COLOURS, "")]);
  const SCALE = 8;
  const [width, height] = [lines[0]!.length * SCALE, lines.length * 2 * SCALE];
  const pixels = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const row = Math.floor(y / SCALE);
      const character = lines[row >> 1]![Math.floor(x / SCALE)]!;
      const isLight = (row & 1) === 0 ? "█▀".includes(character) : "█▄".includes(character);
      pixels.fill(isLight ? 255 : 0, (y * width + x) * 4, (y * width + x) * 4 + 3);
    }
  }
  const decode = jsqr as unknown as typeof jsqr.default;
  return decode(pixels, width, height)?.data ?? assert.fail("no code was found");
}
