/** Machines that get a certificate for where UDP does not get through. */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { publicKeyOf } from "../../../../proxy/base64.ts";
import {
  keyOfRequest,
  makeRequest,
  type Requested,
} from "../../../../proxy/certificates/request.ts";
import { readCertificates } from "../../../../proxy/bind/certificates/certificate.ts";
import { PendingJoin } from "../../../../proxy/cli/join/files.ts";
import { loadConfig } from "../../../../proxy/config/config.ts";
import { memberFile, readMembers } from "../../../../proxy/enrol/state_file.ts";
import { decodeToken } from "../../../../proxy/enrol/token.ts";
import { checkInvitation } from "../../../../proxy/gateway/enrolment/invitation.ts";
import { StreamBind } from "../../../../proxy/bind/stream/mod.ts";
import { TlsDialer } from "../../../../proxy/bind/stream/tls/mod.ts";
import { until } from "../../pair.ts";
import { startWirestack } from "../../start.ts";
import { HubCertificates } from "./hub_certificates.ts";
import { HubLab } from "./hub_lab.ts";

const FALLBACK = "tls://hub.example.com:8443";

const authority = () => HubCertificates.make("hub.example.com");

Deno.test("with a ClientCaKey a machine makes its own key for TLS, and gets a certificate for it", async () => {
  using made = await authority();
  await using hub = await HubLab.start({ sections: made.relay() });
  const { error, out } = await hub.ask(
    ...["invite", "paris", "--endpoint", hub.endpoint, "--subnet", "192.168.1.0/24"],
    ...["--fallback", FALLBACK],
  );
  assert.doesNotMatch(error, /no fallback|no other way/);
  const { status, error: problem } = await hub.join(
    out.trimEnd().split("\n").at(-1)!,
    "paris.conf",
  );
  assert.equal(status, 0, problem);
  const file = (name: string) => Deno.readTextFileSync(`${hub.folder}/${name}`);
  const [certificate] = readCertificates(file("paris.cert.pem"));
  const ca = readCertificates(Deno.readTextFileSync(`${made.path}/ca/cert.pem`))[0]!;
  const server = readCertificates(Deno.readTextFileSync(`${made.path}/server/cert.pem`))[0]!;
  assert.ok(certificate!.isSignedBy(ca));
  assert.deepEqual(certificate!.names, ["paris"]);
  assert.ok(certificate!.isFor("1.3.6.1.5.5.7.3.2") && !certificate!.isFor("1.3.6.1.5.5.7.3.1"));
  assert.ok(certificate!.notAfter <= ca.notAfter);
  const x509 = new X509Certificate(file("paris.cert.pem"));
  const { createPrivateKey } = await import("node:crypto");
  assert.ok(x509.checkPrivateKey(createPrivateKey(file("paris.key.pem"))));
  assert.equal(Deno.statSync(`${hub.folder}/paris.key.pem`).mode! & 0o777, 0o600);

  const { config } = loadConfig(file("paris.conf"), { file: "paris.conf" });
  const { fallbacks } = config.peers[0]!;
  assert.deepEqual(fallbacks!.map(({ url, pins }) => [url, ...pins]), [[FALLBACK, server.pin]]);
  assert.match(file("paris.conf"), /^Cert = paris\.cert\.pem\nKey = paris\.key\.pem$/m);
  assert.deepEqual(
    Array.from(Deno.readDirSync(hub.folder), ({ name }) => name).sort(),
    ["paris.cert.pem", "paris.conf", "paris.key.pem"],
  );
  assert.doesNotMatch(JSON.stringify(hub.snapshot()), /PRIVATE KEY.*enrolled-/);
});

Deno.test("without a ClientCaKey invite says that there is no way but UDP, and there is none in the file", async () => {
  await using hub = await HubLab.start();
  const { status, error, out } = await hub.ask(
    ...["invite", "paris", "--endpoint", hub.endpoint, "--client"],
  );
  assert.equal(status, 0, error);
  assert.match(
    error,
    /where UDP does not get through the machine has no other way: there is no \[Relay\] with a ClientCaKey to give it a certificate$/m,
  );
  const joined = await hub.join(out.trimEnd().split("\n").at(-1)!, "paris.conf");
  assert.equal(joined.status, 0, joined.error);
  const text = Deno.readTextFileSync(`${hub.folder}/paris.conf`);
  assert.doesNotMatch(text, /^(?:Fallback|Cert|Key|Ca|Pin) =/m);
});

