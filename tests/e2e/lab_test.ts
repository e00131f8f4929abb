import assert from "node:assert/strict";
import { eventually, Lab, labTest } from "./lab.ts";
import { PORTS } from "./ports.ts";
import { output } from "./process.ts";
import { ask, endpoint, LISTEN_PORT, OUTER, startTarget, TARGET, TUNNELLED } from "./site.ts";
import { keyPair, WireguardGo } from "./wireguard_go.ts";

// The referee's referee: what fails here is not the gateway's fault.
labTest("the lab itself carries traffic between two wireguard-go peers", async () => {
  await using lab = await Lab.create();
  const [client, router, target] = [
    await lab.host("client"),
    await lab.host("router"),
    await lab.host("target"),
  ];
  await lab.connect(
    { host: client, device: "wan", addresses: ["192.0.2.2/24"] },
    { host: router, device: "wan", addresses: [`${OUTER[4]}/24`] },
  );
  const { file } = await startTarget(lab, router, target, 1_000_000);
  await router.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
  await target.ip("route add 10.9.0.0/24 via 10.50.0.1", "route add fd09::/64 via fd50::1");

  const [ours, theirs] = [await keyPair(), await keyPair()];
  await WireguardGo.start(router, {
    privateKey: ours.privateKey,
    listenPort: LISTEN_PORT,
    addresses: ["10.9.0.1/24", "fd09::1/64"],
    peers: [{ publicKey: theirs.publicKey, allowedIps: ["10.9.0.2/32", "fd09::2/128"] }],
  });
  const wireguard = await WireguardGo.start(client, {
    privateKey: theirs.privateKey,
    addresses: ["10.9.0.2/32", "fd09::2/128"],
    routes: TUNNELLED,
    peers: [{
      publicKey: ours.publicKey,
      allowedIps: TUNNELLED,
      endpoint: endpoint(OUTER[4], LISTEN_PORT),
    }],
  });
  for (const family of [4, 6] as const) {
    const url = `http://${endpoint(TARGET[family], PORTS.http)}/file`;
    const hash = await client.output(["sh", "-c", `curl -sSf '${url}' | sha256sum`]);
    assert.equal(hash.slice(0, 64), file.sha256);
    const up = await client.output(["curl", "-sSf", "-T", file.path, url]);
    assert.equal(up, file.sha256);
    // Not more than the tunnel's MTU: a router drops what is larger and says so.
    assert.deepEqual(await ask(client, "udp", TARGET[family], PORTS.echo, 1, 1300), {
      failures: [],
    });
    const address = TARGET[family];
    assert.equal(
      (await ask(client, "digest", address, PORTS.digest, file.path)).answer,
      file.sha256,
    );
    assert.deepEqual(await ask(client, "duplex", address, PORTS.duplex, file.path), {
      downloaded: file.sha256,
      uploaded: file.sha256,
    });
    const many = await ask(client, "many", address, PORTS.echo, 100, 16384);
    assert.equal(many.completed, 100, JSON.stringify(many));
    assert.equal((await ask(client, "read-reset", address, PORTS.reset)).end, "ECONNRESET");
    assert.equal((await ask(client, "connect", address, PORTS.closed)).error, "ECONNREFUSED");
    const { answers } = await ask(client, "udp-ask", address, PORTS.stranger, 0, "x", 2, 0);
    assert.equal(answers.length, 2);
  }
  assert.ok((await wireguard.peer()).received > file.bytes);
}, ["curl"]);

labTest("a disposed lab leaves no namespace, process, socket or file", async () => {
  let namespace: string, pid: number, directory: string;
  {
    await using lab = await Lab.create();
    const host = await lab.host("host");
    await host.etc("hosts", "192.0.2.9 name.test\n");
    const keys = await keyPair();
    await WireguardGo.start(host, { privateKey: keys.privateKey, addresses: [], peers: [] });
    const sleeper = host.spawn("sleep", ["sh", "-c", "sleep 1000 & sleep 1000"]);
    await eventually("a child", () => sleeper.worker !== sleeper.pid);
    ({ namespace } = host);
    ({ directory } = lab);
    pid = sleeper.worker;
    assert.match(await output(["ip", "netns", "list"]), new RegExp(namespace));
    assert.match(await host.output(["cat", "/etc/hosts"]), /name\.test/);
  }
  assert.doesNotMatch(await output(["ip", "netns", "list"]), new RegExp(namespace));
  await eventually("the end of every process", () => !isRunning(pid));
  for (const path of [directory, `/etc/netns/${namespace}`]) {
    await assert.rejects(Deno.stat(path), Deno.errors.NotFound, path);
  }
});

function isRunning(pid: number): boolean {
  try {
    // proc_pid_stat(5): a zombie only waits for its parent to ask.
    return !/\) Z /.test(Deno.readTextFileSync(`/proc/${pid}/stat`));
  } catch {
    return false;
  }
}
