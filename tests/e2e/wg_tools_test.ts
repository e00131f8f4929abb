/**
 * The real `wg` against a running gateway's socket, where `wg` looks for it. Where an answer does
 * not depend on what runs, the same commands are given to `wireguard-go`.
 *
 * @module
 */

import assert from "node:assert/strict";
import { eventually, type Host, Lab, labTest, unique } from "./lab.ts";
import type { Process } from "./process.ts";
import { keyPair, presharedKey, WireguardGo } from "./wireguard_go.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** A gateway of root's, with the permissions of `deno task start:sandbox`. */
class ControlledGateway {
  readonly name = `wsc${Deno.pid}n${unique()}`;
  readonly file: string;
  readonly process: Process;
  readonly host: Host;

  private constructor(host: Host, lab: Lab, config: string) {
    this.host = host;
    this.file = `${lab.directory}/${this.name}.conf`;
    Deno.writeTextFileSync(this.file, config, { mode: 0o600 });
    host.disposeFile(this.socket);
    this.process = host.spawn("gateway", [...command(), "up", this.file], { cwd: ROOT });
  }

  static async start(host: Host, lab: Lab, config: string): Promise<ControlledGateway> {
    const gateway = new ControlledGateway(host, lab, config);
    await gateway.process.line(/control socket/);
    return gateway;
  }

  get socket(): string {
    return `/var/run/wireguard/${this.name}.sock`;
  }
}

/** As `deno task start:sandbox` runs it, but for the task itself. */
function command(): string[] {
  const { tasks } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
  const [, command] = tasks["start:sandbox"].command.split(" && deno ");
  const words = command.replace('"$ROOT/main.ts"', "main.ts").split(" ");
  return [Deno.execPath(), ...words];
}

