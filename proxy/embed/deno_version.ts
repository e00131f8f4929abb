/**
 * Refuses a Deno that is too old while the module loads, before what it lacks is looked for.
 *
 * @module
 */

import { denoProblem } from "../version.ts";

const problem = denoProblem(Deno.version.deno);
if (problem !== undefined) throw new Error(`Wirestack ${problem}`);
