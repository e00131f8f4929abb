import assert from "node:assert/strict";
import { MadeAuthority } from "../bind/certificates/made.ts";
import { runHere } from "./run_here.ts";

const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const HUB = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const INTERFACE = `[Interface]\nPrivateKey = ${PRIVATE}\nAddress = 10.9.0.2/24\n`;
const PEER = `[Peer]\nPublicKey = ${HUB}\nAllowedIPs = 10.9.0.0/24\n`;
const MAP = "[Proxy]\nMap = 100.64.1.0/24 -> 192.168.1.0/24\n";

async function check(text: string) {
  const file = await Deno.makeTempFile({ suffix: ".conf" });
  try {
    await Deno.writeTextFile(file, text, { mode: 0o600 });
    await Deno.chmod(file, 0o600);
    const args = ["check", "--as", "agent", "--name", "a", "--show-origin", file];
    const { status, out, error } = await runHere(args);
    return { status, out: out.replaceAll(file, "F"), error: error.replaceAll(file, "F") };
  } finally {
    await Deno.remove(file);
  }
}

Deno.test("a Map and a hub are all an agent needs, and it keeps calling", async () => {
  const { status, out, error } = await check(
    `${INTERFACE}${PEER}Endpoint = hub.example.com:51820\n${MAP}`,
  );
  assert.deepEqual([status, error], [0, ""]);
  assert.match(out, /proxy tcp, udp and icmp on nic2 for 100\.64\.1\.0\/24, 1 mapped\n/);
  assert.match(out, /PersistentKeepalive = 10\b/);
});

Deno.test("an agent's keepalive is the file's own where it has one, and nobody's who is not called", async () => {
  const { status, out } = await check(
    `${INTERFACE}${PEER}Endpoint = 192.0.2.1:51820\nPersistentKeepalive = 25\n` +
      `[Peer]\nPublicKey = ${HUB.replace("xTIB", "xTIA")}\nAllowedIPs = 10.9.0.9/32\n${MAP}`,
  );
  assert.equal(status, 0);
  assert.deepEqual(out.match(/PersistentKeepalive = \S+/g), [
    "PersistentKeepalive = 25",
    "PersistentKeepalive = 0",
  ]);
});

Deno.test("what an agent cannot be without is said in one line each", async () => {
  assert.deepEqual(await check(INTERFACE + PEER + MAP), {
    status: 2,
    out: "",
    error:
      "F:1: [Peer]: an agent calls, expected a [Peer] with the Endpoint or the Fallback of its hub\n",
  });
  assert.deepEqual(await check(`${INTERFACE}${PEER}Endpoint = 192.0.2.1:51820\n`), {
    status: 2,
    out: "",
    error: "F:1: [Proxy]: an agent serves networks, expected [Proxy] with " +
      "Map = 100.64.1.0/24 -> 192.168.1.0/24, or with Subnets\n",
  });
});

Deno.test("an agent may have fallbacks and no Endpoint, and keeps calling by them", async () => {
  const authority = await MadeAuthority.make();
  const { cert, key } = await authority.leaf();
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/cert.pem`, cert);
    await Deno.writeTextFile(`${folder}/key.pem`, key);
    await Deno.writeTextFile(`${folder}/ca.pem`, authority.cert);
    const { status, out, error } = await check(
      `${INTERFACE}${PEER}Fallback = tls://hub.example.com:443\nCert = ${folder}/cert.pem\n` +
        `Key = ${folder}/key.pem\nCa = ${folder}/ca.pem\n${MAP}`,
    );
    assert.deepEqual([status, error], [0, ""]);
    assert.match(out, /PersistentKeepalive = 10\b/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
