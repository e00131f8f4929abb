import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { ConfigError, encodeKey, generatePrivateKey, publicKeyOf } from "../../../mod.ts";
import { loadSourceInput } from "../../../proxy/embed/source.ts";

Deno.test("a program's file may have any form, and name other files", async () => {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  try {
    const key = generatePrivateKey();
    const peer = encodeKey(publicKeyOf(generatePrivateKey()));
    const files = {
      "own.key": encodeKey(key),
      "peers.conf": `[Peer]\nPublicKey = ${peer}\nAllowedIPs = 10.9.0.2/32\n`,
      "wg0.yaml":
        "include: peers.conf\ninterface:\n  privateKeyFile: own.key\n  peerToPeer: true\n",
      "wg0.env":
        `WIRESTACK_PRIVATE_KEY_FILE=own.key\nWIRESTACK_PEERS='[{"publicKey": "${peer}"}]'\n`,
      "wg0.json": `{"interface": {"privateKeyFile": "none"}}`,
    };
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${folder}/${name}`, text);
    }
    for (const name of ["wg0.yaml", "wg0.env"]) {
      for (const source of [`${folder}/${name}`, pathToFileURL(`${folder}/${name}`)]) {
        const { config } = await loadSourceInput(source);
        assert.deepEqual(config.privateKey, key);
        assert.equal(encodeKey(config.peers[0]!.publicKey), peer);
      }
    }
    await assert.rejects(loadSourceInput(`${folder}/wg0.json`), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.deepEqual(error.problems, [
        `${folder}/wg0.json:1: interface.privateKeyFile: ${folder}/none: no such file, expected a file with a key`,
      ]);
      return true;
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
