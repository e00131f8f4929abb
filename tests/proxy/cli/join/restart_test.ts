/** Hubs and machines that are killed on the way, and start again. */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../../proxy/base64.ts";
import { PendingJoin } from "../../../../proxy/cli/join/files.ts";
import { memberFile, readMembers } from "../../../../proxy/enrol/state_file.ts";
import { decodeToken } from "../../../../proxy/enrol/token.ts";
import { until } from "../../pair.ts";
import { startWirestack } from "../../start.ts";
import { scan } from "../qr_scan.ts";
import { HubLab } from "./hub_lab.ts";

const AGENT = ["--subnet", "192.168.1.0/24", "--map", "100.64.1.0/24"];

Deno.test("a hub that starts again has its members, takes its tokens, and knows those that were used", async () => {
  const first = await HubLab.start();
  const token = await first.invite("waiting", ...AGENT);
  const bound = await first.invite("bound", "--client");
  const revoked = await first.invite("revoked", "--client");
  const key = generatePrivateKey();
  const grant = await first.handIn(bound, key);
  await first.ask("revoke", "revoked");
  const before = first.snapshot();
  await using hub = await first.restart();
  assert.deepEqual(hub.snapshot(), { ...before as object, files: {} });
  assert.deepEqual(await hub.handIn(bound, key), grant, "the same key gets the same answer");
  await assert.rejects(hub.handIn(bound, generatePrivateKey()), /used by another machine/);
  await assert.rejects(hub.handIn(revoked, key), /was revoked/);
  const { addresses, maps } = await hub.handIn(token, generatePrivateKey());
  assert.deepEqual(addresses.map(String), ["10.9.0.2"]);
  assert.deepEqual(maps.map(({ from }) => `${from}`), ["100.64.1.0/24"]);

  // The machine that was enrolled is here as if nothing had been, and that spends its token.
  await using machine = await startWirestack({
    interface: { privateKey: encodeKey(key), address: `${grant.addresses[0]}/32` },
    peers: [{
      publicKey: encodeKey(hub.gateway.publicKey),
      endpoint: hub.endpoint,
      allowedIps: "10.9.0.0/24",
      persistentKeepalive: 1,
    }],
  });
  const path = memberFile(hub.state, hub.gateway.publicKey);
  await until(
    () => readMembers(path).find(({ name }) => name === "bound")?.state === "used",
    "its token is spent",
  );
  await assert.rejects(hub.handIn(bound, key), /this token was used/);

  // Thrown out, its session ends at once, and nothing of it comes back.
  const peer = () => hub.gateway.engine.device.peer(publicKeyOf(key));
  assert.ok(peer()!.hasSession);
  assert.equal((await hub.ask("revoke", "Bound")).out, "bound: revoked, its sessions have ended\n");
  assert.equal(peer(), undefined);
  await machine.close({ graceMs: 0 });
  await using again = await hub.restart();
  assert.equal(again.gateway.engine.device.peer(publicKeyOf(key)), undefined);
  assert.deepEqual(await again.statuses(), [
    "bound revoked",
    "revoked revoked",
    "waiting joined",
  ]);
});

Deno.test("a hub that is killed when it has written and not answered: the machine tries again, and is in", async () => {
  const first = await HubLab.start();
  const token = await first.invite("paris", ...AGENT);
  const out = `${first.folder}/paris.conf`;
  const decoded = decodeToken(token);
  const pending = await PendingJoin.begin(out, publicKeyOf(decoded.privateKey));
  // What is written, and what is not done: the peer, the answer.
  const path = memberFile(first.state, first.gateway.publicKey);
  const { privateKey } = pending.keys;
  await first.handIn(token, privateKey);
  const written = Deno.readTextFileSync(path);
  await using hub = await first.restart();
  assert.equal(Deno.readTextFileSync(path), written);
  const taken = await hub.join(token, "other.conf");
  assert.match(taken.error, /used by another machine/, "another key is refused");
  // The machine comes with the key that it has on its disk.
  Deno.renameSync(`${out}.joining`, `${hub.folder}/paris.conf.joining`);
  const { status, error } = await hub.join(token, "paris.conf");
  assert.equal(status, 0, error);
  const text = Deno.readTextFileSync(`${hub.folder}/paris.conf`);
  assert.ok(text.includes(`PrivateKey = ${encodeKey(privateKey)}\n`));
  assert.ok(text.includes("Map = 100.64.1.0/24 -> 192.168.1.0/24\n"));
  assert.equal(Deno.statSync(`${hub.folder}/paris.conf`).mode! & 0o777, 0o600);
  assert.deepEqual(
    Array.from(Deno.readDirSync(hub.folder), ({ name }) => name),
    ["paris.conf"],
    "and nothing is left of the try",
  );
});

