import assert from "node:assert/strict";
import { withoutPeerSection as withoutPeer } from "../../../proxy/cli/peer_sections.ts";
import { formatQr } from "../../../proxy/cli/qr.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import { decodeKey, encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { ControlLab } from "../control/lab.ts";
import { scan } from "./qr_scan.ts";
import { runHere } from "./run_here.ts";

const privateKey = encodeKey(generatePrivateKey());
const FILE = `# my gateway\n[Interface]\nPrivateKey = ${privateKey} # secret\n` +
  "Address = 10.9.0.1/29, fd09::1/64\nListenPort = 51820\n\n[Peer]\n# phone\n" +
  `PublicKey = ${encodeKey(publicKeyOf(generatePrivateKey()))}\nAllowedIPs = 10.9.0.2/32\n` +
  "[Proxy]\n  Subnets = 10.50.0.0/16, 10.9.0.0/30"; // no newline at its end

/** A folder with a gateway's file, in which commands run. */
class Folder implements AsyncDisposable {
  readonly path = Deno.makeTempDirSync();
  readonly file = `${this.path}/wg0.conf`;

  constructor(text = FILE) {
    Deno.writeTextFileSync(this.file, text);
    Deno.chmodSync(this.file, 0o640);
  }

  /** Without a gateway that runs unless `controlDir` says where. */
  addPeer(args: string[], controlDir?: string) {
    return this.run("add-peer", args, controlDir);
  }

  run(command: string, args: string[], controlDir = this.path) {
    return runHere([command, "--control-dir", controlDir, "--config", this.file, ...args]);
  }

  read(): string {
    return Deno.readTextFileSync(this.file);
  }

  async [Symbol.asyncDispose]() {
    await Deno.remove(this.path, { recursive: true });
  }
}

Deno.test("the file gets a section more and keeps the rest; the client's file fits to it", async () => {
  await using folder = new Folder();
  const { status, out, error } = await folder.addPeer(["laptop", "--endpoint", "vpn.example.com"]);
  assert.equal(status, 0);
  assert.equal(error, `added laptop, 10.9.0.3 and fd09::2, to ${folder.file}\n`);
  const text = folder.read();
  assert.ok(text.startsWith(`${FILE}\n\n[Peer]\nName = laptop\nPublicKey = `));
  assert.equal(Deno.statSync(folder.file).mode! & 0o777, 0o640);
  assert.deepEqual(Array.from(Deno.readDirSync(folder.path), ({ name }) => name), ["wg0.conf"]);

  const gateway = loadConfig(text).config;
  const { config: client } = loadConfig(out);
  const added = gateway.peers[1]!;
  assert.deepEqual(added.publicKey, publicKeyOf(client.privateKey!));
  assert.deepEqual(added.allowedIps.map(String), ["10.9.0.3/32", "fd09::2/128"]);
  assert.equal(added.presharedKey, undefined);
  assert.deepEqual(client.addresses.map(({ address, length }) => `${address}/${length}`), [
    "10.9.0.3/32",
    "fd09::2/128",
  ]);
  const [peer] = client.peers;
  assert.deepEqual(peer!.publicKey, publicKeyOf(decodeKey(privateKey)!));
  assert.deepEqual(peer!.endpoint, { hostname: "vpn.example.com", port: 51820 });
  // 10.9.0.0/30 is inside the tunnel's network.
  assert.deepEqual(peer!.allowedIps.map(String), ["10.9.0.0/29", "fd09::/64", "10.50.0.0/16"]);
});

Deno.test("--psk, --dns, --allowed-ips and --out", async () => {
  await using folder = new Folder();
  const path = `${folder.path}/laptop.conf`;
  const { status, out } = await folder.addPeer([
    ...["laptop", "--endpoint", "[2001:db8::1]:7", "--psk", "--dns", "10.9.0.1, example.com"],
    ...["--allowed-ips", "0.0.0.0/0,::/0", "--out", path],
  ]);
  assert.deepEqual([status, out], [0, ""]);
  assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
  const { config: client } = loadConfig(Deno.readTextFileSync(path));
  const [peer] = client.peers;
  assert.deepEqual(client.device.dns, { servers: ["10.9.0.1"], domains: ["example.com"] });
  assert.deepEqual(peer!.allowedIps.map(String), ["0.0.0.0/0", "::/0"]);
  assert.deepEqual(peer!.endpoint, { hostname: "2001:db8::1", port: 7 });
  assert.ok(peer!.presharedKey !== undefined);
  assert.deepEqual(loadConfig(folder.read()).config.peers[1]!.presharedKey, peer!.presharedKey);
});

