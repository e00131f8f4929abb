import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";
import { ConfigReader } from "../../../proxy/cli/load.ts";
import { processTerminal } from "../../../proxy/cli/terminal.ts";
import { textLines, textsOf } from "../../../proxy/cli/texts.ts";
import { ConfigError, ForbiddenFilesError } from "../../../proxy/config/error.ts";
import { ControlLab } from "../control/lab.ts";
import { captureLog } from "../log/capture.ts";

const KEYS = [1, 2].map(() => encodeKey(generatePrivateKey()));
/** Outside of the first plane, so that a cut in its middle would show. */
const NAME = "🦊".repeat(20);

async function folderOf(files: Record<string, string>) {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(`${folder}/${name}`, text, { mode: 0o600 });
  }
  return {
    folder,
    file: `${folder}/wg0.conf`,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

const CONFIG = `[Interface]
PrivateKeyFile = key
PeerToPeer = true
MTU = 1400
Include = more.conf
Include = none.conf

[Relay]
Listen = tls:127.0.0.1:8443
Cert = cert.pem
Key = missing.pem
`;

Deno.test("the texts of a configuration are those of its files and of keys in files, and of no other", async () => {
  await using site = await folderOf({
    "wg0.conf": CONFIG,
    "more.conf": `[Peer]\nName = ${NAME}\nPublicKey = ${KEYS[1]}\n`,
    "key": `${KEYS[0]}\n`,
    "cert.pem": "secret",
  });
  const texts = (await textsOf(site.file))!;
  assert.deepEqual(
    Object.keys(texts).map((name) => name.replace(`${site.folder}/`, "")).sort(),
    ["key", "more.conf", "wg0.conf"],
  );
  assert.equal(texts[site.file], CONFIG);
  assert.equal(await textsOf(`${site.folder}/other.conf`), undefined);

  const long = { ...texts, "/x": NAME.repeat(100) };
  const lines = textLines(long);
  assert.ok(lines.length > 2 && lines.every(({ length }) => length < 4096));
  const parts = lines.map((line) => decodeURIComponent(line.replace("texts=", "")));
  assert.deepEqual(JSON.parse(parts.join("")), long);
});

Deno.test("texts stand in for files of their names, once", async () => {
  await using site = await folderOf({ "wg0.conf": "[Interface]\n", "more.conf": "", "key": "" });
  const config = CONFIG.slice(0, CONFIG.indexOf("\n[Relay]")).replace("Include = none.conf\n", "");
  const texts = new Map([
    [site.file, config],
    [`${site.folder}/more.conf`, `# ${NAME}\n[Peer]\nName = fox\nPublicKey = ${KEYS[1]}\n`],
    [`${site.folder}/key`, KEYS[0]!],
    [`${site.folder}/cert.pem`, "not named"],
  ]);
  const reader = new ConfigReader({ file: site.file }, processTerminal);
  const { config: { mtu, privateKey, peers } } = await reader.load(texts);
  assert.deepEqual([mtu, encodeKey(privateKey!)], [1400, KEYS[0]]);
  assert.deepEqual(peers.map(({ name }) => name), ["fox"]);
  await assert.rejects(reader.load(), ConfigError);
});

Deno.test("a reload that may not read says so, and takes what somebody else has read", async () => {
  using _log = captureLog();
  await using lab = await ControlLab.start();
  lab.load = (texts) => {
    if (texts === undefined) throw new ForbiddenFilesError(["wg0.conf: permission denied"]);
    assert.deepEqual([...texts], [["/wg0.conf", NAME]]);
    return undefined;
  };
  const none = await lab.ask("wirestack_reload=1\n\n");
  assert.equal(none, "problem=wg0.conf%3A%20permission%20denied\nforbidden=1\nerrno=-22\n\n");
  const lines = textLines({ "/wg0.conf": NAME }).join("\n");
  assert.equal(await lab.ask(`wirestack_reload=1\n${lines}\n\n`), "errno=0\n\n");
  for (const wrong of ["x", "[1]", "null", '{"a":1}']) {
    assert.match(
      await lab.ask(`wirestack_reload=1\ntexts=${encodeURIComponent(wrong)}\n\n`),
      /^problem=texts%3A%20expected%20parts%20of%20a%20JSON%20object/,
      wrong,
    );
  }
});
