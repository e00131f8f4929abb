/**
 * Many random sequences against the plain twins: `deno task test:twins [--sequences N] [--first N]`.
 * Ends with the first difference, which names its seed.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { TWINS } from "./twins.ts";

const { values } = parseArgs({
  options: {
    sequences: { type: "string", default: "1000000" },
    first: { type: "string", default: "0" },
  },
});
const first = Number(values.first);
const sequences = Number(values.sequences);
if (!Number.isSafeInteger(first) || !Number.isSafeInteger(sequences) || sequences < 1) {
  throw new RangeError("--sequences and --first are whole numbers");
}
for (const [name, compare] of Object.entries(TWINS)) {
  const start = performance.now();
  let operations = 0;
  for (let seed = first; seed < first + sequences; seed++) operations += compare(seed);
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  console.log(
    `${name}: ${sequences} sequences, ${operations} operations, ${seconds} s: no difference`,
  );
}