Deno.test("many tokens that are over at once, and many members at a start, are one change of the peers", async () => {
  await using first = await HubLab.start();
  for (let i = 0; i < 5; i++) await first.invite(`m${i}`);
  await using hub = await first.restart();
  assert.equal([...hub.gateway.engine.device.peers()].length, 5, "the tokens are heard again");
  const { peerSources } = hub.gateway;
  const { onChanged } = peerSources;
  let changes = 0;
  peerSources.onChanged = () => {
    changes++;
    onChanged();
  };
  hub.clock.ahead = 7_200_000;
  await hub.invite("late");
  assert.deepEqual(
    Array.from(hub.gateway.engine.device.peers(), ({ name }) => name?.replace(/#[0-9a-f]{8}$/, "")),
    ["invite@late"],
  );
  assert.equal(changes, 2, "those that are over, and the new one");
});

Deno.test("after a change of the hub's key nobody is invited who would be forgotten at the next start", async () => {
  await using hub = await HubLab.start();
  await hub.invite("before");
  hub.gateway.peers.setPrivateKey(generatePrivateKey());
  const { status, error } = await hub.ask("invite", "a", "--endpoint", "hub:1", "--client");
  assert.equal(status, 2);
  assert.match(error, /^PrivateKey: is another one than at the start, .* expected a restart\n$/);
  assert.deepEqual(await hub.statuses(), ["before invited"]);
});

Deno.test("a state that cannot be read stays as it is, nobody is invited, and the file's peers are let in", async () => {
  const state = Deno.makeTempDirSync();
  const privateKey = encodeKey(generatePrivateKey());
  const path = memberFile(state, publicKeyOf(Uint8Array.fromBase64(privateKey)));
  Deno.writeTextFileSync(path, "{ half a file");
  await using hub = await HubLab.start({
    state,
    privateKey,
    sections: `[Peer]\nPublicKey = ${
      encodeKey(publicKeyOf(generatePrivateKey()))
    }\nAllowedIPs = 10.9.0.2/32\n`,
  });
  const { status, error } = await hub.ask("invite", "a", "--endpoint", "hub:1", "--client");
  assert.equal(status, 2);
  assert.equal(error, `${path}: not a file of enrolled machines, expected it as it was written\n`);
  assert.equal(Deno.readTextFileSync(path), "{ half a file");
  assert.equal([...hub.gateway.engine.device.peers()].length, 1);
});

Deno.test("a reload leaves those who were invited and enrolled alone; what the file has counts", async () => {
  await using hub = await HubLab.start();
  const [token, other] = [await hub.invite("a"), await hub.invite("b")];
  const key = generatePrivateKey();
  await hub.handIn(token, key);
  const peers = () =>
    Array.from(
      hub.gateway.engine.device.peers(),
      (peer) =>
        `${peer.name?.replace(/#[0-9a-f]{8}$/, "")} ${hub.gateway.peerSources.origin(peer)}`,
    ).sort();
  const before = ["a enrolled", "invite@a enrolled", "invite@b enrolled"];
  assert.deepEqual(peers(), before);
  const text = hub.control.next as string;
  assert.match(await hub.control.ask("wirestack_reload=1\n\n"), /errno=0/);
  assert.deepEqual(peers(), before);
  hub.control.next = `${text}\n[Peer]\nName = mine\nPublicKey = ${
    encodeKey(publicKeyOf(key))
  }\nAllowedIPs = 10.9.0.50/32\n`;
  assert.match(await hub.control.ask("wirestack_reload=1\n\n"), /errno=0/);
  assert.deepEqual(peers(), ["invite@a enrolled", "invite@b enrolled", "mine file"]);
  hub.control.next = text;
  assert.match(await hub.control.ask("wirestack_reload=1\n\n"), /errno=0/);
  assert.deepEqual(peers(), before);
  const grant = await hub.handIn(other, generatePrivateKey());
  assert.deepEqual(grant.addresses.map(String), ["10.9.0.3"]);
});

Deno.test("twins are invited with the same subnet and map, and said to be", async () => {
  await using hub = await HubLab.start();
  const at = ["--endpoint", hub.endpoint];
  assert.doesNotMatch((await hub.ask("invite", "one", ...at, ...AGENT)).error, /serves the same/);
  const { error, status } = await hub.ask("invite", "two", ...at, ...AGENT);
  assert.equal(status, 0);
  assert.match(error, /^note: two serves the same as one: the first that is alive is used$/m);
});

Deno.test("a client reaches the tunnel's networks and what agents are mapped to, or what is said", async () => {
  await using hub = await HubLab.start({ lines: "Address = 10.9.0.1/24, fd09::1/64" });
  const token = await hub.invite("laptop");
  const { status, error } = await hub.join(token, "laptop.conf");
  assert.equal(status, 0);
  assert.match(
    error,
    /^laptop has joined: 10\.9\.0\.2 and fd09::2, a client that reaches 10\.9\.0\.0\/24, /,
  );
  const text = Deno.readTextFileSync(`${hub.folder}/laptop.conf`);
  assert.match(text, /^Address = 10\.9\.0\.2\/32, fd09::2\/128$/m);
  assert.match(text, /^AllowedIPs = 10\.9\.0\.0\/24, fd09::\/64, 100\.64\.0\.0\/10$/m);
  assert.doesNotMatch(text, /Proxy/);
  const other = await hub.invite("phone", "--client", "--allowed-ips", "0.0.0.0/0,::/0");
  const joined = await hub.join(other, "phone.conf");
  assert.equal(joined.out, `wirestack up --tun ${hub.folder}/phone.conf\n`);
  assert.match(
    Deno.readTextFileSync(`${hub.folder}/phone.conf`),
    /^AllowedIPs = 0\.0\.0\.0\/0, ::\/0$/m,
  );
});

Deno.test("a token is in no list, no statistics, no log and no file of the hub's", async () => {
  await using hub = await HubLab.start();
  const token = await hub.invite("a");
  const { privateKey } = decodeToken(token);
  const secrets = [token, encodeKey(privateKey), privateKey.toHex(), token.slice(10, 40)];
  const shown = [
    (await hub.ask("invites")).out,
    (await hub.ask("invites", "--json")).out,
    (await hub.ask("show")).out,
    (await hub.ask("show", "--json")).out,
    (await hub.ask("peers", "--json")).out,
    await hub.control.ask("get=1\n\n"),
    JSON.stringify(hub.gateway.stats()),
    JSON.stringify(hub.snapshot()),
  ];
  for (const text of shown) {
    for (const secret of secrets) assert.ok(!text.includes(secret), text);
  }
  const qr = await hub.ask("invite", "b", "--endpoint", hub.endpoint, "--client", "--qr");
  const lines = qr.out.trimEnd().split("\n");
  assert.match(lines.at(-1)!, /^wsk1/, "with a QR code too the last line is the token");
  assert.ok(lines.length > 20 && lines.slice(0, -1).every((line) => line.startsWith("\x1b[")));
  assert.equal(scan(lines.slice(0, -1).join("\n")), lines.at(-1), "which the code is of");
});

Deno.test("an address that is promised is nobody else's: not the next invitation's, not add-peer's", async () => {
  await using hub = await HubLab.start();
  await hub.invite("a");
  const { reserved } = JSON.parse(
    /^stats=(.*)$/m.exec(await hub.control.ask("wirestack_stats=1\n\n"))![1]!,
  );
  assert.deepEqual(reserved, ["10.9.0.2"]);
  const { addresses } = await hub.handIn(await hub.invite("b"), generatePrivateKey());
  assert.deepEqual(addresses.map(String), ["10.9.0.3"]);
  await hub.ask("revoke", "a");
  const next = await hub.handIn(await hub.invite("c"), generatePrivateKey());
  assert.deepEqual(next.addresses.map(String), ["10.9.0.2"], "until it is revoked");
});
