/**
 * `SaveConfig = true`: the file has the peers, the key and the port that the gateway had last. All else
 * of it stays as it was written: who runs the gateway by then may not say what runs at its next start.
 *
 * @module
 */

import { resolve } from "node:path";
import { hostAndPort, socketAddress } from "../address.ts";
import { UdpAddress } from "../bind/udp_address.ts";
import type { Peer } from "../../wireguard/mod.ts";
import { isSameKey, KEY_LENGTH } from "../base64.ts";
import { formatConfigFile } from "../config/format.ts";
import type { FallbackConfig } from "../config/checked.ts";
import type { PeerInput } from "../config/input.ts";
import type { Gateway } from "../gateway/gateway.ts";

/** A file without what is saved, in the two parts that go around that. */
export interface ConfigFrame {
  /** To the line of `[Interface]`, it included. */
  readonly head: string;
  readonly rest: string;
  readonly hasPort: boolean;
}

/** @returns undefined for a text without `[Interface]`. */
export function frameOf(text: string): ConfigFrame | undefined {
  const head: string[] = [];
  const rest: string[] = [];
  let section = "";
  let hasPort = false;
  for (const line of text.trimEnd().split(/\r?\n/)) {
    const name = /^\s*\[\s*(\w+)\s*\]/.exec(line)?.[1]?.toLowerCase();
    const isFirst = name === "interface" && !head.some((line) => /^\s*\[/.test(line));
    if (name !== undefined) section = name;
    if (section === "peer") continue;
    const key = section === "interface" ? /^\s*(\w+)\s*=/.exec(line)?.[1]?.toLowerCase() : "";
    if (key === "listenport") hasPort = true;
    if (key === "privatekey" || key === "listenport") continue;
    (section === "" || isFirst ? head : rest).push(line);
  }
  if (!head.some((line) => /^\s*\[/.test(line))) return undefined;
  const lines = (parts: string[]) => parts.map((line) => `${line}\n`).join("");
  return { head: lines(head), rest: lines(rest).replace(/\n+$/, "\n"), hasPort };
}

/** Paths are whole: in a file they would be taken from its folder. */
function fallbackInput(fallbacks: readonly FallbackConfig[]): Partial<PeerInput> {
  const [first] = fallbacks;
  if (first === undefined) return {};
  const { certPath, keyPath, caPath, pins, renewAt } = first;
  return {
    fallback: fallbacks.map(({ url }) => url),
    cert: resolve(certPath),
    key: resolve(keyPath),
    ...(caPath !== undefined && { ca: resolve(caPath) }),
    ...(pins.length > 0 && { pin: pins.map((pin) => `sha256/${pin.toBase64()}`) }),
    ...(renewAt && { renewAt: socketAddress(renewAt.address, renewAt.port) }),
  };
}

/** What is saved: lines of `[Interface]`, one of {@link SEPARATOR}, sections of peers. */
export function savedText(gateway: Gateway, hasPort: boolean): string {
  const { privateKey } = gateway.peers;
  // What another source has is there again by itself.
  const isSaved = (peer: Peer) => ["file", "control"].includes(gateway.peerSources.origin(peer));
  const peers = [...gateway.engine.device.peers()].filter(isSaved).map((peer): PeerInput => {
    const locations = gateway.peers.locations(peer);
    const endpoint = locations.length === 0
      ? peer.endpoint instanceof UdpAddress && `${peer.endpoint}`
      : locations.map(({ hostname, port }) => hostAndPort(hostname, port));
    const limits = gateway.peers.limits(peer);
    const rate = (bits: number | undefined) =>
      bits === undefined ? undefined : `${bits / 1000}kbit`;
    const [rateUp, rateDown] = [rate(limits?.rateUp), rate(limits?.rateDown)];
    return {
      publicKey: peer.publicKey,
      ...(peer.name !== undefined && { name: peer.name }),
      ...(!isSameKey(peer.presharedKey, NO_KEY) && { presharedKey: peer.presharedKey }),
      allowedIps: gateway.peers.allowedIps(peer).map(String),
      ...(endpoint && { endpoint }),
      ...fallbackInput(gateway.peers.fallbacks(peer)),
      ...(peer.persistentKeepalive > 0 && { persistentKeepalive: peer.persistentKeepalive }),
      ...(rateUp && { rateUp }),
      ...(rateDown && { rateDown }),
      ...((rateUp || rateDown) && { rateBurst: limits!.rateBurstMs / 1000 }),
      ...(limits?.maxTcpConnections !== undefined &&
        { maxTcpConnections: limits.maxTcpConnections }),
      ...(limits?.maxUdpSessions !== undefined && { maxUdpSessions: limits.maxUdpSessions }),
    };
  });
  const [own, ...sections] = formatConfigFile({
    interface: {
      privateKey: privateKey ?? NO_KEY,
      ...(hasPort && { listenPort: gateway.port }),
    },
    peers,
  }).split(/^(?=\[)/m);
  return `${own!.replace("[Interface]\n", "").trimEnd()}\n${SEPARATOR}\n${sections.join("")}`;
}

const NO_KEY = new Uint8Array(KEY_LENGTH);

/** Between the two parts of {@link savedText}. */
export const SEPARATOR = "--";

/**
 * A shell's: from the frame in its environment, and what is saved at its standard input, which can be
 * nothing but keys and peers, to the file `$save`, by way of another beside it.
 */
export const SAVE_SCRIPT = `if [ -n "$save" ]; then
  umask 077
  saved=$(cat)
  {
    printf '%s' "$WIRESTACK_HEAD"
    printf '%s\\n' "$saved" | sed '/^${SEPARATOR}$/,$d' |
      grep -E '^(PrivateKey = [A-Za-z0-9+/]{43}=|ListenPort = [0-9]{1,5})$'
    printf '%s\\n' "$WIRESTACK_REST"
    printf '%s\\n' "$saved" | sed '1,/^${SEPARATOR}$/d' | grep -E '^(|\\[Peer\\]|(PublicKey|PresharedKey) = [A-Za-z0-9+/]{43}=|AllowedIPs = [0-9a-f:./, ]*|Endpoint = [][A-Za-z0-9.:_, -]*|(PersistentKeepalive|Rate[A-Z][a-z]*|Max[A-Za-z]*) = [A-Za-z0-9.]*|Name = [A-Za-z0-9 ._@-]*|Fallback = ((tls|grpc)://[][A-Za-z0-9.:_-]*(, )?)*|(Cert|Key|Ca) = /[A-Za-z0-9 ._@+/-]*|RenewAt = [][0-9a-f.:]*|Pin = (sha256/[A-Za-z0-9+/]{43}=(, )?)*)$'
  } >"$save.tmp" && grep -q '^PrivateKey = ' "$save.tmp" && mv -f "$save.tmp" "$save" ||
    rm -f "$save.tmp"
fi
`;
