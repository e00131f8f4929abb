/** Machines that join where UDP does not get through, and what an invitation's certificate is not good for. */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../../proxy/base64.ts";
import { readCertificates } from "../../../../proxy/bind/certificates/certificate.ts";
import { StreamBind } from "../../../../proxy/bind/stream/mod.ts";
import { type ClientIdentity, TlsDialer } from "../../../../proxy/bind/stream/tls/mod.ts";
import { issueToItself } from "../../../../proxy/certificates/issue.ts";
import { guestIdentity } from "../../../../proxy/cli/join/guest_identity.ts";
import { invitationKey } from "../../../../proxy/enrol/invitation_key.ts";
import { LINGER_MS } from "../../../../proxy/enrol/member.ts";
import { memberFile, readMembers } from "../../../../proxy/enrol/state_file.ts";
import { decodeToken } from "../../../../proxy/enrol/token.ts";
import { captureLog } from "../../log/capture.ts";
import { until } from "../../pair.ts";
import { startWirestack } from "../../start.ts";
import { HubCertificates } from "./hub_certificates.ts";
import { HubLab } from "./hub_lab.ts";

const HOUR = 3_600_000;
const LONG_MS = 60_000;

/** A hub with a relay, and a port of UDP that swallows everything, as a firewall does. */
class Site implements AsyncDisposable {
  readonly certs: HubCertificates;
  readonly hub: HubLab;
  readonly #silent: Deno.DatagramConn;
  readonly #binds: StreamBind[] = [];

