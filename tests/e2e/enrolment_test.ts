/**
 * A hub and a machine that joins it, as their users run them: ordinary users, each in a folder of its
 * own.
 *
 * @module
 */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey } from "../../mod.ts";
import { MadeAuthority } from "../proxy/bind/certificates/made.ts";
import { age } from "./enrolment_site.ts";
import { installation, type Subject, unprivileged } from "./gateway.ts";
import { type Host, Lab, labTest } from "./lab.ts";
import type { Output, Process } from "./process.ts";

const USER = 65534;
const PORT = 51820;

/** Commands of one user on one host. */
class Machine {
  readonly #host: Host;
  readonly #subject: Subject;
  readonly folder: string;

  private constructor(host: Host, subject: Subject, folder: string) {
    this.#host = host;
    this.#subject = subject;
    this.folder = folder;
  }

  static async make(host: Host, subject: Subject, parent: string, name: string): Promise<Machine> {
    const folder = `${parent}/${name}`;
    await Deno.mkdir(folder);
    await Deno.chown(folder, USER, USER);
    return new Machine(host, subject, folder);
  }

  async #command(args: readonly string[]) {
    const { root, deno, env } = await installation();
    const task = this.#subject.slice("deno task ".length);
    return {
      command: [...unprivileged(), deno, "task", "--quiet", task, ...args],
      options: {
        cwd: `${root}/source`,
        env: { ...env, STATE_DIRECTORY: `${this.folder}/state`, XDG_RUNTIME_DIR: this.folder },
      },
    };
  }

  async run(args: readonly string[], input = ""): Promise<Output> {
    const { command, options } = await this.#command(args);
    return await this.#host.run(command, { ...options, input });
  }

  async spawn(name: string, args: readonly string[]): Promise<Process> {
    const { command, options } = await this.#command(args);
    return this.#host.spawn(name, command, options);
  }
}

interface Listed {
  readonly name: string;
  readonly status: string;
}

for (const subject of ["deno task start", "deno task start:sandbox"] as const) {
  labTest(`a machine joins, by ${subject}; the hub is killed; nothing is lost`, async () => {
    await using lab = await Lab.create();
    const host = await lab.host("enrol");
    const hub = await Machine.make(host, subject, lab.directory, "hub");
    const site = await Machine.make(host, subject, lab.directory, "site");
    const file = `${hub.folder}/hub.conf`;
    await Deno.writeTextFile(
      file,
      `[Interface]\nPrivateKey = ${
        encodeKey(generatePrivateKey())
      }\nAddress = 10.9.0.1/24\nListenPort = ${PORT}\n`,
      { mode: 0o600 },
    );
    await Deno.chown(file, USER, USER);
    const start = async () => {
      const process = await hub.spawn("hub", ["hub", file]);
      await process.line(/control socket/);
      return process;
    };
    const list = async () => {
      const { stdout, stderr, code } = await hub.run(["invites", "--json"]);
      assert.equal(code, 0, stderr);
      return (JSON.parse(stdout) as Listed[]).map(({ name, status }) => `${name} ${status}`);
    };
    const listed = async (expected: string) => {
      for (let left = 100; !(await list()).includes(expected); left--) {
        assert.ok(left > 0, `${expected}: ${await list()}`);
      }
    };
    const first = await start();
    const invited = await hub.run([
      ...["invite", "paris", "--endpoint", `127.0.0.1:${PORT}`],
      ...["--subnet", "192.168.1.0/24", "--map", "100.64.1.0/24"],
    ]);
    assert.equal(invited.code, 0, invited.stderr);
    const token = invited.stdout.trimEnd().split("\n").at(-1)!;

    const nowhere = await site.run(["join", token, "--out", "/paris.conf"]);
    assert.equal(nowhere.code, 2);
    assert.match(nowhere.stderr, /^--out: \/paris\.conf: permission denied, expected a folder/m);
    assert.deepEqual(await list(), ["paris invited"]);

    // The token is an argument here: what runs then has others.
    const out = `${site.folder}/paris.conf`;
    const agent = await site.spawn("agent", ["join", token, "--out", out]);
    await agent.line(/paris has joined: 10\.9\.0\.2, an agent that serves 192\.168\.1\.0\/24 as/);
    await agent.line(/peer hub: handshake complete/);
    if (subject === "deno task start") {
      await agent.line(/confined: files by Landlock/);
      const command = Deno.readTextFileSync(`/proc/${agent.worker}/cmdline`);
      assert.ok(!command.includes(token), "nobody sees the token in the list of processes");
      assert.match(command, /\0agent\0/);
    }
    await listed("paris enrolled");
    assert.equal(Deno.statSync(out).mode! & 0o777, 0o600);
    const used = await site.run(["join", "-", "--out", `${site.folder}/b.conf`], token);
    assert.equal(used.code, 1);
    assert.match(used.stderr, /^wirestack: paris: this token was used, expected a new one/m);

    const killed = first.worker;
    Deno.kill(killed, "SIGKILL");
    await first.exit();
    const from = agent.lines.length;
    const second = await start();
    await agent.line(/peer hub: handshake complete/, { from });
    assert.deepEqual(await list(), ["paris enrolled"]);

    // Thrown out at once, and by the hub's own word.
    const revoked = await hub.run(["revoke", "paris"]);
    assert.equal(revoked.stdout, "paris: revoked, its sessions have ended\n");
    const peers = await hub.run(["show", "--json"]);
    assert.doesNotMatch(peers.stdout, /"paris"/);
    for (const { lines } of [first, second, agent]) {
      assert.ok(!lines.join("\n").includes(token.slice(8)), "no log has the token");
    }

    // A client needs a device, which an ordinary user does not get: the file is there all the same.
    const client = await hub.run([
      "invite",
      "laptop",
      "--endpoint",
      `127.0.0.1:${PORT}`,
      "--client",
    ]);
    const laptop = `${site.folder}/laptop.conf`;
    const joined = await site.run(["join", "-", "--out", laptop], client.stdout);
    assert.notEqual(joined.code, 0);
    const [first_, ...others] = joined.stderr.trimEnd().split("\n");
    assert.match(
      first_!,
      /^laptop has joined: 10\.9\.0\.2, a client that reaches 10\.9\.0\.0\/24, /,
    );
    assert.equal(others.length, 2, joined.stderr);
    assert.equal(others[0], `it is run by: wirestack up --tun ${laptop}`);
    assert.match(others[1]!, /--tun/);
    assert.match(
      Deno.readTextFileSync(laptop),
      /^AllowedIPs = 10\.9\.0\.0\/24, 100\.64\.0\.0\/10$/m,
    );
  });
}

