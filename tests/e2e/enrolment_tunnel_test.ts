/**
 * A hub with a device of the system, that root has started and that is nobody by the time when machines
 * join it: `wirestack hub --tun`.
 *
 * @module
 */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey } from "../../mod.ts";
import { MadeAuthority } from "../proxy/bind/certificates/made.ts";
import { Lab, labTest } from "./lab.ts";
import { TunnelHost } from "./tunnel_host.ts";

const HUB = "203.0.113.2";
const PORT = 51820;
const RELAY_PORT = 8443;

labTest(
  "machines join a hub that has a device and is somebody else by then; it is killed",
  async () => {
    await using lab = await Lab.create();
    const [host, site] = [await lab.host("hub"), await lab.host("site")];
    await lab.connect(
      { host, device: "wan", addresses: [`${HUB}/24`] },
      { host: site, device: "wan", addresses: ["203.0.113.3/24"] },
    );
    const hub = await TunnelHost.create(host, `${lab.directory}/hub`);
    const machine = await TunnelHost.create(site, `${lab.directory}/site`);
    const authority = await MadeAuthority.make();
    const { cert, key } = await authority.leaf({ name: "hub", usage: "serverAuth", hosts: [HUB] });
    const folder = `${lab.directory}/hub/certs`;
    await Deno.mkdir(folder, { mode: 0o700 });
    const write = async (name: string, text: string) => {
      await Deno.writeTextFile(`${folder}/${name}`, text, { mode: 0o600 });
      return `${folder}/${name}`;
    };
    await Deno.writeTextFile(
      hub.file,
      [
        "[Interface]",
        `PrivateKey = ${encodeKey(generatePrivateKey())}`,
        "Address = 10.9.0.1/24",
        `ListenPort = ${PORT}`,
        "[Relay]",
        `Listen = tls:0.0.0.0:${RELAY_PORT}`,
        `Cert = ${await write("cert.pem", cert)}`,
        `Key = ${await write("key.pem", key)}`,
        `ClientCa = ${await write("ca.pem", authority.cert)}`,
        `ClientCaKey = ${await write("ca.key", await authority.key())}`,
        "",
      ].join("\n"),
      { mode: 0o600 },
    );
    const state = `${lab.directory}/hub/state`;
    const start = async () => {
      const process = await hub.start(["hub", "--tun", hub.file], {
        env: { STATE_DIRECTORY: state },
      });
      await process.line(/user nobody .* CAP_NET_ADMIN alone/);
      await process.line(/control socket/);
      return process;
    };
    const ask = async (...args: string[]) => {
      const { code, stdout, stderr } = await hub.wirestack(...args);
      assert.equal(code, 0, stderr);
      return stdout;
    };
    const invite = async (name: string) => {
      const text = await ask("invite", name, "--endpoint", `${HUB}:${PORT}`, "--client");
      return text.trimEnd().split("\n").at(-1)!;
    };
    const join = (token: string, name: string) =>
      machine.wirestack("join", token, "--no-run", "--out", `${lab.directory}/site/${name}.conf`);

    let process = await start();
    const token = await invite("paris");
    const joined = await join(token, "paris");
    assert.equal(joined.code, 0, joined.stderr);
    assert.match(joined.stderr + joined.stdout, /paris has joined: 10\.9\.0\.2/);
    const text = await Deno.readTextFile(`${lab.directory}/site/paris.conf`);
    assert.match(text, /^Fallback = tls:\/\/203\.0\.113\.2:8443$/m, "its certificate is signed");
    const waiting = await invite("rome");

    // What the token has left on the host, and whether the state is root's.
    assert.equal(Deno.statSync(state).uid, 0);
    await hub.kill(process);
    process = await start();
    assert.match(await ask("invites"), /paris +client +joined/);
    const late = await join(waiting, "rome");
    assert.equal(late.code, 0, late.stderr);

    await Deno.copyFile(`${lab.directory}/site/paris.conf`, machine.file);
    const client = await machine.up();
    await client.line(/peer hub: handshake complete/);
    const ping = await site.run(["ping", "-n", "-c", "3", "-W", "30", "10.9.0.1"]);
    assert.equal(ping.code, 0, `the kernel of the hub answers at its own address: ${ping.stdout}`);
    assert.match(await ask("revoke", "paris"), /^paris: revoked, its sessions have ended$/m);
    await hub.kill(process);
    process = await start();
    assert.match(await ask("invites"), /paris +client +revoked/);
    process.signal("SIGTERM");
    assert.equal((await process.exit()).code, 0, `${process}`);
    client.signal("SIGTERM");
    await client.exit();
  },
  ["ping", "bash"],
);
