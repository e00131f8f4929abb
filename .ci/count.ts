/**
 * The last line of `.ci/run`: `N passed, N failed, N skipped`, counted from the JUnit report given
 * as the argument. Exit status 1 when a test failed or none ran.
 *
 * @module
 */

const report = await Deno.readTextFile(Deno.args[0]!).catch(() => "");
let passed = 0, failed = 0, skipped = 0;
// One element per test and per step; Deno puts nothing but `failure`, `error` or `skipped` in it.
for (const [testcase] of report.matchAll(/<testcase [^>]*(?:\/>|>[\s\S]*?<\/testcase>)/g)) {
  if (/<(failure|error)[ />]/.test(testcase)) failed++;
  else if (/<skipped[ />]/.test(testcase)) skipped++;
  else passed++;
}
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
if (failed > 0 || passed === 0) Deno.exitCode = 1;
