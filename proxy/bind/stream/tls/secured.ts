/**
 * A connection in TLS, both of whose ends have shown who they are.
 *
 * @module
 */

import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { IpAddress } from "../../../../netstack/mod.ts";
import { parseIpAddress } from "../../../address.ts";
import { Certificate } from "../../certificates/certificate.ts";
import type { CarrierRemote } from "../carrier.ts";
import type { Gate } from "./gate.ts";
import { type Guest, remoteOfGuest } from "./guest.ts";

/** The protocol in TLS, by ALPN (RFC 7301): frames with datagrams. */
export const PROTOCOL = "wirestack/1";
/** TLS 1.3 and nothing older. */
export const TLS_VERSION = "TLSv1.3";

export interface Secured {
  readonly socket: TLSSocket;
  /** Stops it from being read. */
  readonly gate: Gate;
  readonly remote: CarrierRemote;
  readonly certificate: Certificate;
}

/**
 * @param certificate What the other side has shown, which is good.
 * @param guest Who it is, if the key in it is all that is known of it.
 */
export function secured(
  socket: TLSSocket,
  gate: Gate,
  certificate: Certificate,
  guest?: Guest,
): Secured {
  return {
    socket,
    gate,
    certificate,
    remote: {
      address: remoteAddress(gate.socket).bytes,
      port: gate.socket.remotePort ?? 0,
      ...guest === undefined
        ? { description: certificate.description, holder: certificate.holder }
        : remoteOfGuest(guest),
    },
  };
}

/** Why a handshake has come to nothing, in a line. */
export function handshakeProblem({ message }: Error): string {
  return `the TLS handshake failed: ${message.replace(/\s+/g, " ")}`;
}

/** The address of a socket's other end, IPv4 as such. */
export function remoteAddress({ remoteAddress }: Socket): IpAddress {
  return parseIpAddress((remoteAddress ?? "").replace(/%.*/, ""))?.unmapped() ??
    IpAddress.v4(0, 0, 0, 0);
}

/** What the other side has shown; undefined for nothing. @throws {SyntaxError} if it cannot be read. */
export function certificateOf(socket: TLSSocket): Certificate | undefined {
  const x509 = socket.getPeerX509Certificate();
  return x509 && new Certificate(new Uint8Array(x509.raw));
}
