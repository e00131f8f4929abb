/**
 * Requests for certificates (PKCS #10, RFC 2986): a machine makes one with a key of its own, and who
 * signs looks at nothing of it but that key, and that whoever asks has it.
 *
 * @module
 */

import { ALGORITHM, generateKeys, keyPem, pemOf } from "./issue.ts";

const x509 = await import("./x509.ts");

/** A request, and the key that it is for, in PEM; the key as PKCS #8. */
export interface Requested {
  readonly request: string;
  readonly key: string;
}

export async function makeRequest(commonName: string): Promise<Requested> {
  const keys = await generateKeys();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: `CN=${commonName}`,
    keys,
    signingAlgorithm: ALGORITHM,
  });
  return { request: pemOf(request), key: await keyPem(keys) };
}

/**
 * @returns the key, SubjectPublicKeyInfo in DER; undefined unless this is a request that was signed with
 * it, and it is of P-256.
 */
export async function keyOfRequest(pem: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    const request = new x509.Pkcs10CertificateRequest(pem);
    const { namedCurve } = request.publicKey.algorithm as EcKeyAlgorithm;
    if (namedCurve !== ALGORITHM.namedCurve || !await request.verify()) return undefined;
    return new Uint8Array(request.publicKey.rawData);
  } catch { // whatever the library finds in what a stranger has sent
    return undefined;
  }
}
