import assert from "node:assert/strict";

const COMPILED = import.meta.resolve("../../../proxy/cli/confine/compiled.ts");

/** Says whether it has loaded what a confined gateway would need compiled. */
const PROGRAM = `
import { keepCompiled } from ${JSON.stringify(COMPILED)};
const view = { environment: (name: string) => Deno.env.get(name), isWritable: () => true };
let loads = 0;
const isNew = await keepCompiled(view as never, import.meta.dirname, async () => {
  loads++;
  await import("./proxy/gateway/" + "gateway.ts");
});
console.log(loads, isNew);
`;

Deno.test("a gateway is loaded before it is confined where the runtime has not kept it compiled, or not with these flags", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/proxy/gateway`, { recursive: true });
    await Deno.writeTextFile(`${folder}/main.ts`, PROGRAM);
    const gateway = `${folder}/proxy/gateway/gateway.ts`;
    await Deno.writeTextFile(gateway, "export const a: number = 1;\n");
    const loads = async (...flags: string[]) => {
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "--no-config", "--no-lock", "--allow-all", ...flags, `${folder}/main.ts`],
        env: { DENO_DIR: `${folder}/cache`, NO_COLOR: "1" },
      }).output();
      const text = new TextDecoder();
      return text.decode(stdout).trim() || text.decode(stderr);
    };
    const others = "--v8-flags=--expose-gc";
    assert.equal(await loads(), "1 true", "never before");
    assert.equal(await loads(), "0 false");
    assert.equal(
      await loads(others),
      "1 false",
      "V8 takes what it has compiled with the same flags only",
    );
    assert.equal(await loads(others), "0 false");
    assert.equal(await loads(), "1 false", "what was compiled is the others' now");
    assert.equal(await loads(), "0 false");
    await Deno.writeTextFile(gateway, "export const a: number = 2;\n");
    assert.equal(await loads(), "1 false", "the source has changed");
    assert.equal(await loads(), "0 false");
    const ahead = new Date(Date.now() + 86_400_000);
    await Deno.utime(gateway, ahead, ahead);
    assert.equal(await loads(), "1 false", "it comes from a clock that is ahead");
    assert.equal(await loads(), "0 false");
    for await (const { name } of Deno.readDir(`${folder}/cache`)) {
      if (name.startsWith("v8_code_cache")) {
        await Deno.utime(`${folder}/cache/${name}`, ahead, ahead);
      }
    }
    assert.equal(await loads(), "0 false", "a clock was ahead, and has been set right");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
