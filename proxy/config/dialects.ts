/**
 * Keys and sections of programs whose files look like WireGuard's and are not, so that the error can
 * say whose they are.
 *
 * @module
 */

interface Dialect {
  /** Names of keys, and of sections in brackets. */
  readonly names: readonly string[];
  /** Whose they are, and what is expected instead. */
  readonly message: string;
}

const DIALECTS: readonly Dialect[] = [
  {
    names: [
      ...["Jc", "Jmin", "Jmax", "S1", "S2", "S3", "S4", "H1", "H2", "H3", "H4"],
      ...["I1", "I2", "I3", "I4", "I5", "J1", "J2", "J3", "Itime"],
    ],
    message: "is AmneziaWG's, another protocol than WireGuard, expected a file without it, and a " +
      "plain WireGuard at the other end",
  },
  {
    names: ["Reserved", "ClientId"],
    message:
      "is of WARP's clients, which send it in WireGuard's reserved bytes; this gateway sends " +
      "zeros, as WireGuard does, expected a file without it",
  },
  {
    names: [
      ...["[Socks5]", "[http]", "[TCPClientTunnel]", "[TCPServerTunnel]", "[UDPProxyTunnel]"],
      ...["[STDIOTunnel]", "[Resolve]", "CheckAlive", "CheckAliveInterval", "WGConfig"],
    ],
    message: "is wireproxy's, which this gateway does not have, expected a file without it",
  },
  {
    names: ["[NetDev]", "[WireGuard]", "[WireGuardPeer]", "[Match]", "[Network]", "[Route]"],
    message: "is systemd-networkd's, expected a wg-quick file",
  },
];

const MESSAGES = new Map(
  DIALECTS.flatMap(({ names, message }) => names.map((name) => [name.toLowerCase(), message])),
);

/** What to say of a name that another program's files have. */
export function otherDialect(name: string): string | undefined {
  return MESSAGES.get(name.toLowerCase());
}
