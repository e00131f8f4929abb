import assert from "node:assert/strict";
import { Certificate, readCertificates } from "../../../proxy/bind/certificates/certificate.ts";
import { inside, readDer } from "../../../proxy/bind/certificates/der.ts";
import { RevocationList } from "../../../proxy/bind/certificates/revocation_list.ts";
import { MadeAuthority } from "../../proxy/bind/certificates/made.ts";
import { Random } from "../../sim/random.ts";
import type { Target } from "../target.ts";

const INPUTS = 20;
const authority = await MadeAuthority.make();
const authorities = readCertificates(authority.cert);
const leaf = await authority.leaf({ usage: "serverAuth", hosts: ["hub.example.com", "192.0.2.1"] });
const CERTIFICATE = derOf(leaf.cert);
const LIST = derOf(await authority.revoke([leaf.serial, "77"]));

export const certificates: Target = {
  name: "certificates",
  about: "certificates and lists of revoked ones, mutated: a SyntaxError, or what can be said",
  run(seed) {
    const random = new Random(seed);
    for (let i = 0; i < INPUTS; i++) {
      orSyntaxError(() => walk(mutated(CERTIFICATE, random), 4));
      orSyntaxError(() => {
        const read = new Certificate(mutated(CERTIFICATE, random));
        assert.ok(!/\p{Cc}/u.test(read.description));
        assert.equal(read.pin.length, 32);
        read.isSignedBy(authorities[0]!);
      });
      orSyntaxError(() => {
        const der = mutated(LIST, random);
        const body = der.toBase64();
        const list = new RevocationList(
          `-----BEGIN X509 CRL-----\n${body}\n-----END X509 CRL-----\n`,
          authorities,
        );
        // The signature holds: nothing of what is signed has changed.
        assert.equal(list.size, 2);
      });
    }
    return INPUTS * 3;
  },
};

function walk(bytes: Uint8Array, depth: number): void {
  for (const value of readDer(bytes)) {
    assert.ok(value.whole.length >= value.content.length + 2);
    if (depth > 0 && (value.tag & 0x20) !== 0) walk(value.content, depth - 1);
    else inside({ ...value, content: value.content.subarray(0, 0) });
  }
}

function mutated(bytes: Uint8Array, random: Random): Uint8Array {
  const copy = bytes.slice(0, random.chance(0.2) ? random.below(bytes.length) : bytes.length);
  for (let n = random.below(4); n > 0 && copy.length > 0; n--) {
    copy[random.below(copy.length)] = random.below(256);
  }
  return copy;
}

function orSyntaxError(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
}

function derOf(pem: string): Uint8Array {
  return Uint8Array.fromBase64(pem.replace(/-----.*-----|\s/g, ""));
}
