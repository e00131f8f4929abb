/** Several agents on one host, as one user, beside another gateway. */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../mod.ts";
import { installation, unprivileged } from "./gateway.ts";
import { type Host, Lab, labTest } from "./lab.ts";

const HUB = "192.0.2.1";
const USER = 65534;

/** Each hub has a network of its own inside, and an agent on the site. */
const NETWORKS = [
  { name: "paris", port: 51821, inside: "10.8.0", gives: "100.64.1.5" },
  { name: "rome", port: 51822, inside: "10.9.0", gives: "100.64.2.5" },
] as const;

labTest(
  "two agents of two hubs and a gateway run on one host as one user, each by its name, and one's end is no other's",
  async () => {
    const { root, deno, env } = await installation();
    await using lab = await Lab.create();
    const [hub, site] = [await lab.host("hub"), await lab.host("site")];
    await lab.connect(
      { host: hub, device: "eth0", addresses: [`${HUB}/24`] },
      { host: site, device: "eth0", addresses: ["192.0.2.2/24"] },
    );
    // What both agents give is a service of their own host's.
    site.spawn("service", ["socat", "TCP4-LISTEN:8000,bind=127.0.0.1,fork,reuseaddr", "EXEC:cat"]);

    const start = async (host: Host, command: string, name: string, lines: readonly string[]) => {
      const folder = `${lab.directory}/${host.label}`;
      await Deno.mkdir(folder, { recursive: true });
      await Deno.chown(folder, USER, USER);
      const file = `${folder}/${name}.conf`;
      await Deno.writeTextFile(file, lines.join("\n") + "\n", { mode: 0o600 });
      await Deno.chown(file, USER, USER);
      const process = host.spawn(name, [
        ...unprivileged(),
        ...[deno, "task", "--quiet", "start", command, file],
      ], { cwd: `${root}/source`, env: { ...env, XDG_RUNTIME_DIR: folder } });
      await process.line(/control socket/);
      return process;
    };
    const ask = async (...args: string[]) => {
      const { code, stdout, stderr } = await site.run([
        ...[...unprivileged(), deno, "task", "--quiet", "start", ...args],
      ], { cwd: `${root}/source`, env: { ...env, XDG_RUNTIME_DIR: `${lab.directory}/site` } });
      assert.equal(code, 0, stderr);
      return stdout;
    };

    const key = () => {
      const own = generatePrivateKey();
      return { own: encodeKey(own), known: encodeKey(publicKeyOf(own)) };
    };
    const agents = [];
    const tries: (() => Promise<string>)[] = [];
    for (const { name, port, inside, gives } of NETWORKS) {
      const [ofHub, ofAgent, ofClient] = [key(), key(), key()];
      await start(hub, "hub", name, [
        ...["[Interface]", `PrivateKey = ${ofHub.own}`, `ListenPort = ${port}`],
        `Address = ${inside}.1/24`,
        ...["[Peer]", `PublicKey = ${ofAgent.known}`, `AllowedIPs = ${inside}.2/32, ${gives}/32`],
        ...["[Peer]", `PublicKey = ${ofClient.known}`, `AllowedIPs = ${inside}.3/32`],
      ]);
      agents.push(
        await start(site, "agent", name, [
          ...["[Interface]", `PrivateKey = ${ofAgent.own}`, `Address = ${inside}.2/24`],
          ...["[Peer]", `PublicKey = ${ofHub.known}`, `Endpoint = ${HUB}:${port}`],
          `AllowedIPs = ${inside}.0/24`,
          ...["[Proxy]", `Map = ${gives} -> 127.0.0.1`],
        ]),
      );

      // By the hub to its agent, from a program with a tunnel of its own.
      const program = `
        import { Wirestack } from "./mod.ts";
        await using net = await Wirestack.start({
          interface: { privateKey: "${ofClient.own}", address: "${inside}.3/24" },
          peers: [{ publicKey: "${ofHub.known}", endpoint: "${HUB}:${port}",
            allowedIps: "${inside}.0/24, 100.64.0.0/10" }],
        });
        using conn = await net.connect({ hostname: "${gives}", port: 8000, timeoutMs: 120_000 });
        await conn.write(new TextEncoder().encode("hello"));
        const buffer = new Uint8Array(9);
        console.log(new TextDecoder().decode(buffer.subarray(0, await conn.read(buffer) ?? 0)));
      `;
      tries.push(() =>
        hub.output([deno, "run", "--quiet", "--allow-all", "--no-check", "-"], {
          cwd: `${root}/source`,
          env,
          input: program,
        })
      );
    }
    const gateway = await start(site, "up", "other", [
      ...["[Interface]", `PrivateKey = ${key().own}`, "Address = 10.7.0.1/24"],
    ]);
    for (const agent of agents) await agent.line(/handshake complete/);
    const shown = await ask("show");
    for (const name of ["paris", "rome", "other"]) {
      assert.match(shown, new RegExp(`^interface: ${name}$`, "m"), shown);
    }

    for (const reach of tries) assert.match(await reach(), /^hello$/m);
    agents[0]!.signal("SIGTERM");
    assert.equal((await agents[0]!.exit()).code, 0);
    assert.match(await tries[1]!(), /^hello$/m, "the other goes on");
    const left = await ask("show");
    assert.doesNotMatch(left, /^interface: paris$/m);
    for (const process of [agents[1]!, gateway]) {
      process.signal("SIGTERM");
      assert.equal((await process.exit()).code, 0);
    }
  },
  ["socat"],
);
