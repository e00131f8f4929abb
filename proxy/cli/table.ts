/**
 * Tables for people: two spaces between columns.
 *
 * @module
 */

/** How wide each column is. */
export function widthsOf(head: readonly string[], rows: Iterable<readonly string[]>): number[] {
  const widths = head.map((cell) => cell.length);
  for (const row of rows) {
    row.forEach((cell, i) => widths[i] = Math.max(widths[i]!, cell.length));
  }
  return widths;
}

/** @param isFigure Of which columns the ends are in line, and not the beginnings. Default: of none. */
export function lineOf(
  row: readonly string[],
  widths: readonly number[],
  isFigure: (column: number) => boolean = () => false,
): string {
  const cells = row.map((cell, i) =>
    isFigure(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)
  );
  return `${cells.join("  ").trimEnd()}\n`;
}
