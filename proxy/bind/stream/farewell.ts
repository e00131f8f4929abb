/**
 * Why a side ends a carrier, told to the other in the last frame: a length of 1 and one of these. Who is
 * refused would otherwise hear of it late, and not why.
 *
 * @module
 */

export const Farewell = {
  /** The gateway is closing, or has no use for the carrier any more. */
  Closing: 1,
  /** There are too many carriers. */
  Full: 2,
  /** The stream is not one of frames with datagrams. */
  Malformed: 3,
  /** Of the certificate of whoever is told. */
  NoCertificate: 10,
  Expired: 11,
  NotYetValid: 12,
  OtherAuthority: 13,
  OtherPurpose: 14,
  Revoked: 15,
  NotAllowed: 16,
  /** Wrong in another way. */
  BadCertificate: 17,
  /** It does not speak this protocol (ALPN). */
  OtherProtocol: 18,
  /** A server's certificate is for another name, or has a key that is not pinned. */
  OtherName: 22,
  OtherKey: 23,
  /** The certificate is that of a token of enrolment. */
  TokenUsed: 19,
  TokenExpired: 20,
  TokenRevoked: 21,
} as const;
export type Farewell = typeof Farewell[keyof typeof Farewell];

const TEXTS: Readonly<Record<Farewell, string>> = {
  [Farewell.Closing]: "the other side has closed it",
  [Farewell.Full]: "the other side has too many already",
  [Farewell.Malformed]: "the other side did not understand what it got",
  [Farewell.NoCertificate]: "refused: the other side wants a certificate, and got none",
  [Farewell.Expired]: "refused: the certificate that is shown there has expired",
  [Farewell.NotYetValid]: "refused: the certificate that is shown there is not valid yet",
  [Farewell.OtherAuthority]:
    "refused: the certificate that is shown there is of an authority that the other side does not trust",
  [Farewell.OtherPurpose]: "refused: the certificate that is shown there is not one for clients",
  [Farewell.Revoked]: "refused: the certificate that is shown there has been revoked",
  [Farewell.NotAllowed]:
    "refused: the certificate that is shown there is not among those that are let in",
  [Farewell.BadCertificate]: "refused: the other side does not accept the certificate shown there",
  [Farewell.OtherProtocol]: "refused: the other side speaks another protocol",
  [Farewell.OtherName]: "refused: the certificate that is shown there is for another name",
  [Farewell.OtherKey]: "refused: the certificate that is shown there has a key that is not pinned",
  [Farewell.TokenUsed]: "refused: the token of enrolment was used",
  [Farewell.TokenExpired]: "refused: the token of enrolment has expired",
  [Farewell.TokenRevoked]: "refused: the token of enrolment was revoked",
};

/** What a client finds wrong with a server's certificate, behind `the certificate that is shown here`. */
const OF_SERVERS: Readonly<Partial<Record<Farewell, string>>> = {
  [Farewell.Expired]: "has expired",
  [Farewell.NotYetValid]: "is not valid yet",
  [Farewell.OtherAuthority]: "is of an authority that is not trusted there",
  [Farewell.OtherPurpose]: "is not one for servers",
  [Farewell.BadCertificate]: "is not accepted there",
  [Farewell.OtherName]: "is for another name than was asked for",
  [Farewell.OtherKey]: "has a key that is not pinned there",
};

/**
 * Why a client does not accept the certificate of this side; undefined if it does.
 *
 * @param bytes The first that it says, of whatever protocol: none begins with a farewell.
 */
export function refusalOfServer(bytes: Uint8Array): string | undefined {
  if (bytes.length !== 3 || bytes[0] !== 0 || bytes[1] !== 1) return undefined;
  return OF_SERVERS[bytes[2] as Farewell];
}

/** The last frame. */
export function farewellFrame(farewell: Farewell): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(0, 1, farewell);
}

/** What to say of the other side's last frame. */
export function farewellText(code: number): string {
  return TEXTS[code as Farewell] ?? `the other side has ended it, for reason ${code}`;
}
