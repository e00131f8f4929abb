/**
 * A gateway over FFI that confines itself, as an ordinary user runs it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../mod.ts";
import { formatPeerList } from "../../proxy/gateway/peer_list/content.ts";
import {
  generateSigningKey,
  publicSigningKey,
  signPeerList,
} from "../../proxy/gateway/peer_list/text.ts";
import { installation, startGateway, unprivileged } from "./gateway.ts";
import { type Host, Lab, labTest } from "./lab.ts";
import { output, Process } from "./process.ts";

/** Everything that can be refused, as the probe has it, in words of the error. */
const REFUSED = {
  "read a file of this user's": "PermissionDenied",
  "the same on another thread": "PermissionDenied",
  "the same by the C library on another thread": "refused",
  "list a folder": "PermissionDenied",
  "write a file at home": "PermissionDenied",
  "write the configuration": "PermissionDenied",
  "write the program": "PermissionDenied",
  "write the cache of modules": "PermissionDenied",
  "start a program": "PermissionDenied",
  "fork": "errno 1",
  "execute another program": "errno 1",
  "trace": "errno 1",
  "make a namespace": "errno 1",
  "a socket of the kernel's cryptography": "errno 1",
  "personality": "errno 1",
  "signal another process of this user's": "PermissionDenied",
  "read another process's environment": "PermissionDenied",
};

const ALLOWED = [
  ...["read the configuration", "read it when it was replaced", "write beside the control socket"],
  ...["listen and connect by name", "a thread"],
];

labTest("what a gateway needs no more is refused to it, on all of its threads", async () => {
  const { root, deno, env } = await installation();
  const folders = ["probe", "probe/conf", "probe/control"].map((name) => `${root}/${name}`);
  for (const folder of folders) {
    await Deno.mkdir(folder);
    await Deno.chown(folder, 65534, 65534);
  }
  const config = `${root}/probe/conf/wg0.conf`;
  for (const file of [config, `${config}.new`, `${env.HOME}/secret`]) {
    await Deno.writeTextFile(file, "text", { mode: 0o600 });
    await Deno.chown(file, 65534, 65534);
  }
  await Deno.copyFile(
    fileURLToPath(new URL("confine_probe.ts", import.meta.url)),
    `${root}/source/probe.ts`,
  );
  await using other = new Process("other", [...unprivileged(), "sleep", "1000"]);

  const probe = async (...flags: string[]) => {
    const args = ["up", config, "--control-dir", folders[2]!, ...flags, "--", String(other.pid)];
    const text = await output([...unprivileged(), deno, "run", "-A", "probe.ts", ...args], {
      cwd: `${root}/source`,
      env,
    });
    return JSON.parse(text.trimEnd().split("\n").at(-1)!);
  };
  const free = await probe("--no-confine");
  assert.equal(free.confinement, null);
  for (const [what, error] of Object.entries(REFUSED)) {
    assert.notEqual(free.results[what], error, `${what}: refused without a confinement`);
  }
  const { confinement, noNewPrivileges, results } = await probe();
  assert.deepEqual(confinement.problems, []);
  assert.ok(confinement.landlock > 0 && confinement.seccomp && noNewPrivileges);
  assert.deepEqual(
    results,
    Object.assign({ ...REFUSED }, ...ALLOWED.map((what) => ({ [what]: "ok" }))),
  );
});

