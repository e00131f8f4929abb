/** Enrolled machines whose certificate is renewed by the hub, inside the tunnel. */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../../proxy/base64.ts";
import { readCertificates } from "../../../../proxy/bind/certificates/certificate.ts";
import { keyOfRequest, makeRequest } from "../../../../proxy/certificates/request.ts";
import { plainRequest } from "../../../../proxy/certificates/plain_request.ts";
import { loadSourceInput } from "../../../../proxy/embed/source.ts";
import { LINGER_MS } from "../../../../proxy/enrol/member.ts";
import { memberFile, readMembers } from "../../../../proxy/enrol/state_file.ts";
import type { Gateway } from "../../../../proxy/gateway/gateway.ts";
import { askForCertificate } from "../../../../proxy/gateway/renewal/ask.ts";
import { captureLog } from "../../log/capture.ts";
import { until } from "../../pair.ts";
import { startGateway, startWirestack } from "../../start.ts";
import { HubCertificates } from "./hub_certificates.ts";
import { HubLab, type HubLabOptions } from "./hub_lab.ts";

const DAY = 86_400_000;
const HOUR = 3_600_000;
const LONG_MS = 60_000;
const PLACE = "10.9.0.1:51820";

async function joined(hub: HubLab, name: string): Promise<void> {
  const { status, error } = await hub.join(await hub.invite(name), `${name}.conf`);
  assert.equal(status, 0, error);
}

/** Starts a machine that has joined, and waits for its tunnel. @param ahead Of its clock, ms. */
async function start(hub: HubLab, name: string, ahead: number): Promise<Gateway> {
  const path = `${hub.folder}/${name}.conf`;
  const { config } = await loadSourceInput(path);
  const gateway = await startGateway(config, { wallClock: () => Date.now() + ahead });
  const [peer] = gateway.engine.device.peers();
  await until(() => peer!.hasSession, "a session");
  return gateway;
}

/** Has it look at its certificate now. */
function look({ streams: { renewals } }: Gateway): void {
  renewals!.handleTimeout(renewals!.pollTimeout());
}

const memberOf = (hub: HubLab, name: string) =>
  readMembers(memberFile(hub.state, hub.gateway.publicKey)).find((one) => one.name === name)!;

Deno.test("a machine gets another certificate in time, by a hub that has started anew, and comes with it", async () => {
  using made = await HubCertificates.make();
  using logged = captureLog();
  const options: HubLabOptions = { sections: made.relay() };
  const first = await HubLab.start(options);
  await joined(first, "paris");
  const path = `${first.folder}/paris`;
  const text = Deno.readTextFileSync(`${path}.conf`);
  assert.ok(text.includes(`\nRenewAt = ${PLACE}\n`), text);
  const [before] = readCertificates(Deno.readTextFileSync(`${path}.cert.pem`));
  const days = (before!.notAfter.getTime() - before!.notBefore.getTime()) / DAY;
  assert.ok(days > 364 && days < 366, `${days}`);
  const key = Deno.readTextFileSync(`${path}.key.pem`);

  const early = await start(first, "paris", 200 * DAY);
  look(early);
  await until(
    () => memberOf(first, "paris").state === "used",
    "its token is spent",
  );
  await early.close();
  assert.equal(memberOf(first, "paris").certifiedAt, undefined, "two thirds are not over");

  // Nothing but members is left by then.
  await using hub = await first.restart(options);
  hub.clock.ahead = HOUR + LINGER_MS;
  await using machine = await start(first, "paris", 250 * DAY);
  look(machine);
  const now = () => readCertificates(Deno.readTextFileSync(`${path}.cert.pem`))[0]!;
  await until(() => now().serial !== before!.serial, "it is on the disk");
  const after = now();
  assert.equal(after.pinText, before!.pinText);
  assert.ok(after.notAfter > before!.notAfter);
  assert.deepEqual(after.names, ["paris"]);
  assert.equal(Deno.statSync(`${path}.cert.pem`).mode! & 0o777, 0o600);
  assert.equal(Deno.readTextFileSync(`${path}.key.pem`), key);
  assert.equal(memberOf(hub, "paris").certificate, Deno.readTextFileSync(`${path}.cert.pem`));
  const [renewable] = machine.streams.renewals!.certificates;
  assert.equal(renewable!.reader.read().certificate.serial, after.serial, "the next carrier's");
  const of = (pattern: RegExp) => logged.lines.filter((line) => pattern.test(line)).length;
  await until(() => of(/paris\.cert\.pem is renewed, until/) === 1, "the machine's line");
  assert.equal(of(/paris: its certificate is renewed, until/), 1);
  assert.equal(of(/PRIVATE KEY/), 0);
  // Asked again at once, the hub gives the same.
  const { engine } = machine;
  const identity = renewable!.reader.read();
  const same = () =>
    askForCertificate(
      ...[{ engine, hasDevice: false }, renewable!.places[0]!, identity] as const,
      new AbortController().signal,
    );
  assert.equal(await same(), memberOf(hub, "paris").certificate);
  await hub.ask("revoke", "paris");
  await machine.close();
});