labTest("a confined agent has its certificate renewed, and goes on with it", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("enrol");
  const hub = await Machine.make(host, "deno task start", lab.directory, "hub");
  const site = await Machine.make(host, "deno task start", lab.directory, "site");
  const authority = await MadeAuthority.make();
  const server = await authority.leaf({ name: "hub", usage: "serverAuth", hosts: ["127.0.0.1"] });
  const write = async (path: string, text: string) => {
    await Deno.writeTextFile(path, text, { mode: 0o600 });
    await Deno.chown(path, USER, USER);
    return path;
  };
  const file = await write(
    `${hub.folder}/hub.conf`,
    [
      `[Interface]\nPrivateKey = ${encodeKey(generatePrivateKey())}`,
      `Address = 10.9.0.1/24\nListenPort = ${PORT}`,
      "[Relay]\nListen = tls:127.0.0.1:8443",
      `Cert = ${await write(`${hub.folder}/cert.pem`, server.cert)}`,
      `Key = ${await write(`${hub.folder}/key.pem`, server.key)}`,
      `ClientCa = ${await write(`${hub.folder}/ca.pem`, authority.cert)}`,
      `ClientCaKey = ${await write(`${hub.folder}/ca.key`, await authority.key())}\n`,
    ].join("\n"),
  );
  const process = await hub.spawn("hub", ["hub", file]);
  await process.line(/control socket/, { timeoutMs: 60_000 });
  const invited = await hub.run(
    ["invite", "paris", "--endpoint", `127.0.0.1:${PORT}`, "--subnet", "192.168.1.0/24"],
  );
  const token = invited.stdout.trimEnd().split("\n").at(-1)!;
  const out = `${site.folder}/paris.conf`;
  const joined = await site.run(["join", "-", "--no-run", "--out", out], token);
  assert.equal(joined.code, 0, joined.stderr);
  const stem = `${site.folder}/paris`;
  await age(authority, stem);
  const aged = await Deno.readTextFile(`${stem}.cert.pem`);
  const agent = await site.spawn("agent", ["agent", out]);
  await agent.line(/confined: files by Landlock/, { timeoutMs: 60_000 });
  await agent.line(/paris\.cert\.pem is renewed, until [^,]*$/, { timeoutMs: 60_000 });
  await process.line(/paris: its certificate is renewed, until/, { timeoutMs: 60_000 });
  assert.notEqual(await Deno.readTextFile(`${stem}.cert.pem`), aged);
  const { uid, mode } = await Deno.stat(`${stem}.cert.pem`);
  assert.deepEqual([uid, mode! & 0o777], [USER, 0o600]);
  for (const one of [agent, process]) {
    one.signal("SIGTERM");
    assert.equal((await one.exit(30_000)).code, 0, `${one}`);
  }
});
