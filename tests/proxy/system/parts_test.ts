/**
 * What a whole-system tunnel asks of names, users and programs.
 *
 * @module
 */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { parseIpAddress, parsePrefix } from "../../../proxy/address.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import { withOptionalValues } from "../../../proxy/cli/commands/up_options.ts";
import { findEndpoints } from "../../../proxy/system/endpoints.ts";
import { describeTunnel } from "../../../proxy/system/summary.ts";
import { Keeper } from "../../../proxy/system/shell.ts";
import { describeUser, findUser } from "../../../proxy/system/user.ts";
import { runHere } from "../cli/run_here.ts";

const PASSWD = "root:x:0:0:root:/root:/bin/sh\nwire:x:990:980::/:/bin/false\n";

const NEVER = new AbortController().signal;

Deno.test("endpoints are looked up before the tunnel is there, as often as wg does, and once for the gateway", async () => {
  const asked: string[] = [];
  let isReady = false;
  const resolve = (name: string) => {
    asked.push(name);
    return isReady || name === "b.test"
      ? Promise.resolve([parseIpAddress("192.0.2.7")!, parseIpAddress("2001:db8::7")!])
      : Promise.reject(new Error("no such name"));
  };
  const peers = ["a.test:1", "b.test:2", "a.test:3", "192.0.2.9:4"].map(peer);
  const pause = () => Promise.resolve(void (isReady = asked.length === 3));
  const found = await findEndpoints(peers, resolve, NEVER, pause);
  assert.deepEqual(asked, ["a.test", "a.test", "a.test", "a.test", "b.test"]);
  assert.deepEqual(found.addresses.map(String), [
    ...["192.0.2.7", "192.0.2.7", "192.0.2.7", "192.0.2.9"],
  ]);
  asked.length = 0;
  assert.equal(`${[await found.resolve("a.test")].flat()[0]}`, "192.0.2.7");
  assert.deepEqual(asked, [], "what was found is the first answer");
  await found.resolve("a.test");
  assert.deepEqual(asked, ["a.test"], "then the name is looked up again");
  isReady = false;
  await assert.rejects(findEndpoints([peer("c.test:1")], resolve, NEVER, () => Promise.resolve()), {
    name: "SystemTunnelError",
    message:
      "Endpoint c.test: cannot be found (no such name), expected a name that resolves before " +
      "the tunnel is up, or an address",
  });
});

Deno.test("who is to stop waits neither for a name server nor for the next attempt", async () => {
  const never = () => new Promise<never>(() => {});
  const failing = () => Promise.reject(new Error("no such name"));
  const expected = {
    name: "SystemTunnelError",
    message: "Endpoint c.test: not found when it was to stop",
  };
  const stopped = new AbortController();
  const silent = findEndpoints([peer("c.test:1")], never, stopped.signal);
  const waiting = findEndpoints([peer("c.test:1")], failing, stopped.signal, never);
  const both = Promise.all([
    assert.rejects(silent, expected),
    assert.rejects(waiting, expected),
  ]);
  stopped.abort();
  await both;
});

Deno.test("what a tunnel has made of the host is said in one line", () => {
  const settings = {
    device: "wg0",
    addresses: [{ address: parseIpAddress("10.9.0.2")!, length: 32 }],
    allowedIps: ["0.0.0.0/0", "::/0", "10.50.0.0/16"].map((text) => parsePrefix(text)!),
    table: "auto" as const,
    mtu: 1420,
    killSwitch: true,
    dns: { servers: ["10.9.0.1"], domains: [] },
  };
  const more = [{
    title: "nft: masquerade wg0 by eth0",
    action: { kind: "nft" as const, script: "" },
  }];
  assert.equal(
    describeTunnel(settings, { dnsMethod: "file" }, 51820, more),
    "device wg0, MTU 1420, routes 1, default route of IPv4 and IPv6 by table 51820, " +
      "name servers 10.9.0.1 by /etc/resolv.conf, kill switch, masquerade wg0 by eth0",
  );
  assert.equal(
    describeTunnel(
      { ...settings, table: "off", killSwitch: false, dns: { servers: [], domains: [] } },
      { dnsMethod: "file" },
      undefined,
    ),
    "device wg0, MTU 1420",
  );
});

