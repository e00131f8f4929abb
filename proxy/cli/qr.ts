/**
 * QR codes in a terminal.
 *
 * @module
 */

import encodeQr from "npm:qr@0.7.0";

/** Light around the code, in modules (ISO/IEC 18004 §5.3.8). */
const QUIET_ZONE = 4;

// Colours of its own, so that a camera sees dark on light whatever the terminal's are.
const COLOURS = "\x1b[40;97m";
const RESET = "\x1b[0m";

/** Two rows of modules in a line of text. @throws {RangeError} if it does not fit into a code. */
export function formatQr(text: string): string {
  const modules = modulesOf(text);
  const isLight = (row: number, column: number) => modules[row]?.[column] !== true;
  let out = "";
  for (let row = 0; row < modules.length; row += 2) {
    let line = "";
    for (let column = 0; column < modules.length; column++) {
      const [upper, lower] = [isLight(row, column), isLight(row + 1, column)];
      line += upper ? lower ? "█" : "▀" : lower ? "▄" : " ";
    }
    out += `${COLOURS}${line}${RESET}\n`;
  }
  return out;
}

/** True is dark. */
function modulesOf(text: string): boolean[][] {
  try {
    return encodeQr(text, "raw", { ecc: "low", border: QUIET_ZONE });
  } catch (error) {
    throw new RangeError(`${text.length} characters do not fit into a QR code`, { cause: error });
  }
}