  private constructor(certs: HubCertificates, hub: HubLab) {
    this.certs = certs;
    this.hub = hub;
    this.#silent = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  }

  /** @param lines Of `[Relay]`. */
  static async start(lines = "Listen = tls:127.0.0.1:0") {
    const certs = await HubCertificates.make();
    return new Site(certs, await HubLab.start({ sections: certs.relay({ lines }) }));
  }

  /** Where UDP does not get to. */
  get silent(): string {
    return `127.0.0.1:${(this.#silent.addr as Deno.NetAddr).port}`;
  }

  get pin(): Uint8Array {
    return readCertificates(Deno.readTextFileSync(`${this.certs.path}/server/cert.pem`))[0]!.pin;
  }

  /** @returns the token. */
  async invite(name: string, ...args: string[]): Promise<string> {
    const { status, out, error } = await this.hub.ask(
      ...["invite", name, "--endpoint", this.silent, "--client", ...args],
    );
    assert.equal(status, 0, error);
    return out.trimEnd().split("\n").at(-1)!;
  }

  /** A carrier, kept open, whose other end is shown this. */
  come(identity: ClientIdentity, pin = this.pin) {
    const { port } = this.hub.gateway.streams.places[0]!;
    const bind = new StreamBind({ name: "tls" });
    bind.start({ onReadable() {}, onSent() {}, onFailed() {} });
    this.#binds.push(bind);
    const endpoint = bind.endpoint(
      new TlsDialer({
        ...{ url: "tls://hub", host: "127.0.0.1", port, pins: [pin] },
        ...{ certPath: "", keyPath: "", identity: () => identity },
      }),
    );
    endpoint.open();
    return endpoint;
  }

  /** Comes with the certificate of a token. */
  async comeWith(token: string) {
    return this.come(await guestIdentity(decodeToken(token)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#binds.map((bind) => bind.close()));
    await this.hub[Symbol.asyncDispose]();
    this.#silent.close();
    this.certs[Symbol.dispose]();
  }
}

type Come = ReturnType<Site["come"]>;

async function isOpen(endpoint: Come): Promise<void> {
  await until(() => endpoint.state === "open", "it is let in");
}

async function isRefused(endpoint: Come, problem: string): Promise<void> {
  await until(() => endpoint.problem === problem, problem);
}

for (const transport of ["tls", "grpc"]) {
  Deno.test(`a machine joins by ${transport} where UDP does not get through, once`, async () => {
    using logged = captureLog("debug");
    await using site = await Site.start(`Listen = ${transport}:127.0.0.1:0`);
    const { hub } = site;
    const token = await site.invite("paris");
    assert.match(token, /^wsk2/);
    const joined = await hub.join(token, "paris.conf");
    assert.equal(joined.status, 0, joined.error);
    assert.match(joined.error, /^paris has joined: 10\.9\.0\.2, a client that reaches [^\n]*\n$/);
    assert.deepEqual(await hub.statuses(), ["paris joined"]);
    const text = Deno.readTextFileSync(`${hub.folder}/paris.conf`);
    assert.match(text, new RegExp(`^Fallback = ${transport}://127\\.0\\.0\\.1:`, "m"));

    // With what it was given it comes by the same way, and that spends the token.
    await using machine = await startWirestack(`${hub.folder}/paris.conf`);
    const state = () => readMembers(memberFile(hub.state, hub.gateway.publicKey))[0]?.state;
    await until(() => state() === "used", "its token is spent");
    const again = await hub.join(token, "again.conf");
    assert.deepEqual([again.status, again.error], [
      1,
      "wirestack: paris: this token was used, expected a new one (wirestack invite)\n",
    ]);
    await machine.close({ graceMs: 0 });
    const { pkcs8 } = invitationKey(decodeToken(token).privateKey);
    const said = JSON.stringify([logged.lines, hub.snapshot(), await hub.ask("invites", "--json")]);
    for (const secret of [token.slice(8), pkcs8.toBase64(), pkcs8.slice(36, 68).toHex()]) {
      assert.ok(!said.includes(secret));
    }
  });
}

Deno.test("a certificate of an invitation that is revoked, over or spent opens nothing, and ends at once", async () => {
  await using site = await Site.start();
  const { hub } = site;
  const revoked = await site.invite("a");
  const there = await site.comeWith(revoked);
  await isOpen(there);
  await hub.ask("revoke", "a");
  await isRefused(there, "refused: the token of enrolment was revoked");
  await isRefused(await site.comeWith(revoked), "refused: the token of enrolment was revoked");
  const told = await hub.join(revoked, "a.conf");
  assert.match(told.error, /^wirestack: a: this token was revoked, expected a new one/);

  const late = await site.invite("b", "--expires", "1h");
  const guest = await site.comeWith(late);
  await isOpen(guest);
  hub.clock.ahead = HOUR + 1_000;
  await isRefused(await site.comeWith(late), "refused: the token of enrolment has expired");
  const told_ = await hub.join(late, "b.conf");
  assert.match(told_.error, /^wirestack: b: this token has expired, expected a new one/);
  await site.invite("c"); // then it looks at the clock
  await isRefused(guest, "refused: the token of enrolment has expired");
  // Forgotten, it is anybody's.
  hub.clock.ahead += LINGER_MS;
  await site.invite("d");
  await isRefused(
    await site.comeWith(late),
    "refused: the certificate that is shown there is of an authority that the other side does not trust",
  );
  assert.deepEqual(
    Array.from(Deno.readDirSync(hub.folder), ({ name }) => name),
    [],
    "machines keep nothing of it",
  );
});

Deno.test("who was there when the invitation ended has to go when its time has come", async () => {
  await using site = await Site.start();
  const token = await site.invite("a", "--expires", "2s");
  const there = await site.comeWith(token);
  await isRefused(there, "refused: the token of enrolment has expired");
  assert.equal(site.hub.gateway.streams.budget.carriers, 0);
});

Deno.test("another hub's token, and keys that nobody has invited", async () => {
  await using site = await Site.start();
  await using other = await Site.start();
  const token = await other.invite("a");
  // With the other's pin this one is not believed; without it, it does not let in.
  const identity = await guestIdentity(decodeToken(token));
  const strange = site.come(identity, other.pin);
  await until(() => /has a key that is not pinned/.test(strange.problem ?? ""), "pinned");
  const OTHER =
    "refused: the certificate that is shown there is of an authority that the other side does not trust";
  await isRefused(site.come(identity), OTHER);
  const { pkcs8, spki } = invitationKey(generatePrivateKey());
  const made = await issueToItself(pkcs8, spki, {
    commonName: "invite@a",
    notBefore: new Date(0),
    notAfter: new Date("2049-12-31T00:00:00Z"),
  });
  const { certificate: cert, key } = made;
  await isRefused(site.come({ cert, key, certificate: readCertificates(cert)[0]! }), OTHER);
});

Deno.test("an invitation has four carriers at most, which are nobody else's, whatever it calls itself", async () => {
  await using site = await Site.start();
  const { pkcs8, spki } = invitationKey(decodeToken(await site.invite("a")).privateKey);
  const { certificate: cert, key } = await issueToItself(pkcs8, spki, {
    commonName: "somebody else",
    notBefore: new Date(0),
    notAfter: new Date("2049-12-31T00:00:00Z"),
  });
  const identity = { cert, key, certificate: readCertificates(cert)[0]! };
  const four = Array.from({ length: 4 }, () => site.come(identity));
  for (const endpoint of four) await isOpen(endpoint);
  await isRefused(site.come(identity), "the other side has too many already");
  const [bind] = site.hub.gateway.streams.binds;
  for (const { remote } of bind!.accepted) assert.equal(remote!.description, "invite@a");
  const beside = await site.comeWith(await site.invite("b"));
  await isOpen(beside);
  assert.ok(four.every(({ state }) => state === "open"));
});

Deno.test("AllowedClients counts for who was invited too, by the name", async () => {
  await using site = await Site.start("Listen = tls:127.0.0.1:0\nAllowedClients = Paris");
  await isOpen(await site.comeWith(await site.invite("paris")));
  const { out, error } = await site.hub.ask(
    ...["invite", "rome", "--endpoint", site.silent, "--client"],
  );
  assert.match(error, /^note: AllowedClients does not have rome: where UDP does not get through/m);
  await isRefused(
    await site.comeWith(out.trimEnd().split("\n").at(-1)!),
    "refused: the certificate that is shown there is not among those that are let in",
  );
});

Deno.test("by an invitation's certificate nobody else's traffic comes in: no other key, and no enrolled machine's", async () => {
  await using site = await Site.start();
  const { hub } = site;
  const enrolled = generatePrivateKey();
  const { out } = await hub.ask(
    ...["invite", "enrolled", "--endpoint", hub.endpoint, "--client"],
  );
  await hub.handIn(out.trimEnd().split("\n").at(-1)!, enrolled, LONG_MS);
  const [token, another] = [await site.invite("a"), await site.invite("b")];
  const identity = await guestIdentity(decodeToken(token));
  const { device } = hub.gateway.engine;
  const { port } = hub.gateway.streams.places[0]!;
  const { service } = decodeToken(token);
  const start = (privateKey: Uint8Array, address: string) =>
    startWirestack({
      interface: { privateKey: encodeKey(privateKey), address },
      peers: [{
        publicKey: encodeKey(hub.gateway.publicKey),
        allowedIps: "10.9.0.1/32",
        persistentKeepalive: 1,
        ...{ fallback: `tls://127.0.0.1:${port}`, cert: "none", key: "none" },
        pin: `sha256/${site.pin.toBase64()}`,
      }],
    }, { asGuest: { identity, onProblem() {} } });
  const others = [
    [enrolled, "10.9.0.2/32"],
    [decodeToken(another).privateKey, `${decodeToken(another).link}/32`],
    [generatePrivateKey(), "10.9.0.3/32"],
  ] as const;
  for (const [key, address] of others) {
    const before = device.counters.droppedOtherSpeaker;
    await using net = await start(key, address);
    await until(() => device.counters.droppedOtherSpeaker > before, "it is refused");
    assert.ok(!(device.peer(publicKeyOf(key))?.lastHandshake! > 0));
    await net.close({ graceMs: 0 });
  }
  // Its own key reaches the service of enrolment, and nothing beside it.
  const { privateKey, link } = decodeToken(token);
  await using net = await start(privateKey, `${link}/32`);
  const place = { hostname: `${service.address}`, timeoutMs: LONG_MS };
  (await net.connect({ ...place, port: service.port })).close();
  await assert.rejects(net.connect({ ...place, port: service.port + 1, timeoutMs: 1_000 }));
  await net.close({ graceMs: 0 });
});

Deno.test("where nothing gets through, one line says what became of each way", async () => {
  await using site = await Site.start();
  // One that takes connections and says nothing, for longer than there is time.
  using mute = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const mutePlace = `tls://127.0.0.1:${(mute.addr as Deno.NetAddr).port}`;
  const { port } = site.hub.gateway.streams.places[0]!;
  const fallbacks = [`tls://127.0.0.1:${port}`, mutePlace].flatMap((url) => ["--fallback", url]);
  const token = await site.invite("a", ...fallbacks);
  const { silent, hub } = site;
  await hub.gateway.close({ graceMs: 0 });
  const asked = hub.handIn(token, generatePrivateKey(), 10_000);
  await assert.rejects(asked, ({ message }: Error) => {
    const [udp, tls, late, ...more] = message.split("; ");
    assert.ok(udp!.startsWith(`${silent}: no answer, expected a hub there that UDP gets to`));
    assert.equal(tls, `tls://127.0.0.1:${port}: nobody listens there`);
    assert.equal(late, `${mutePlace}: nothing came by it in this time`);
    assert.deepEqual(more, []);
    return true;
  });
});