Deno.test("a user is found by name or number, and root is no user to become", () => {
  assert.deepEqual(findUser("wire", PASSWD), { name: "wire", uid: 990, gid: 980 });
  assert.deepEqual(findUser("990", PASSWD), { name: "wire", uid: 990, gid: 980 });
  assert.deepEqual(findUser("4711", PASSWD), { name: "4711", uid: 4711, gid: 4711 });
  assert.deepEqual(["990", "4711"].map((user) => describeUser(findUser(user, PASSWD))), [
    "wire (990)",
    "4711",
  ]);
  for (const user of ["root", "0"]) assert.throws(() => findUser(user, PASSWD), /expected another/);
  assert.throws(() => findUser("nobody-here", PASSWD), /there is no such user/);
});

Deno.test("a keeper runs its script when it is told to, and not when its process is gone", async () => {
  const folder = await Deno.makeTempDir();
  const here = (name: string) => `${folder}/${name}`;
  try {
    const keeper = new Keeper('printf "%s" "$2" > "$1"', [here("told"), "a b"]);
    await keeper.finish();
    assert.equal(await Deno.readTextFile(here("told")), "a b");

    // Its process ends without a word.
    const url = new URL("../../../proxy/system/shell.ts", import.meta.url);
    const code =
      `import { Keeper } from "${url}"; new Keeper('touch "$1"', ["${here("killed")}"]);` +
      `console.log("ready"); setInterval(() => {}, 1000)`;
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-lock",
        "--allow-run=/bin/sh",
        `data:text/typescript,${encodeURIComponent(code)}`,
      ],
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    child.kill("SIGKILL");
    await child.status;
    while (!(await reader.read()).done);
    // It ends when the keeper has, who has inherited it.
    assert.equal(await new Response(child.stderr).text(), "");
    await assert.rejects(Deno.stat(here("killed")), Deno.errors.NotFound);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("--tun takes a value behind = alone: what follows it is the configuration", () => {
  assert.deepEqual(withOptionalValues(["up", "--tun", "wg0.conf"]), ["up", "--tun=", "wg0.conf"]);
  assert.deepEqual(withOptionalValues(["up", "--tun=a", "b"]), ["up", "--tun=a", "b"]);
  assert.deepEqual(withOptionalValues(["up", "--", "--tun"]), ["up", "--", "--tun"]);
});

Deno.test("a name that no device can have is refused, and so is --tun without calls of the C library", async () => {
  const config = `[Interface]\nPrivateKey = ${encodeKey(generatePrivateKey())}\n`;
  const name = await runHere(["up", "--tun=a/b", "-"], config);
  assert.equal(name.status, 2);
  assert.match(name.error, /'a\/b' is invalid.*Expected 1 to 15 of/);
  const sandbox = await runHere(["up", "--tun", "--no-ffi", "-"], config);
  assert.deepEqual([sandbox.status, sandbox.error], [
    2,
    "--tun: needs calls of the C library, expected Linux, the permission --allow-ffi, and no --no-ffi\n",
  ]);
});

Deno.test("a device that clients are to be let out by, and is not there, is named before anything is changed", async () => {
  const key = encodeKey(generatePrivateKey());
  const config = `[Interface]\nPrivateKey = ${key}\nAddress = 10.9.0.1/24\n`;
  for (const args of [["--masquerade=none0"], ["--masquerade=none0", "--masquerade-force"]]) {
    const { status, error } = await runHere(["up", "--tun=wsnone", ...args, "-"], config);
    assert.match(error, /^--masquerade: there is no device none0, expected one of /);
    assert.equal(status, 2);
  }
  const own = await runHere(["up", "--tun=wsnone", "--masquerade=wsnone", "-"], config);
  assert.match(own.error, /^--masquerade: wsnone is the tunnel itself, expected the device that/);
  assert.equal(own.status, 2);
});

Deno.test("with --tun the keys of wg-quick have an effect, so nothing warns of them", async () => {
  const config = `[Interface]\nPrivateKey = ${encodeKey(generatePrivateKey())}\nDNS = 10.9.0.1\n`;
  assert.match((await runHere(["check", "-"], config)).error, /DNS: has no effect without --tun/);
  assert.ok(
    !/without --tun|neither \[Proxy\]/.test((await runHere(["check", "--tun", "-"], config)).error),
  );
});

function peer(endpoint: string) {
  const [key, other] = [generatePrivateKey(), generatePrivateKey()];
  const { config } = loadConfig({
    interface: { privateKey: key },
    peers: [{ publicKey: publicKeyOf(other), endpoint }],
  });
  return config.peers[0]!;
}