Deno.test("a try that was cut off comes again with the same key, and gets the same certificate", async () => {
  using made = await authority();
  const first = await HubLab.start({ sections: made.relay() });
  const token = await first.invite("a", "--client", "--fallback", FALLBACK);
  // Something comes into the file's way at the last moment.
  const racing = first.join(token, "a.conf");
  await new Promise<void>((resolve) => {
    const look = setInterval(() => {
      try {
        Deno.statSync(`${first.folder}/a.conf.joining`);
      } catch {
        return;
      }
      Deno.writeTextFileSync(`${first.folder}/a.conf`, "theirs");
      clearInterval(look);
      resolve();
    }, 1);
  });
  const { status, error } = await racing;
  assert.deepEqual([status, error], [
    2,
    `--out: ${first.folder}/a.conf is there already, expected a new file\n`,
  ]);
  const names = (folder: string) => Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
  assert.deepEqual(names(first.folder), ["a.conf", "a.conf.joining"], "nothing half-way is left");
  Deno.removeSync(`${first.folder}/a.conf`);
  const pending = JSON.parse(Deno.readTextFileSync(`${first.folder}/a.conf.joining`));
  const again = await first.join(token, "a.conf");
  assert.equal(again.status, 0, again.error);
  assert.equal(Deno.readTextFileSync(`${first.folder}/a.key.pem`), pending.tls.key);
  const [member] = readMembers(memberFile(first.state, first.gateway.publicKey));
  assert.equal(Deno.readTextFileSync(`${first.folder}/a.cert.pem`), member!.certificate);
  await first[Symbol.asyncDispose]();
});

Deno.test("a try that was killed between its files comes again with the same key; others' files stay", async () => {
  using made = await authority();
  await using hub = await HubLab.start({ sections: made.relay() });
  const token = await hub.invite("a", "--client", "--fallback", FALLBACK);
  const path = (name: string) => `${hub.folder}/${name}`;
  const { privateKey } = decodeToken(token);
  const begun = await PendingJoin.begin(path("a.conf"), publicKeyOf(privateKey), () => {
    return makeRequest("a");
  });
  const { key } = begun.keys.tls!;
  Deno.writeTextFileSync(path("a.key.pem"), "theirs");
  const refused = await hub.join(token, "a.conf");
  assert.deepEqual([refused.status, refused.error], [
    2,
    `--out: ${path("a.key.pem")} is there already, expected a new file\n`,
  ]);
  assert.equal(Deno.readTextFileSync(path("a.key.pem")), "theirs");
  Deno.writeTextFileSync(path("a.key.pem"), key);
  Deno.writeTextFileSync(path("a.cert.pem"), "of that try");
  const { status, error } = await hub.join(token, "a.conf");
  assert.equal(status, 0, error);
  assert.equal(Deno.readTextFileSync(path("a.key.pem")), key);
  const [member] = readMembers(memberFile(hub.state, hub.gateway.publicKey));
  assert.equal(Deno.readTextFileSync(path("a.cert.pem")), member!.certificate);
});

Deno.test("two tries at one place at once: the second is told, and leaves the first alone", async () => {
  const folder = Deno.makeTempDirSync();
  const begin = (makeTls: () => Promise<Requested>) =>
    PendingJoin.begin(`${folder}/a.conf`, new Uint8Array(32), makeTls);
  let first: PendingJoin | undefined;
  const second = begin(async () => {
    first = await begin(() => makeRequest("a"));
    return await makeRequest("a");
  });
  await assert.rejects(second, {
    message: `${folder}/a.conf.joining: another join has begun there, expected it to end first`,
  });
  const pending = JSON.parse(Deno.readTextFileSync(`${folder}/a.conf.joining`));
  assert.equal(pending.tls.key, first!.keys.tls!.key);
  Deno.removeSync(folder, { recursive: true });
});

Deno.test("an authority that cannot sign, and requests that are none", async () => {
  using made = await authority();
  using other = await authority();
  const key = `${made.path}/own.pem`;
  Deno.copyFileSync(`${made.path}/ca/key.pem`, key);
  await using foreign = await HubLab.start({ sections: made.relay({ authorityKey: key }) });
  Deno.copyFileSync(`${other.path}/ca/key.pem`, key); // a start would see that
  const invite = (hub: HubLab) => hub.ask("invite", "a", "--endpoint", hub.endpoint, "--client");
  const before = foreign.snapshot();
  const refused = await invite(foreign);
  assert.equal(refused.status, 2);
  assert.match(refused.error, /^\S+\/own\.pem: is not the key of \S+\/ca\/cert\.pem\n$/);
  await using missing = await HubLab.start({
    sections: made.relay({ authorityKey: `${made.path}/none.pem` }),
  });
  assert.match((await invite(missing)).error, /none\.pem: is not there, expected a file in PEM\n$/);
  assert.deepEqual(foreign.snapshot(), before);

  await using hub = await HubLab.start({ sections: made.relay() });
  const token = await hub.invite("a", "--client", "--fallback", FALLBACK);
  const moved = `${made.path}/moved.pem`;
  Deno.renameSync(`${made.path}/ca/key.pem`, moved);
  const unchanged = hub.snapshot();
  const late = await hub.join(token, "a.conf");
  assert.equal(late.status, 1);
  assert.match(
    late.error,
    /^wirestack: a: the hub cannot sign a certificate, nothing has changed there/,
  );
  assert.deepEqual(hub.snapshot(), unchanged);
  Deno.renameSync(moved, `${made.path}/ca/key.pem`);
  assert.equal((await hub.join(token, "a.conf")).status, 0);

  const { request } = await makeRequest("a");
  assert.ok(await keyOfRequest(request) !== undefined);
  const body = request.split("\n");
  const flipped = body[2]!.replace(/[A-Z]/, (letter) => letter === "A" ? "B" : "A");
  for (const wrong of ["", "x", request.replace(body[2]!, flipped), made.path]) {
    assert.equal(await keyOfRequest(wrong), undefined);
  }
});

