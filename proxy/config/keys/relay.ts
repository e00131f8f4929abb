/**
 * The keys of [Relay].
 *
 * @module
 */

import type { RelayInput } from "../input.ts";
import { keysOf } from "./key.ts";

export const RELAY_KEYS = keysOf<RelayInput>("relay", [
  {
    name: "Listen",
    field: "listen",
    list: "comma",
    flag: "relay-listen",
    argument: "PLACE,…",
    help: "where peers come that UDP does not get through to: tls:ADDRESS:PORT, grpc:ADDRESS:PORT",
  },
  {
    name: "Cert",
    path: "file",
    field: "cert",
    flag: "relay-cert",
    argument: "FILE",
    help: "file with the certificate to show them, and those between it and the authority",
  },
  {
    name: "Key",
    path: "file",
    field: "key",
    flag: "relay-key",
    argument: "FILE",
    help: "file with the certificate's key",
  },
  {
    name: "ClientCa",
    path: "file",
    field: "clientCa",
    flag: "relay-client-ca",
    argument: "FILE",
    help: "file with the authority, or several, whose certificates they must show",
  },
  {
    name: "ClientCaKey",
    path: "file",
    field: "clientCaKey",
    flag: "relay-client-ca-key",
    argument: "FILE",
    help: "file with that authority's key, to sign for machines that enrol",
  },
  {
    name: "Crl",
    path: "file",
    field: "crl",
    flag: "relay-crl",
    argument: "FILE",
    help: "file with the authority's list of revoked certificates",
  },
  {
    name: "AllowedClients",
    field: "allowedClients",
    list: "names",
    flag: "relay-allowed-clients",
    argument: "NAME,…",
    help:
      "names, or keys as sha256/…, of the certificates that are let in (default all of ClientCa)",
  },
]);