labTest("the first gateway of a fresh cache gets at what it has compiled", async () => {
  const { root, deno, env } = await installation();
  const cache = `${env.HOME}/fresh`;
  await Deno.mkdir(cache);
  await output(["cp", "-a", `${root}/cache/npm`, cache]);
  const file = `${env.HOME}/wg0.conf`;
  const own = encodeKey(generatePrivateKey());
  await Deno.writeTextFile(file, `[Interface]\nPrivateKey = ${own}\n`, { mode: 0o600 });
  for (const path of [cache, file]) await Deno.chown(path, 65534, 65534);
  for (const start of ["first", "second"]) {
    await using gateway = new Process("gateway", [
      ...[...unprivileged(), deno, "task", "--quiet", "start", "up", file, "--control-dir", "off"],
    ], { cwd: `${root}/source`, env: { ...env, DENO_DIR: cache } });
    await gateway.line(/confined: files by Landlock \d+, system calls by seccomp/);
    const process = `/proc/${gateway.worker}/fd`;
    const open = Array.from(Deno.readDirSync(process), ({ name }) => {
      try {
        return Deno.readLinkSync(`${process}/${name}`);
      } catch {
        return ""; // closed meanwhile
      }
    });
    assert.ok(open.some((path) => path.startsWith(`${cache}/v8_code_cache`)), start);
    gateway.signal("SIGTERM");
    await gateway.exit();
  }
});

labTest(
  "a confined gateway is controlled, and reads a configuration that was replaced",
  async () => {
    await using lab = await Lab.create();
    const host = await lab.host("confined");
    const own = encodeKey(generatePrivateKey());
    const peer = () => {
      const key = encodeKey(publicKeyOf(generatePrivateKey()));
      return ["[Peer]", `PublicKey = ${key}`];
    };
    const text = ["[Interface]", `PrivateKey = ${own}`, ...peer(), ""].join("\n");
    const gateway = await startGateway(host, lab.directory, text, {
      subject: "deno task start",
      isControlled: true,
    });
    await gateway.process.line(
      /"message":"confined: files by Landlock \d+, system calls by seccomp"/,
    );
    assert.equal(await gateway.show("private-key"), own);
    await replaceConfig(host, lab, `${text}${peer().join("\n")}\n`);
    Deno.kill(gateway.process.worker, "SIGHUP");
    await gateway.process.line(/reloaded: peers added 1,/);
    assert.equal((await gateway.show("peers")).split("\n").length, 2);
    assert.equal(await gateway.stop(), 0);
  },
);

for (const place of ["file", "http"]) {
  labTest(`a confined gateway follows its list of peers, by ${place}`, async () => {
    await using lab = await Lab.create();
    const host = await lab.host("listed");
    const seed = generateSigningKey();
    const folder = `${lab.directory}/lists`;
    await Deno.mkdir(folder);
    const publish = async (serial: number, count: number) => {
      const peers = Array.from({ length: count }, () => ({
        publicKey: encodeKey(publicKeyOf(generatePrivateKey())),
      }));
      const text = await signPeerList(formatPeerList({ serial, peers }), seed);
      await Deno.writeTextFile(`${folder}/new`, text, { mode: 0o644 });
      await Deno.rename(`${folder}/new`, `${folder}/peers.list`);
    };
    await publish(1, 1);
    if (place === "http") {
      const server = ["python3", "-m", "http.server", "--bind", "127.0.0.1", "8000"];
      host.spawn("lists", [...server, "--directory", folder]);
    }
    const text = [
      "[Interface]",
      `PrivateKey = ${encodeKey(generatePrivateKey())}`,
      `PeersFrom = ${place === "file" ? folder : "http://127.0.0.1:8000"}/peers.list`,
      `PeersKey = ${encodeKey(await publicSigningKey(seed))}`,
      ...place === "http" ? ["PeersInterval = 5"] : [],
      "",
    ].join("\n");
    const gateway = await startGateway(host, lab.directory, text, { subject: "deno task start" });
    await gateway.process.line(/serial 1, 1 peers added/);
    await gateway.process.line(
      /"message":"confined: files by Landlock \d+, system calls by seccomp"/,
    );
    await publish(2, 3);
    await gateway.process.line(/serial 2, 3 peers added, 1 removed/);
    assert.equal(await gateway.stop(), 0);
  });
}

/** As editors do. */
async function replaceConfig(host: Host, lab: Lab, text: string): Promise<void> {
  const file = `${lab.directory}/${host.namespace}.conf`;
  await Deno.writeTextFile(`${file}.new`, text, { mode: 0o600 });
  await Deno.chown(`${file}.new`, 65534, 65534);
  await Deno.rename(`${file}.new`, file);
}
