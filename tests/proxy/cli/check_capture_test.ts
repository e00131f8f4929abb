import assert from "node:assert/strict";
import { TempFolder } from "../../temp_folder.ts";
import { runHere } from "./run_here.ts";

const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const WIREGUARD = `[Interface]\nPrivateKey = ${PRIVATE}\nAddress = 10.9.0.1/24\n`;
const LINK = "[Link]\nName = phone\nListen = tcp:127.0.0.1:0\nFraming = length16\n";
const PROXY = "[Proxy]\nSubnets = 10.50.0.0/16\n";

/** @returns what is said of the key, if it is wrong. */
async function check(text: string, at: string, ...flags: string[]): Promise<string | undefined> {
  using folder = new TempFolder();
  const file = `${folder.path}/wg0.conf`;
  Deno.writeTextFileSync(file, text);
  const args = ["check", file, "--capture", "-", "--capture-at", at, "--log-file", "stderr"];
  const { status, error } = await runHere([...args, ...flags]);
  assert.equal(status, error.includes("--capture-at: ") ? 2 : 0, error);
  return /^--capture-at: (.*)$/m.exec(error)?.[1];
}

Deno.test("check says of a place to capture at that there is none, as the gateway would", async () => {
  for (const at of ["nic1", "nic2", "outer", "link:phone", "nic1,link:phone"]) {
    assert.equal(await check(WIREGUARD + LINK + PROXY, at), undefined, at);
  }
  assert.equal(
    await check(WIREGUARD + LINK, "nic1,link:fone"),
    '"link:fone": there is none, expected nic1, outer, link:phone',
  );
  assert.equal(
    await check(WIREGUARD, "nic2"),
    "nic2: nothing is proxied, or on NIC 1 itself, expected nic1, outer",
  );
  assert.equal(
    await check(`${LINK}${PROXY}`, "outer"),
    "outer: there is no WireGuard, expected nic2, link:phone",
  );
});

Deno.test("the device of up --tun is a link that packets are captured at", async () => {
  assert.match(`${await check(WIREGUARD, "link:wg0")}`, /^"link:wg0": there is none/);
  assert.equal(await check(WIREGUARD, "link:wg0", "--tun"), undefined);
  assert.equal(await check(WIREGUARD, "link:home", "--tun=home"), undefined);
  assert.match(`${await check(WIREGUARD, "link:wg0", "--tun=home")}`, /^"link:wg0": there is none/);
});
