/** `deno task start`, as a user runs it from a folder of their own. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";

const CONFIG = fileURLToPath(new URL("../../../deno.json", import.meta.url));

Deno.test("deno task start takes a file's name from the user's folder, not the program's", async () => {
  const folder = await Deno.makeTempDir({ prefix: "a folder of " });
  try {
    const text = `[Interface]\nPrivateKey = ${
      encodeKey(generatePrivateKey())
    }\nPeerToPeer = true\n`;
    await Deno.writeTextFile(`${folder}/wg0.conf`, text, { mode: 0o600 });
    const { INIT_CWD: _, ...env } = Deno.env.toObject(); // that of the tests' own task
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["task", "--quiet", "--config", CONFIG, "start", "check", "wg0.conf", "--no-ffi"],
      cwd: folder,
      env,
      clearEnv: true,
    }).output();
    const out = new TextDecoder().decode(stdout);
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    assert.ok(out.startsWith("wg0.conf: ok\n"), out);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