Deno.test("nobody gets a certificate for another key, nor who is no member; an authority that cannot sign", async () => {
  using made = await HubCertificates.make();
  const stranger = generatePrivateKey();
  const peer = `[Peer]\nPublicKey = ${
    encodeKey(publicKeyOf(stranger))
  }\nAllowedIPs = 10.9.0.9/32\n`;
  await using hub = await HubLab.start({ sections: `${peer}${made.relay()}` });
  await joined(hub, "a");
  await using machine = await start(hub, "a", 0);
  await until(() => memberOf(hub, "a").state === "used", "its token is spent");
  const [renewable] = machine.streams.renewals!.certificates;
  const [place] = renewable!.places;
  const ended = new AbortController().signal;
  const { engine } = machine;
  const identity = renewable!.reader.read();
  const before = hub.snapshot();
  const { key } = await makeRequest("a");
  await assert.rejects(
    askForCertificate({ engine, hasDevice: false }, place!, { ...identity, key }, ended),
    /^Error: the hub refuses: the key is not the one of the certificate before$/,
  );
  assert.deepEqual(hub.snapshot(), before);

  await using other = await startWirestack({
    interface: { privateKey: encodeKey(stranger), address: "10.9.0.9/32" },
    peers: [{
      publicKey: encodeKey(hub.gateway.publicKey),
      endpoint: hub.endpoint,
      allowedIps: "10.9.0.1/32",
    }],
  });
  const conn = await other.connect({ hostname: "10.9.0.1", port: 51820, timeoutMs: LONG_MS });
  await assert.rejects(async () => {
    await conn.write(new TextEncoder().encode("{}\n"));
    if (await conn.read(new Uint8Array(1)) === null) throw new Error("closed");
  });
  assert.deepEqual(hub.snapshot(), before);
  await other.close({ graceMs: 0 });

  // The key of the authority is away: nothing changes, and it is said why.
  Deno.renameSync(`${made.path}/ca/key.pem`, `${made.path}/ca/away.pem`);
  await assert.rejects(
    askForCertificate({ engine, hasDevice: false }, place!, identity, ended),
    /^Error: the hub refuses: it cannot sign one, its log says why$/,
  );
  assert.deepEqual(hub.snapshot(), before);
  Deno.renameSync(`${made.path}/ca/away.pem`, `${made.path}/ca/key.pem`);
  await machine.close();
});

Deno.test("a request without the library is one for the library too", async () => {
  const { key, request } = await makeRequest("a");
  const spki = await keyOfRequest(plainRequest(key));
  assert.ok(spki !== undefined);
  assert.deepEqual(spki, await keyOfRequest(request));
  assert.throws(() => plainRequest("nonsense"));
});