Deno.test("the running gateway gets the peer too, and its own peers' addresses are not given again", async () => {
  await using folder = new Folder();
  await using lab = await ControlLab.start(
    FILE.replace("ListenPort = 51820", ""),
    undefined,
    Deno.realPathSync(folder.file),
  );
  const other = publicKeyOf(generatePrivateKey()).toHex();
  await lab.ask(`set=1\npublic_key=${other}\nallowed_ip=10.9.0.3/32\n\n`);
  const { status, out, error } = await folder.addPeer(
    ["tv", "--endpoint", "a.example"],
    lab.directory,
  );
  assert.deepEqual([status, error], [
    0,
    `added tv, 10.9.0.4 and fd09::2, to ${folder.file} and to the running gateway lab\n`,
  ]);
  const publicKey = encodeKey(publicKeyOf(loadConfig(out).config.privateKey!));
  const peer = lab.gateway.stats().peers.find((peer) => peer.publicKey === publicKey);
  assert.deepEqual(peer?.allowedIps, ["10.9.0.4/32", "fd09::2/128"]);
  assert.equal(peer?.name, "tv");
});

Deno.test("a client fits to the gateway that runs, whose flags count more than its file", async () => {
  await using folder = new Folder();
  const text = FILE.replace("ListenPort = 51820", "ListenPort = 51899\nMTU = 1280")
    .replace("10.50.0.0/16, 10.9.0.0/30", "10.60.0.0/16").replace("10.9.0.1/29", "10.8.0.1/24");
  await using lab = await ControlLab.start(
    text.replace("ListenPort = 51899\n", ""),
    undefined,
    Deno.realPathSync(folder.file),
  );
  // In its file it is no proxy at all.
  Deno.writeTextFileSync(folder.file, FILE.replace(/\[Proxy\][^]*/, ""));
  lab.next = text.replace("51899", `${lab.gateway.port}`);
  await lab.ask("wirestack_reload=1\n\n");
  const { out } = await folder.addPeer(["tv", "--endpoint", "a.example"], lab.directory);
  const { config } = loadConfig(out);
  assert.equal(config.mtu, 1280);
  assert.equal(config.peers[0]!.endpoint!.port, lab.gateway.port);
  assert.deepEqual(config.addresses.map(({ address }) => `${address}`), ["10.8.0.2", "fd09::2"]);
  assert.deepEqual(config.peers[0]!.allowedIps.map(String), [
    "10.8.0.0/24",
    "fd09::/64",
    "10.60.0.0/16",
  ]);
});

Deno.test("peers come and go without the private key, where the gateway runs or its public key is given", async () => {
  const text = FILE.replace(`PrivateKey = ${privateKey}`, "PrivateKeyFile = /nowhere/key");
  await using folder = new Folder(text);
  const args = ["laptop", "--endpoint", "vpn.example.com"];
  const missing = await folder.addPeer(args);
  assert.deepEqual([missing.status, missing.error.trimEnd().split("\n"), folder.read()], [2, [
    `${folder.file}:3: PrivateKeyFile: /nowhere/key: no such file, expected a file with a key`,
    "--public-key: missing, expected the gateway's where it does not run and its private key " +
    "cannot be read",
  ], text]);
  const publicKey = encodeKey(publicKeyOf(decodeKey(privateKey)!));
  const { status, out } = await folder.addPeer([...args, "--public-key", publicKey]);
  assert.deepEqual([status, encodeKey(loadConfig(out).config.peers[0]!.publicKey)], [0, publicKey]);
  const wrong = await folder.addPeer(["other", ...args.slice(1), "--public-key", "x"]);
  assert.deepEqual([wrong.status, wrong.error], [
    2,
    "--public-key: not a key, expected the gateway's public key\n",
  ]);
  assert.equal((await folder.run("remove-peer", ["laptop"])).status, 0);
  assert.equal(folder.read().trimEnd(), text);

  await using lab = await ControlLab.start(FILE, undefined, folder.file);
  const added = await folder.addPeer(args, lab.directory);
  assert.deepEqual(
    [added.status, encodeKey(loadConfig(added.out).config.peers[0]!.publicKey)],
    [0, publicKey],
  );
});

