/** add-peer and remove-peer in files that are no wg-quick files, and in files that include others. */

import assert from "node:assert/strict";
import { withoutPeer, withPeer } from "../../../proxy/cli/peer_edits.ts";
import { runHere } from "./run_here.ts";

const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PEER = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const OTHER = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
const ignore = Deno.build.os === "windows";

const YAML = `# The site in Bern
interface: # ours
  privateKey: ${PRIVATE}
  address: [10.9.0.1/24, fd09::1/64] # both families

peers:
  # Anna's
  - name: anna
    publicKey: ${PEER} # made by hand
    allowedIps: 10.9.0.2/32

proxy:
  subnets:
    - 10.50.0.0/16 # the office
`;

Deno.test("a peer is added to YAML and taken out again, and every comment stays", async () => {
  const peer = { publicKey: OTHER, name: "berta", allowedIps: ["10.9.0.3/32", "fd09::2/128"] };
  const added = await withPeer(YAML, peer, "yaml", "wg0.yaml");
  const at = YAML.indexOf("\nproxy:");
  assert.equal(
    added,
    `${
      YAML.slice(0, at)
    }  - name: berta\n    publicKey: ${OTHER}\n    allowedIps:\n      - 10.9.0.3/32\n` +
      `      - fd09::2/128\n${YAML.slice(at)}`,
  );
  const berta = { line: 11, index: 1, name: "berta" };
  assert.equal(await withoutPeer(added, berta, "yaml", "wg0.yaml"), YAML);

  const none = `interface: {privateKey: ${PRIVATE}}\npeers:\nproxy: # p\n`;
  for (const text of [none, none.replace("peers:\n", ""), none.replace("peers:", "peers: []")]) {
    const made = await withPeer(text, peer, "yaml", "wg0.yaml");
    assert.match(made, /^peers:\n {2}- name: berta\n/m);
    assert.ok(made.includes("# p"));
  }
  await assert.rejects(
    withPeer("a: &a []\npeers: *a\n", peer, "yaml", "wg0.yaml"),
    /wg0\.yaml: peers are written elsewhere, expected a list of its own/,
  );
});

Deno.test("JSON keeps its indentation and the order of its keys", async () => {
  const peer = { publicKey: OTHER, name: "berta" };
  for (const indentation of ["  ", "\t", "    "]) {
    const text = (peers: unknown[]) =>
      JSON.stringify({ proxy: {}, interface: { mtu: 1420 }, peers }, null, indentation) + "\n";
    const added = await withPeer(text([{ name: "a" }]), peer, "json", "wg0.json");
    assert.equal(added, text([{ name: "a" }, { name: "berta", publicKey: OTHER }]));
    const [a] = [{ line: 1, index: 0, name: "a" }];
    assert.equal(
      await withoutPeer(added, a!, "json", "wg0.json"),
      text([{ name: "berta", publicKey: OTHER }]),
    );
  }
});

for (const suffix of ["yaml", "json"]) {
  Deno.test(`add-peer and remove-peer change a .${suffix} file`, { ignore }, async () => {
    const folder = await Deno.makeTempDir();
    try {
      const file = `${folder}/wg0.${suffix}`;
      const json = JSON.stringify(
        {
          interface: { privateKey: PRIVATE, address: "10.9.0.1/24" },
          peers: [{ name: "anna", publicKey: PEER, allowedIps: "10.9.0.2/32" }],
          proxy: { subnets: ["10.50.0.0/16"] },
        },
        null,
        2,
      );
      const text = suffix === "yaml" ? YAML : json;
      await Deno.writeTextFile(file, text, { mode: 0o600 });
      const where = ["--config", file, "--control-dir", folder];
      const added = await runHere([
        ...["add-peer", "berta", "--endpoint", "vpn.example.com:51820", ...where],
      ]);
      assert.deepEqual([added.status, added.error.includes("10.9.0.3")], [0, true], added.error);
      assert.match(added.out, /^\[Interface\]\nPrivateKey = /);
      assert.ok((await Deno.readTextFile(file)).includes("berta"));
      const removed = await runHere(["remove-peer", "berta", ...where]);
      assert.deepEqual(removed, { status: 0, out: "", error: `removed berta from ${file}\n` });
      assert.equal(await Deno.readTextFile(file), text);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test(
  "included files are left alone, what they have taken is known, and variables are refused",
  {
    ignore,
  },
  async () => {
    const folder = await Deno.realPath(await Deno.makeTempDir());
    try {
      const file = `${folder}/wg0.conf`;
      const text =
        "Include = more.conf\n[Interface]\nPrivateKeyFile = key\nAddress = 10.9.0.1/24\n" +
        "[Proxy]\nSubnets = 10.50.0.0/16\n";
      const more = `[Peer]\nName = anna\nPublicKey = ${PEER}\nAllowedIPs = 10.9.0.2/32\n`;
      for (const [name, content] of [["wg0.conf", text], ["more.conf", more], ["key", PRIVATE]]) {
        await Deno.writeTextFile(`${folder}/${name}`, content!, { mode: 0o600 });
      }
      const where = ["--control-dir", folder, "--config"];
      const add = (name: string, to: string) =>
        runHere(["add-peer", name, "--endpoint", "vpn.example.com:51820", ...where, to]);
      const added = await add("berta", file);
      assert.deepEqual([added.status, added.error.includes("10.9.0.3")], [0, true], added.error);
      assert.match((await add("anna", file)).error, /NAME: anna is taken \(.*more\.conf:2\)/);
      assert.deepEqual(await runHere(["remove-peer", "anna", ...where, file]), {
        status: 2,
        out: "",
        error:
          `NAME: "anna" is at ${folder}/more.conf:1, which ${file} includes, expected it to be ` +
          "taken out there\n",
      });
      assert.equal(await Deno.readTextFile(`${folder}/more.conf`), more);
      assert.equal((await runHere(["remove-peer", "berta", ...where, file])).status, 0);

      const variables = `${folder}/wg0.env`;
      await Deno.writeTextFile(
        variables,
        `WIRESTACK_PRIVATE_KEY=${PRIVATE}\nWIRESTACK_ADDRESS=10.9.0.1/24\nWIRESTACK_PEER_TO_PEER=true\n`,
        { mode: 0o600 },
      );
      assert.deepEqual(await add("berta", variables), {
        status: 2,
        out: "",
        error: `${variables}: peers are one variable here, expected a .conf, .yaml or .json file\n`,
      });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