labTest("wg's commands have the same effect on a gateway as on wireguard-go", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("host");
  const own = await keyPair();
  const settings = { privateKey: own.privateKey, addresses: ["10.9.0.1/24"], peers: [] };
  const reference = await WireguardGo.start(host, { ...settings, listenPort: 51820 });
  const text = `[Interface]\nPrivateKey = ${own.privateKey}\nListenPort = 51821\n` +
    "Address = 10.9.0.1/24\n[Proxy]\nSubnets = 10.50.0.0/16\n";
  const gateway = await ControlledGateway.start(host, lab, text);
  const [a, b, c] = await Promise.all([keyPair(), keyPair(), keyPair()]);
  const psk = await presharedKey();
  const file = async (name: string, content: string) => {
    const path = `${lab.directory}/${name}`;
    await Deno.writeTextFile(path, content, { mode: 0o600 });
    return path;
  };
  const [pskFile, keyFile] = [await file("psk", psk), await file("key", own.privateKey)];
  const section = (peer: { publicKey: string }, lines: string) =>
    `[Peer]\nPublicKey = ${peer.publicKey}\n${lines}\n`;
  const set = await file(
    "set.conf",
    `[Interface]\nPrivateKey = ${own.privateKey}\nListenPort = 51830\n` +
      section(a, `AllowedIPs = 10.9.0.2/32, fd09::2/128\nPresharedKey = ${psk}`) +
      section(b, "AllowedIPs = 10.9.0.3/32\nEndpoint = [::1]:9\nPersistentKeepalive = 25"),
  );
  const sync = await file(
    "sync.conf",
    `[Interface]\nPrivateKey = ${own.privateKey}\nListenPort = 51840\n` +
      section(a, "AllowedIPs = 10.9.0.2/32") + section(c, "AllowedIPs = 10.9.0.4/32"),
  );
  const add = await file("add.conf", section(c, "AllowedIPs = fd09::4/128, 10.9.0.3/32"));
  const bad = await file("bad.conf", section(c, "AllowedIPs = 10.9.0.3/33"));
  const commands: ((name: string) => string[])[] = [
    (name) => ["set", name, "listen-port", "51822"],
    (name) => ["set", name, "private-key", keyFile, "fwmark", "0"],
    (name) => [
      ...["set", name, "peer", a.publicKey, "preshared-key", pskFile],
      ...["endpoint", "192.0.2.1:5", "persistent-keepalive", "21"],
      ...["allowed-ips", "10.9.0.2/32,fd09::2/128,0.0.0.0/0"],
      ...["peer", b.publicKey, "allowed-ips", "10.9.0.3/32"],
    ],
    (name) => ["set", name, "peer", b.publicKey, "allowed-ips", "10.9.0.2/32"], // moves
    (name) => ["set", name, "peer", a.publicKey, "preshared-key", "/dev/null"],
    (name) => ["set", name, "peer", a.publicKey, "persistent-keepalive", "off"],
    (name) => ["set", name, "peer", a.publicKey, "allowed-ips", ""],
    (name) => ["set", name, "peer", own.publicKey, "allowed-ips", "10.9.0.9/32"],
    (name) => ["set", name, "peer", b.publicKey, "remove", "peer", c.publicKey, "remove"],
    (name) => ["setconf", name, set],
    (name) => ["setconf", name, set],
    (name) => ["addconf", name, add],
    (name) => ["addconf", name, bad],
    (name) => ["syncconf", name, sync],
    (name) => ["syncconf", name, sync],
    (name) => ["set", name, "listen-port", "51820"], // the gateway's is free, the reference moves
    (name) => ["set", name, "private-key", "/dev/null"],
    (name) => ["set", name, "private-key", keyFile],
  ];
  for (const [i, command] of commands.entries()) {
    const results = [];
    for (const name of [reference.device, gateway.name]) {
      // The two live in one namespace and cannot have one port.
      const offset = name === gateway.name ? 1000 : 0;
      const words = command(name).map((word) =>
        /^518\d\d$/.test(word) ? `${+word + offset}` : word
      );
      if (name === gateway.name) await shiftPorts([set, sync], offset);
      const { code, stderr } = await host.run(["wg", ...words]);
      if (name === gateway.name) await shiftPorts([set, sync], -offset);
      results.push({ code, stderr, state: await dump(host, name, offset) });
    }
    assert.deepEqual(results[1], results[0], `command ${i}: ${command("NAME").join(" ")}`);
  }

  assert.match(
    await host.output(["wg", "show", "interfaces"]),
    new RegExp(`\\b${gateway.name}\\b`),
  );
  const conf = await host.output(["wg", "showconf", gateway.name]);
  assert.match(conf, /^\[Interface\]\nListenPort = 52820\nPrivateKey = /);
  for (const what of ["public-key", "listen-port", "peers", "endpoints", "transfer", "fwmark"]) {
    await host.output(["wg", "show", gateway.name, what]);
  }
  const refused = await host.run(["wg", "set", gateway.name, "fwmark", "0x2a"]);
  assert.deepEqual([refused.code, refused.stderr], [
    1,
    "Unable to modify interface: Operation not supported\n",
  ]);
  const taken = await host.run(["wg", "set", gateway.name, "listen-port", "51820"]);
  assert.deepEqual([taken.code, taken.stderr], [
    1,
    "Unable to modify interface: Address already in use\n",
  ]);
  assert.equal((await host.output(["wg", "show", gateway.name, "listen-port"])).trim(), "52820");

  gateway.process.signal("SIGTERM");
  assert.equal((await gateway.process.exit()).code, 0);
  await assert.rejects(Deno.lstat(gateway.socket), Deno.errors.NotFound);
  const log = gateway.process.lines.join("\n");
  for (const secret of [own.privateKey, psk, Uint8Array.fromBase64(psk).toHex()]) {
    assert.ok(!log.includes(secret.slice(0, 42)));
  }
}, []);

labTest("a killed gateway's socket is replaced, a running one's name is taken", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("host");
  const { privateKey } = await keyPair();
  const text = `[Interface]\nPrivateKey = ${privateKey}\nAddress = 10.9.0.1/24\n`;
  const gateway = await ControlledGateway.start(host, lab, text);
  assert.equal(Deno.lstatSync(gateway.socket).mode! & 0o777, 0o700);
  const second = await host.run([...command(), "up", gateway.file], { cwd: ROOT });
  assert.equal(second.code, 1);
  assert.match(second.stderr, new RegExp(`${gateway.name}\\.sock is another process's, expected`));
  Deno.kill(gateway.process.worker, "SIGKILL");
  await gateway.process.exit();
  assert.equal(Deno.lstatSync(gateway.socket).isSocket, true);
  const third = host.spawn("again", [...command(), "up", gateway.file], { cwd: ROOT });
  await third.line(/control socket/);
  await host.output(["wg", "show", gateway.name]);
  third.signal("SIGTERM");
  assert.equal((await third.exit()).code, 0);
  await assert.rejects(Deno.lstat(gateway.socket), Deno.errors.NotFound);
});

