/**
 * The keys of [Peer].
 *
 * @module
 */

import { DEFAULT_RATE_BURST_MS } from "../defaults.ts";
import type { PeerInput } from "../input.ts";
import { keysOf } from "./key.ts";

export const PEER_KEYS = keysOf<PeerInput>("peers", [
  {
    name: "PublicKey",
    field: "publicKey",
    flag: "peer",
    argument: "PUBLICKEY",
    help: "a peer; the options below that follow it are this peer's",
  },
  {
    name: "Name",
    field: "name",
    flag: "peer-name",
    argument: "NAME",
    help: "what to call the peer, here and in what is shown",
  },
  {
    name: "PresharedKey",
    field: "presharedKey",
    secret: true,
    flag: "preshared-key-file",
    argument: "FILE",
    help: "file with the key shared with the peer",
  },
  {
    name: "AllowedIPs",
    field: "allowedIps",
    list: "comma",
    flag: "allowed-ips",
    argument: "PREFIX,…",
    help: "addresses the peer may use",
  },
  {
    name: "Endpoint",
    field: "endpoint",
    list: "comma",
    flag: "endpoint",
    argument: "HOST:PORT,…",
    help: "where the peer is, or several places: the first to answer counts; learnt when not given",
  },
  {
    name: "Fallback",
    field: "fallback",
    list: "comma",
    flag: "fallback",
    argument: "URL,…",
    help: "where else it is when UDP does not get through: tls://HOST:PORT, grpc://HOST:PORT",
  },
  {
    name: "Cert",
    path: "file",
    field: "cert",
    flag: "peer-cert",
    argument: "FILE",
    help: "file with the certificate to show there",
  },
  {
    name: "Key",
    path: "file",
    field: "key",
    flag: "peer-key",
    argument: "FILE",
    help: "file with that certificate's key",
  },
  {
    name: "Ca",
    path: "file",
    field: "ca",
    flag: "peer-ca",
    argument: "FILE",
    help: "file with the authority whose certificate the other side must show, for the host's name",
  },
  {
    name: "Pin",
    field: "pin",
    list: "names",
    flag: "peer-pin",
    argument: "sha256/…,…",
    help: "the key, or keys, that its certificate must have; without Ca this alone tells who it is",
  },
  {
    name: "RenewAt",
    field: "renewAt",
    flag: "peer-renew-at",
    argument: "ADDRESS:PORT",
    help:
      "where in the tunnel it gives another certificate in time: a hub that this machine has joined",
  },
  {
    name: "PersistentKeepalive",
    field: "persistentKeepalive",
    flag: "persistent-keepalive",
    argument: "SECONDS",
    help: "a packet at least this often, 0 or off for none (default)",
  },
  {
    name: "RateUp",
    field: "rateUp",
    flag: "peer-rate-up",
    argument: "RATE",
    help: "most from the peer to targets and other peers, such as 20Mbit (default no limit)",
  },
  {
    name: "RateDown",
    field: "rateDown",
    flag: "peer-rate-down",
    argument: "RATE",
    help: "the same towards the peer",
  },
  {
    name: "RateBurst",
    field: "rateBurst",
    flag: "peer-rate-burst",
    argument: "SECONDS",
    help: `of the rate, which a peer that was quiet may use at once (default ${
      DEFAULT_RATE_BURST_MS / 1000
    })`,
  },
  {
    name: "MaxTcpConnections",
    field: "maxTcpConnections",
    flag: "peer-max-tcp-connections",
    argument: "N",
    help: "forwarded connections of the peer at once (default no limit of its own)",
  },
  {
    name: "MaxUdpSessions",
    field: "maxUdpSessions",
    flag: "peer-max-udp-sessions",
    argument: "N",
    help: "UDP sessions of the peer at once (default no limit of its own)",
  },
]);