Deno.test("remove-peer takes a peer out of the file and of the running gateway, and nothing else", async () => {
  const key = () => encodeKey(publicKeyOf(generatePrivateKey()));
  const before = `${FILE}\n\n`;
  const section = `# tv, in the hall\n[Peer]\nName = TV\n# big\n\nPublicKey = ${key()}\n\n`;
  const after = `# the last\n[Peer]\n# phone 2\nPublicKey = ${key()}\n`;
  await using folder = new Folder(before + section + after);
  await using lab = await ControlLab.start(
    folder.read().replace("ListenPort = 51820", ""),
    undefined,
    Deno.realPathSync(folder.file),
  );
  const names = () => lab.gateway.stats().peers.map(({ name }) => name);
  assert.deepEqual(names(), ["phone", "TV", "phone 2"]);
  assert.deepEqual(await folder.run("remove-peer", ["tv"], lab.directory), {
    status: 0,
    out: "",
    error: `removed TV from ${folder.file} and from the running gateway lab\n`,
  });
  // The comment above names another than "TV", and stays.
  assert.equal(folder.read(), `${before}# tv, in the hall\n${after}`);
  assert.deepEqual(names(), ["phone", "phone 2"]);
  const last = encodeKey(loadConfig(folder.read()).config.peers[1]!.publicKey);
  assert.equal((await folder.run("remove-peer", [last], lab.directory)).status, 0);
  assert.equal(folder.read(), `${before}# tv, in the hall\n# the last\n`);

  // One that was set by wg is in no file.
  const other = key();
  await lab.ask(`set=1\npublic_key=${decodeKey(other)!.toHex()}\n\n`);
  const set = await folder.run("remove-peer", [other], lab.directory);
  assert.deepEqual([set.status, set.error], [
    0,
    `removed ${other} from the running gateway lab\n`,
  ]);
  assert.deepEqual(names(), ["phone"]);
  // It may have been a private key.
  const gone = await folder.run("remove-peer", [other], lab.directory);
  assert.match(gone.error, /^NAME: the value \(withheld: it looks like a key\) is no peer in /);
  const missing = await folder.run("remove-peer", ["tv"], lab.directory);
  assert.equal(missing.status, 2);
  assert.equal(
    missing.error,
    `NAME: "tv" is no peer in ${folder.file}, expected a peer's name or public key\n`,
  );
});

Deno.test("a section goes without what belongs to its neighbours, line ends as they were", () => {
  const cases: [text: string, header: number, left: string][] = [
    ["[Peer]\nA\n[Peer]\nB\n", 1, "[Peer]\nB\n"],
    ["[I]\r\n\r\n[Peer]\r\nA\r\n\r\n# next\r\n[Peer]\r\nB", 3, "[I]\r\n\r\n# next\r\n[Peer]\r\nB"],
    [
      "[I]\nx\n\n# a\n# n is gone\n[Peer]\nA\n# still n\n[Peer]\nB\n",
      6,
      "[I]\nx\n\n# a\n[Peer]\nB\n",
    ],
    ["[I]\nx\n\n[Peer]\nA", 4, "[I]\nx\n"],
  ];
  for (const [text, header, left] of cases) assert.equal(withoutPeer(text, header, "n"), left);
});

Deno.test("wrong input is named, and changes nothing", async () => {
  await using folder = new Folder();
  const there = `${folder.path}/there`;
  await Deno.writeTextFile(there, "precious");
  const endpoint = ["--endpoint", "a.example"];
  const cases: [string[], RegExp][] = [
    [["laptop"], /^--endpoint: missing, expected HOST:PORT where clients reach this gateway\n$/],
    [
      ["laptop", "--endpoint", "a..b"],
      /^--endpoint: "a..b" is not an endpoint, expected HOST:PORT/,
    ],
    [["laptop", "--endpoint", "a:99999"], /^--endpoint: port 99999 is out of range/],
    [["Phone", ...endpoint], /^NAME: Phone is taken \(.*wg0\.conf:8\), expected another one\n$/],
    [["a#b", ...endpoint], /^NAME: "a#b" is no name, expected 1 to 64 of /],
    [["a\nb", ...endpoint], /^NAME: "a\\nb" is no name/],
    [["", ...endpoint], /^NAME: "" is no name/],
    [
      ["x", ...endpoint, "--allowed-ips", "10.0.0.0/40"],
      /^--allowed-ips: "10.0.0.0\/40" has a bad/,
    ],
    [["x", ...endpoint, "--dns", "1.1.1.1;x"], /^--dns: "1.1.1.1;x" is neither/],
    [
      ["x", ...endpoint, "--out", there],
      /^--out: .*there is there already, expected a new file\n$/,
    ],
    [["x", ...endpoint, "--out", `${folder.path}/no/x`], /^--out: .* cannot be written/],
    [["x", ...endpoint, "--config", "/no/such.conf"], /^\/no\/such\.conf: no such file/],
    [
      ["x", ...endpoint, "--qr", "--allowed-ips", "10.0.0.0/8,".repeat(300)],
      /^--qr: \d+ characters do not fit/,
    ],
    [[], /^error: missing required argument 'NAME'/],
  ];
  for (const [args, message] of cases) {
    const { status, out, error } = await folder.addPeer(args);
    assert.deepEqual([status, out], [2, ""], args.join(" "));
    assert.match(error, message);
    assert.equal(folder.read(), FILE);
  }
  assert.equal(await Deno.readTextFile(there), "precious");
  const names = Array.from(Deno.readDirSync(folder.path), ({ name }) => name).sort();
  assert.deepEqual(names, ["there", "wg0.conf"]);

  for (let i = 3; i <= 6; i++) {
    assert.equal((await folder.addPeer([`n${i}`, ...endpoint])).status, 0);
  }
  const full = await folder.addPeer(["n7", ...endpoint]);
  assert.equal(full.error, `${folder.file}: Address: no free address is left in 10.9.0.0/29\n`);
});