labTest("setconf and syncconf with what is there keep the session and the socket", async () => {
  await using lab = await Lab.create();
  const [host, far] = [await lab.host("gateway"), await lab.host("client")];
  await lab.connect(
    { host, device: "eth0", addresses: ["192.168.77.1/24"] },
    { host: far, device: "eth0", addresses: ["192.168.77.2/24"] },
  );
  const [own, other] = [await keyPair(), await keyPair()];
  const text = `[Interface]\nPrivateKey = ${own.privateKey}\nListenPort = 51820\n` +
    `Address = 10.9.0.1/24\n[Peer]\nPublicKey = ${other.publicKey}\nAllowedIPs = 10.9.0.2/32\n`;
  const gateway = await ControlledGateway.start(host, lab, text);
  const client = await WireguardGo.start(far, {
    privateKey: other.privateKey,
    addresses: ["10.9.0.2/24"],
    peers: [{
      publicKey: own.publicKey,
      allowedIps: ["10.9.0.0/24"],
      endpoint: "192.168.77.1:51820",
    }],
  });
  const ping = () => far.output(["ping", "-c", "1", "-W", "30", "10.9.0.1"]);
  await ping();
  const handshake = async () =>
    (await host.output(["wg", "show", gateway.name, "latest-handshakes"])).split("\t")[1];
  const before = await handshake();
  const conf = `${lab.directory}/strip`;
  const stripped = await host.output([...command(), "strip", gateway.file], { cwd: ROOT });
  await Deno.writeTextFile(conf, stripped, { mode: 0o600 });
  for (const command of ["setconf", "syncconf", "setconf", "addconf"]) {
    await host.output(["wg", command, gateway.name, conf]);
    await ping();
  }
  assert.equal(await handshake(), before);
  // What wg says stands first in what wirestack says. The seconds may pass between the two.
  const withoutTime = (text: string) => text.replace(/(latest handshake: ).*/, "$1…");
  const shown = await host.output([...command(), "show", gateway.name], { cwd: ROOT });
  const wg = await host.output(["wg", "show", gateway.name]);
  assert.ok(withoutTime(shown).startsWith(withoutTime(wg)), `${shown}\n\n${wg}`);
  assert.match(shown, /\n\ngateway: up /);
  assert.equal(
    await host.output([...command(), "reload", gateway.file], { cwd: ROOT }),
    `${gateway.name}: reloaded, nothing has changed\n`,
  );
  await ping();
  assert.equal(await handshake(), before);
  // The client has not had to shake hands again either, which counts handshakes of both sides.
  assert.ok((await client.peer()).latestHandshake > 0);
  await host.output(["wg", "set", gateway.name, "listen-port", "51999"]);
  // The gateway speaks first from there, and the client follows.
  await host.output([
    "wg",
    "set",
    gateway.name,
    "peer",
    other.publicKey,
    "persistent-keepalive",
    "1",
  ]);
  await eventually("the client follows to the new port", async () => {
    return (await client.peer()).endpoint === "192.168.77.1:51999";
  });
  await ping();
});

/** Adds to the ports in files. */
async function shiftPorts(files: string[], offset: number): Promise<void> {
  for (const path of files) {
    const text = await Deno.readTextFile(path);
    const shifted = text.replace(
      /ListenPort = (\d+)/,
      (_, port) => `ListenPort = ${+port + offset}`,
    );
    await Deno.writeTextFile(path, shifted);
  }
}

/** `wg show NAME dump`, without what the network and the order of a map decide. */
async function dump(host: Host, name: string, offset: number) {
  const [first, ...peers] = (await host.output(["wg", "show", name, "dump"])).trimEnd().split("\n");
  const device = first!.split("\t");
  device[2] = `${+device[2]! - offset}`;
  return {
    device,
    peers: peers.map((line) => {
      const [key, psk, endpoint, allowed, _handshake, _rx, _tx, keepalive] = line.split("\t");
      return [key, psk, endpoint, allowed!.split(",").sort().join(","), keepalive];
    }).sort(),
  };
}
