import assert from "node:assert/strict";
import { Nftables, NftablesError } from "../../ffi/mod.ts";
import { aloneLabTest, type Host, Lab, labTest } from "../e2e/lab.ts";
import { within } from "../e2e/network_namespace.ts";

async function ruleset(host: Host): Promise<string> {
  return await host.output(["nft", "list", "ruleset"]);
}

aloneLabTest("a script is run, listed as nft lists it, and undone", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("host");
  using nftables = new Nftables();
  const run = (...args: Parameters<Nftables["run"]>) => within(host, () => nftables.run(...args));
  const script = `
    table inet wirestack-test {
      chain forward {
        type filter hook forward priority filter; policy accept;
        iifname "tun0" tcp flags syn tcp option maxseg size set rt mtu
      }
    }`;
  run(script, { check: true });
  assert.equal(await ruleset(host), "", "a check changes nothing");
  run(script);
  assert.equal(run("list ruleset"), await ruleset(host));
  const { nftables: items } = JSON.parse(run("list chains", { json: true }));
  const chain = items.find((item: object) => "chain" in item).chain;
  assert.equal(chain.hook, "forward");
  assert.ok(chain.handle > 0);
  const added = run('add rule inet wirestack-test forward oifname "tun0" accept', {
    ...{ json: true, echo: true },
  });
  const { handle } = JSON.parse(added).nftables.find((one: { add?: { rule?: object } }) =>
    one.add?.rule
  ).add.rule;
  run(`delete rule inet wirestack-test forward handle ${handle}`);
  run("delete table inet wirestack-test");
  assert.equal(await ruleset(host), "");
});

aloneLabTest("a script that is refused changes nothing, and the error is nft's own", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("host");
  using nftables = new Nftables();
  const run = (script: string) => within(host, () => nftables.run(script));
  assert.throws(
    () => run("add table inet a\nadd chain inet b c"),
    (error) =>
      error instanceof NftablesError &&
      /^Error: No such file or directory/.test(error.message),
  );
  assert.throws(() => run("add nonsense"), /syntax error, unexpected/);
  assert.equal(await ruleset(host), "");
});

labTest("beside thousands of open files rules are still read and changed", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("host");
  // In a process of its own: libnftables waits with select, and glibc ends who gives that a high number.
  const program = `
    import { Nftables } from ${JSON.stringify(new URL("../../ffi/mod.ts", import.meta.url).href)};
    using early = new Nftables();
    const files = [];
    while (files.length < 1500) files.push(Deno.openSync("/dev/null"));
    early.run("add table inet early");
    console.log(early.run("list tables").trim());
    try {
      using late = new Nftables();
      late.run("list tables");
    } catch (error) {
      console.log(error.message);
    }
    files.pop();
    for (const file of files.splice(0, 1200)) file.close();
    using later = new Nftables();
    console.log(later.run("list tables").trim());
  `;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, program);
    const said = await host.output([Deno.execPath(), "run", "-A", "--no-check", "--quiet", file]);
    assert.deepEqual(said.trim().split("\n"), [
      "table inet early",
      "nftables needs a file descriptor below 1024, and none is free",
      "table inet early",
    ]);
  } finally {
    await Deno.remove(file);
  }
});