Deno.test("somebody else's edit is waited out by saying so; a link stays a link", async () => {
  await using folder = new Folder();
  const link = `${folder.path}/link.conf`;
  await Deno.symlink("wg0.conf", link);
  await Deno.writeTextFile(`${folder.path}/.wg0.conf.wirestack-new`, "");
  const refused = await folder.addPeer(["x", "--endpoint", "a.b", "--config", link]);
  assert.match(refused.error, /link\.conf: somebody else is changing it, expected nobody/);
  assert.equal(refused.status, 2);
  assert.equal(folder.read(), FILE);
  await Deno.remove(`${folder.path}/.wg0.conf.wirestack-new`);
  assert.equal((await folder.addPeer(["x", "--endpoint", "a.b", "--config", link])).status, 0);
  assert.ok(Deno.lstatSync(link).isSymlink);
  assert.match(folder.read(), /\[Peer\]\nName = x\n/);
});

Deno.test("a file with CRLF stays one", async () => {
  await using folder = new Folder(FILE.replaceAll("\n", "\r\n"));
  assert.equal((await folder.addPeer(["x", "--endpoint", "a.b"])).status, 0);
  assert.doesNotMatch(folder.read(), /[^\r]\n/);
});

Deno.test("--qr is a code that another program reads", async () => {
  await using folder = new Folder();
  const { status, out } = await folder.addPeer(["phone 2", "--endpoint", "a.example", "--qr"]);
  assert.equal(status, 0);
  const client = loadConfig(scan(out)).config;
  assert.deepEqual(
    publicKeyOf(client.privateKey!),
    loadConfig(folder.read()).config.peers[1]!.publicKey,
  );
  for (const length of [1, 300, 2000]) {
    const text = "Wirestack = 1\n".repeat(length).slice(0, length);
    assert.equal(scan(formatQr(text)), text);
  }
});

Deno.test("addresses come from the pool where a family has one, and from the own networks else", async () => {
  const pooled = FILE.replace("ListenPort", "AddressPool = 10.7.0.0/30, 10.8.0.0/30\nListenPort");
  await using folder = new Folder(pooled);
  const endpoint = ["--endpoint", "vpn.example.com"];
  const added = [];
  for (const name of ["a", "b", "c"]) {
    const { error } = await folder.addPeer([name, ...endpoint]);
    added.push(/, (.*), to/.exec(error)?.[1]);
  }
  assert.deepEqual(added, [
    "10.7.0.1 and fd09::2",
    "10.7.0.2 and fd09::3",
    "10.8.0.1 and fd09::4",
  ]);
  const { out } = await folder.addPeer(["d", ...endpoint]);
  const [peer] = loadConfig(out).config.peers;
  assert.deepEqual(peer!.allowedIps.map(String), [
    ...["10.9.0.0/29", "fd09::/64", "10.7.0.0/30", "10.8.0.0/30", "10.50.0.0/16"],
  ]);
  const { error } = await folder.addPeer(["e", ...endpoint]);
  assert.equal(
    error,
    `${folder.file}: AddressPool: no free address is left in 10.7.0.0/30, 10.8.0.0/30\n`,
  );
});

Deno.test("a pool has room for more than one", () => {
  const text = FILE.replace("ListenPort", "AddressPool = 10.7.0.0/24, fd07::1\nListenPort");
  assert.throws(
    () => loadConfig(text),
    /AddressPool: "fd07::1" is a single address, expected a network such as 10\.9\.0\.0\/24 or/,
  );
});
