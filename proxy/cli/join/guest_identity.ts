/**
 * What a machine that was invited shows of itself in TLS: the key of its token, with a certificate that it
 * makes for it. The hub knows the key, and asks for no more.
 *
 * @module
 */

import { readCertificates } from "../../bind/certificates/certificate.ts";
import type { ClientIdentity } from "../../bind/stream/tls/mod.ts";
import { invitationKey } from "../../enrol/invitation_key.ts";
import type { Token } from "../../enrol/token.ts";

/** The hub goes by its own clock: dates that no clock of a machine is out of. */
const VALID = {
  notBefore: new Date("2000-01-01T00:00:00Z"),
  notAfter: new Date("2049-12-31T23:59:59Z"),
};

export async function guestIdentity({ privateKey, name }: Token): Promise<ClientIdentity> {
  const { issueToItself } = await import("../../certificates/issue.ts");
  const { pkcs8, spki } = invitationKey(privateKey);
  const commonName = `invite@${name}`;
  const { certificate: cert, key } = await issueToItself(pkcs8, spki, { ...VALID, commonName });
  pkcs8.fill(0);
  return { cert, key, certificate: readCertificates(cert)[0]! };
}
