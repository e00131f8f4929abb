/** Whether `.ci/run` runs the tests: all of each, and none skipped for want of a program. */
export const isCi = (): boolean => Deno.env.get("CI") === "true";