Deno.test("fallbacks are by default the endpoint's host with each port of [Relay]", () => {
  const request = {
    name: "a",
    endpoints: ["hub.example.com:51820", "[2001:db8::1]:51820", "hub.example.com:443"],
    subnets: [],
    maps: [],
    isClient: true,
    fallbacks: [],
  };
  const { config } = loadConfig({
    interface: { privateKey: new Uint8Array(32).fill(1), address: "10.9.0.1/24" },
  });
  const site = {
    config,
    port: 51820,
    isNameTaken: () => false,
    members: [],
    taken: [],
    relay: [{ transport: "tls", port: 443 }, { transport: "grpc", port: 8443 }],
  };
  assert.deepEqual(checkInvitation(request, site).fallbacks, [
    "tls://hub.example.com:443",
    "grpc://hub.example.com:8443",
    "tls://[2001:db8::1]:443",
    "grpc://[2001:db8::1]:8443",
  ]);
  assert.deepEqual(checkInvitation(request, { ...site, relay: undefined }).fallbacks, []);
  assert.throws(
    () => checkInvitation({ ...request, fallbacks: ["http://x"] }, site),
    /--fallback: "http:\/\/x" is no fallback/,
  );
});

Deno.test("a machine that has joined comes by TLS when UDP does not get through, with what it was given", async () => {
  using made = await authority();
  await using hub = await HubLab.start({ sections: made.relay() });
  const [place] = hub.gateway.streams.places;
  const token = await hub.invite("paris", "--subnet", "192.168.1.0/24");
  assert.equal((await hub.join(token, "paris.conf")).status, 0);
  const path = `${hub.folder}/paris.conf`;
  const text = Deno.readTextFileSync(path);
  assert.ok(text.includes(`Fallback = tls://127.0.0.1:${place!.port}\n`), text);
  // A port that swallows everything, as a firewall does.
  const silent = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = silent.addr as Deno.NetAddr;
  Deno.writeTextFileSync(path, text.replace(/^Endpoint = .*$/m, `Endpoint = 127.0.0.1:${port}`));
  await using machine = await startWirestack(path);
  const peer = () => [...hub.gateway.engine.device.peers()].find(({ name }) => name === "paris")!;
  await until(() => peer().lastHandshake > 0, "it is here");
  assert.match(`${peer().endpoint}`, /tls/);
  await until(
    () => readMembers(memberFile(hub.state, hub.gateway.publicKey))[0]?.state === "used",
    "its token is spent",
  );
  await machine.close({ graceMs: 0 });
  silent.close();
});

Deno.test("revoking a machine ends its connections and puts its certificate out of use, after a restart too", async () => {
  using made = await authority();
  const server = readCertificates(Deno.readTextFileSync(`${made.path}/server/cert.pem`))[0]!;
  const first = await HubLab.start({ sections: made.relay() });
  const dialled: Disposable[] = [];
  const come = (hub: HubLab, name: string) => {
    const { port } = hub.gateway.streams.places[0]!;
    const bind = new StreamBind({ name: "tls" });
    bind.start({ onReadable() {}, onSent() {}, onFailed() {} });
    const files = `${first.folder}/${name}`;
    const endpoint = bind.endpoint(
      new TlsDialer({
        ...{ url: "tls://hub", host: "127.0.0.1", port, pins: [server.pin] },
        ...{ certPath: `${files}.cert.pem`, keyPath: `${files}.key.pem` },
      }),
    );
    dialled.push({ [Symbol.dispose]: () => void bind.close() });
    endpoint.open();
    return endpoint;
  };
  for (const name of ["a", "b"]) {
    const token = await first.invite(name, "--client", "--fallback", FALLBACK);
    assert.equal((await first.join(token, `${name}.conf`)).status, 0);
  }
  const [a, b] = [come(first, "a"), come(first, "b")];
  await until(() => a.state === "open" && b.state === "open", "both are there");
  await first.ask("revoke", "a");
  const REVOKED = "refused: the certificate that is shown there has been revoked";
  await until(() => a.problem === REVOKED, "a is told");
  assert.equal(b.state, "open");
  for (const one of dialled) one[Symbol.dispose]();
  const { state, privateKey } = first;
  await first.gateway.close({ graceMs: 0 });
  await using second = await HubLab.start({ sections: made.relay(), state, privateKey });
  second.clock.ahead = 30 * 86_400_000;
  const again = come(second, "a");
  await until(() => again.problem === REVOKED, "a is refused");
  assert.doesNotMatch((await second.ask("invites")).out, /\ba\b.*revoked/);
  const other = come(second, "b");
  await until(() => other.state === "open", "b is there");
  for (const one of dialled) one[Symbol.dispose]();
  await first[Symbol.asyncDispose]();
});
