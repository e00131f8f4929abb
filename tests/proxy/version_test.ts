import assert from "node:assert/strict";
import { denoProblem, OLDEST_DENO } from "../../proxy/version.ts";

Deno.test("an older Deno than is known to work is named, with the one that is needed", () => {
  for (const version of ["2.7.14", "2.5.6", "1.46.3", "2.7.14+abcdef0", "2.8.0"]) {
    assert.equal(
      denoProblem(version, "2.8.1"),
      `needs Deno 2.8.1 or newer, this is ${version}`,
    );
  }
  for (const version of ["2.8.1", "2.8.3", "2.10.0", "3.0.0", "2.8.1-rc.1", "2.9.6+abcdef0"]) {
    assert.equal(denoProblem(version, "2.8.1"), undefined, version);
  }
  assert.equal(denoProblem(Deno.version.deno), undefined);
});

Deno.test("the program and the module check the version before they load anything that needs it", async () => {
  const root = new URL("../../", import.meta.url);
  // The version that the check sees; what comes after it would not run with an old one.
  const pretend = (code: string) =>
    new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--quiet", "--no-prompt", "--allow-read", "--preload"],
        `data:text/javascript,Object.defineProperty(Deno, "version", { value: { deno: "2.7.14" } })`,
        ...code === "" ? [new URL("main.ts", root).href, "--version"] : [
          `data:text/javascript,${encodeURIComponent(code)}`,
        ],
      ],
      env: { NO_COLOR: "1" },
    }).output();
  const message = `needs Deno ${OLDEST_DENO} or newer, this is 2.7.14`;
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

  const program = await pretend("");
  assert.deepEqual([program.code, text(program.stdout)], [1, ""]);
  assert.equal(text(program.stderr), `wirestack: ${message}\n`);

  const module = new URL("mod.ts", root).href;
  const { code, stdout } = await pretend(
    `try { await import(${JSON.stringify(module)}) } catch (error) { console.log(error.message) }`,
  );
  assert.deepEqual([code, text(stdout)], [0, `Wirestack ${message}\n`]);
});

Deno.test("nothing is imported by name that the node:process of an older Deno does not have", async () => {
  // Such an import ends the module before it can check the version, with an error of the linker's.
  const root = new URL("../../", import.meta.url);
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "info",
      "--json",
      "--no-config",
      "--no-lock",
      "--no-remote",
      new URL("mod.ts", root).href,
    ],
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as {
    modules: { specifier: string; local?: string }[];
  };
  const ours = modules.filter(({ specifier }) => specifier.startsWith(root.href));
  assert.ok(ours.length > 100, `${ours.length} modules`);
  for (const { specifier, local } of ours) {
    assert.doesNotMatch(
      await Deno.readTextFile(local!),
      /^import \{[^}]*\} from "node:process"/m,
      specifier,
    );
  }
});

Deno.test("the pages name the oldest version that is accepted, and the one that everything is tested with", async () => {
  const read = (name: string) => Deno.readTextFile(new URL(`../../${name}`, import.meta.url));
  const [, section] = (await read("docs/configuration.md")).split("## Versions of Deno\n");
  const [, oldest, tested] =
    /^\n([\d.]+) or newer;[^]*?Everything is tested with ([\d.]+)\./.exec(section!) ?? [];
  assert.equal(oldest, OLDEST_DENO);
  assert.match(await read("CHANGELOG.md"), new RegExp(`^- Deno ${OLDEST_DENO} or newer`, "m"));
  const run = await read(".ci/run");
  for (const page of ["README.md", "CONTRIBUTING.md", "docs/binary.md"]) {
    const named = Array.from((await read(page)).matchAll(/deno@([\d.]+)/g), ([, at]) => at);
    assert.deepEqual([...new Set(named)], [tested], page);
  }
  assert.ok(run.includes(`deno@${tested} `));
});
