import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { Certificate, readCertificates } from "../../../../proxy/bind/certificates/certificate.ts";
import { refuseClient, refuseServer } from "../../../../proxy/bind/certificates/check.ts";
import { RevocationList } from "../../../../proxy/bind/certificates/revocation_list.ts";
import { Farewell } from "../../../../proxy/bind/stream/mod.ts";
import { daysFromNow, type LeafOptions, MadeAuthority } from "./made.ts";

const now = new Date();
const authority = await MadeAuthority.make("Ours");
const other = await MadeAuthority.make("Theirs");
const authorities = readCertificates(authority.cert);
const UNTRUSTED = "UNABLE_TO_VERIFY_LEAF_SIGNATURE"; // what the runtime says of everything

async function certificate(options: LeafOptions = {}, from = authority): Promise<Certificate> {
  return readCertificates((await from.leaf(options)).cert)[0]!;
}

Deno.test("a certificate is read as node:crypto reads it", async () => {
  const leaf = await authority.leaf({
    name: "hub",
    usage: "serverAuth",
    hosts: ["hub.example.com", "192.0.2.1", "*.example.net"],
  });
  const [read] = readCertificates(`text before\n${leaf.cert}\n${leaf.cert}`);
  const x509 = new X509Certificate(leaf.cert);
  assert.equal(read!.serial, x509.serialNumber.toLowerCase());
  assert.equal(read!.notBefore.getTime(), Date.parse(x509.validFrom));
  assert.equal(read!.notAfter.getTime(), Date.parse(x509.validTo));
  assert.deepEqual(read!.names, ["hub", "hub.example.com", "*.example.net"]);
  assert.equal(read!.issuerName, "Ours");
  const spki = x509.publicKey.export({ type: "spki", format: "der" });
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", Uint8Array.from(spki)));
  assert.deepEqual(read!.pin, hash);
  assert.equal(read!.pinText, `sha256/${hash.toBase64()}`);
});

Deno.test("a name cannot begin a line of its own", async () => {
  const { names } = await certificate({ name: "evil\u2028name\u0007" });
  assert.deepEqual(names, ["evil?name?"]);
});

Deno.test("what is no certificate is an error, cut off anywhere", () => {
  const der = Uint8Array.fromBase64(authority.cert.replace(/-----.*-----|\s/g, ""));
  for (let length = 0; length < der.length; length += 7) {
    assert.throws(() => new Certificate(der.slice(0, length)), SyntaxError, `${length}`);
  }
});

Deno.test("clients are refused for what is wrong with their certificate, whatever the runtime calls it", async () => {
  const leaf = await authority.leaf({ name: "revoked" });
  const revoked = new RevocationList(await authority.revoke([leaf.serial]), authorities);
  const rules = {
    authorities,
    isRevoked: (one: Certificate) => revoked.has(one),
    allowed: [],
  };
  const refusal = async (options: LeafOptions, problem?: string, from = authority) =>
    refuseClient(await certificate(options, from), problem, rules, now);
  assert.equal(await refusal({}), undefined);
  assert.equal(await refusal({ usage: "none" }), undefined);
  assert.deepEqual(await refusal({ notAfter: new Date("2026-01-02T03:04:05Z") }, UNTRUSTED), {
    farewell: Farewell.Expired,
    reason: "has expired on 2026-01-02",
  });
  assert.deepEqual(
    await refusal({
      notBefore: new Date("2098-01-02T03:04:05Z"),
      notAfter: new Date("2099-01-01"),
    }),
    { farewell: Farewell.NotYetValid, reason: "is not valid before 2098-01-02T03:04:05Z" },
  );
  assert.deepEqual(await refusal({}, UNTRUSTED, other), {
    farewell: Farewell.OtherAuthority,
    reason: 'is of another authority, "Theirs"',
  });
  assert.deepEqual(await refusal({ usage: "serverAuth" }, UNTRUSTED), {
    farewell: Farewell.OtherPurpose,
    reason: "is not one for clients",
  });
  assert.deepEqual(refuseClient(readCertificates(leaf.cert)[0]!, undefined, rules, now), {
    farewell: Farewell.Revoked,
    reason: "has been revoked",
  });
  // Nothing that the runtime refuses passes, even if nothing wrong with it is found here.
  assert.deepEqual(await refusal({}, "SOME_REASON"), {
    farewell: Farewell.BadCertificate,
    reason: "is not accepted: SOME_REASON",
  });
});

