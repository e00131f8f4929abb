/** What a hub answers to an enrolled machine that asks for another certificate. */

import assert from "node:assert/strict";
import { plainRequest } from "../../../../proxy/certificates/plain_request.ts";
import type { Member } from "../../../../proxy/enrol/member.ts";
import { Roster } from "../../../../proxy/enrol/roster.ts";
import { CertificateRenewal } from "../../../../proxy/gateway/enrolment/certificate_renewal.ts";
import type { ClientAuthority } from "../../../../proxy/gateway/enrolment/client_authority.ts";
import { MadeAuthority } from "../../bind/certificates/made.ts";
import { keyOf, member } from "../../enrol/member.ts";

async function site() {
  const authority = await MadeAuthority.make();
  const first = await authority.leaf({ name: "m1" });
  const enrolled = member(1, {
    state: "used",
    publicKey: keyOf(1),
    joinedAt: 0,
    usedAt: 0,
    fallbacks: ["tls://hub:443"],
    certificate: first.cert.trim(),
  });
  const world = { now: 1_000_000, isFull: false };
  const roster = new Roster({
    members: [enrolled],
    save() {
      if (world.isFull) throw new Error("no space");
    },
    now: () => world.now,
  });
  const signed = { count: 0, before: () => {} };
  const renewal = new CertificateRenewal({
    roster,
    authority: () => ({
      async sign() {
        signed.count++;
        const { cert } = await authority.leaf({ name: "m1", keys: first.keys });
        signed.before();
        return cert;
      },
    } as unknown as ClientAuthority),
    now: () => world.now,
  });
  const request = {
    publicKey: keyOf(1),
    certificateRequest: plainRequest(first.key),
    renews: true,
  };
  const known = () => roster.byTokenKey(enrolled.tokenKey) as Member;
  const ask = () => renewal.answer(known(), request);
  return { roster, signed, world, ask, known, renewal, request };
}

Deno.test("the certificate is kept before it is given, and given again for an hour", async () => {
  const { ask, known, signed, world } = await site();
  const answer = await ask();
  assert.ok("renewed" in answer);
  assert.equal(known().certificate, answer.renewed);
  assert.equal(known().certifiedAt, world.now);
  world.now += 3_599_999;
  assert.deepEqual(await ask(), answer);
  assert.equal(signed.count, 1);
  world.now += 1;
  assert.notDeepEqual(await ask(), answer);
});

Deno.test("who is revoked while it is signed gets none, nor from a disk that is full", async () => {
  const { ask, known, roster, signed, world } = await site();
  const before = known();
  world.isFull = true;
  assert.deepEqual(await ask(), { refused: "state" });
  assert.deepEqual(known(), before);
  world.isFull = false;
  signed.before = () => void roster.revoke(known());
  assert.deepEqual(await ask(), { refused: "revoked" });
  assert.equal(known().certificate, before.certificate);
});

Deno.test("a request that is none, of another key of WireGuard's, or without one for TLS", async () => {
  const { renewal, request, known } = await site();
  const before = known();
  const { publicKey } = request;
  assert.deepEqual(await renewal.answer(before, undefined), { refused: "malformed" });
  assert.deepEqual(
    await renewal.answer(before, { ...request, publicKey: keyOf(2) }),
    { refused: "key" },
  );
  assert.deepEqual(await renewal.answer(before, { publicKey }), { refused: "certificate" });
  assert.deepEqual(known(), before);
});
