/**
 * What is saved of a tunnel, and what cannot get into its file that way.
 *
 * @module
 */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";
import { frameOf, SAVE_SCRIPT, SEPARATOR } from "../../../proxy/system/save_config.ts";
import { Keeper } from "../../../proxy/system/shell.ts";

const KEY = encodeKey(generatePrivateKey());
const FILE = `# mine
[Interface]
PrivateKey = ${KEY}
Address = 10.9.0.2/24
listenport=7
PostUp = echo %i
[Peer]
PublicKey = x
# the old one
[Proxy]
Subnets = 10.0.0.0/8

[Peer]
PublicKey = y
`;

Deno.test("the file around what is saved stays as it was written, without peers, key and port", () => {
  assert.deepEqual(frameOf(FILE), {
    head: "# mine\n[Interface]\n",
    rest: "Address = 10.9.0.2/24\nPostUp = echo %i\n[Proxy]\nSubnets = 10.0.0.0/8\n",
    hasPort: true,
  });
  assert.equal(frameOf("[Peer]\nPublicKey = x\n"), undefined);
});

Deno.test("keys and peers are saved, and nothing else that a gateway might say", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/wg0.conf`;
  try {
    const save = async (text: string) => {
      await Deno.writeTextFile(path, FILE, { mode: 0o644 });
      const { head, rest } = frameOf(FILE)!;
      const keeper = new Keeper(`save=$1\n${SAVE_SCRIPT}`, [path], {
        WIRESTACK_HEAD: head,
        WIRESTACK_REST: rest,
      });
      await keeper.finish(text);
      return await Deno.readTextFile(path);
    };
    const own = `PrivateKey = ${KEY}\nListenPort = 51820\n`;
    const peer = `[Peer]\nPublicKey = ${KEY}\nName = my phone\nPresharedKey = ${KEY}\n` +
      "AllowedIPs = 10.9.0.3/32, fd09::3/128\nEndpoint = [2001:db8::1]:51820\n" +
      "Fallback = tls://hub.example.com:443, grpc://[2001:db8::1]:8443\nCert = /etc/wg/laptop.pem\n" +
      `Key = /etc/wg/laptop.key\nCa = /etc/wg/ca 1.pem\nPin = sha256/${KEY}, sha256/${KEY}\n` +
      "RenewAt = [fd09::1]:51820\n" +
      "PersistentKeepalive = 25\nRateUp = 20000kbit\nMaxTcpConnections = 7\n";
    const { head, rest } = frameOf(FILE)!;
    assert.equal(await save(`${own}${SEPARATOR}\n${peer}`), `${head}${own}${rest}\n${peer}`);
    assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
    const forged = `${own}PostUp = evil\n${SEPARATOR}\n[Interface]\nPostUp = evil\n${peer}` +
      "PostUp = evil\nEndpoint = $(evil):1\nAllowedIPs = 10.0.0.0/8`evil`\nCert = evil\n" +
      "Fallback = tls://$(evil):1\nKey = /etc/`evil`\nPin = sha256/evil\nRenewAt = evil\n[Log]\nOutput = /etc/evil\n";
    assert.ok(!(await save(forged)).includes("evil"));
    assert.equal(await save(""), FILE, "a gateway that says nothing changes nothing");
    assert.equal(await save(`ListenPort = 1\n${SEPARATOR}\n`), FILE, "nor does one without a key");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