Deno.test("an authority of the same name is another authority; one that has expired is said to have", async () => {
  const impostor = await MadeAuthority.make("Ours");
  const rules = { authorities, allowed: [] };
  assert.equal(
    refuseClient(await certificate({}, impostor), UNTRUSTED, rules, now)?.reason,
    'is of another authority, "Ours"',
  );
  const old = await MadeAuthority.make("Old", new Date("2026-01-01T00:00:00Z"));
  const ofOld = { authorities: readCertificates(old.cert), allowed: [] };
  assert.equal(
    refuseClient(await certificate({}, old), UNTRUSTED, ofOld, now)?.reason,
    "is of an authority that has expired on 2026-01-01",
  );
});

Deno.test("with a list of who is allowed, by name or by key, nobody else is", async () => {
  const leaf = await certificate({ name: "Laptop of Ann" });
  const refusal = (allowed: (string | Uint8Array)[]) =>
    refuseClient(leaf, undefined, { authorities, allowed }, now)?.reason;
  assert.equal(refusal(["laptop of ann"]), undefined);
  assert.equal(refusal(["phone", leaf.pin]), undefined);
  assert.equal(refusal(["phone", new Uint8Array(32)]), "is not among AllowedClients");
  assert.equal(refusal(["laptop"]), "is not among AllowedClients");
});

Deno.test("a server needs a good certificate and a pinned key; without an authority the key alone", async () => {
  const hub = await certificate({ name: "hub", usage: "serverAuth", hosts: ["hub"] });
  const pin = new Uint8Array(32);
  const refusal = (ca: typeof authorities | undefined, pins: Uint8Array[], problem?: string) =>
    refuseServer(hub, problem, ca, pins, now)?.reason;
  assert.equal(refusal(authorities, []), undefined);
  assert.equal(refusal(authorities, [pin, hub.pin]), undefined);
  assert.equal(refusal(authorities, [pin]), `has a key that is not pinned, ${hub.pinText}`);
  assert.equal(refusal(undefined, [hub.pin], UNTRUSTED), undefined);
  assert.equal(refusal(undefined, [pin]), `has a key that is not pinned, ${hub.pinText}`);
  assert.equal(refusal(undefined, []), "is vouched for by nobody");
  const client = await certificate();
  assert.equal(
    refuseServer(client, undefined, authorities, [], now)?.reason,
    "is not one for servers",
  );
  const old = await certificate({
    usage: "serverAuth",
    notAfter: new Date("2026-01-01T00:00:00Z"),
  });
  assert.equal(
    refuseServer(old, undefined, undefined, [old.pin], now)?.reason,
    "has expired on 2026-01-01",
  );
});

Deno.test("a list of revoked certificates counts only if the authority has signed it", async () => {
  const leaf = await authority.leaf();
  const pem = await authority.revoke([leaf.serial, "77"], daysFromNow(3));
  const list = new RevocationList(pem, [...readCertificates(other.cert), ...authorities]);
  assert.equal(list.size, 2);
  assert.equal(list.nextUpdate!.getTime(), daysFromNow(3).getTime());
  assert.equal(list.has(readCertificates(leaf.cert)[0]!), true);
  // The same number of another authority is another certificate.
  const [same] = readCertificates((await other.leaf()).cert);
  assert.equal(list.has(same!), false);
  assert.equal(new RevocationList(await authority.revoke([]), authorities).size, 0);
  assert.throws(() => new RevocationList(pem, readCertificates(other.cert)), {
    message: "not signed by the authority",
  });
  const impostor = await MadeAuthority.make("Ours");
  assert.throws(() => new RevocationList(pem, readCertificates(impostor.cert)), {
    message: "not signed by the authority",
  });
  assert.throws(() => new RevocationList("nothing", authorities), {
    message: "no list of revoked certificates in PEM",
  });
});
