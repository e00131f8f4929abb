/**
 * What binds the values of `[Relay]`, and of a peer's fallbacks, to each other.
 *
 * @module
 */

import type { FallbackConfig, PeerConfig, RelayConfig } from "./checked.ts";
import type { ConfigPath } from "./error.ts";
import { formatRelayListen } from "./relay_values.ts";
import type { InterfaceValues, PeerValues, RelayValues } from "./schema.ts";
import type { ConfigSource } from "./source.ts";

export function checkRelay(
  source: ConfigSource,
  { listen }: RelayValues,
  iface: InterfaceValues | undefined,
): void {
  if (listen.length === 0) {
    source.problem(["relay", "listen"], "missing, expected a place such as tls:0.0.0.0:443");
  }
  if (iface !== undefined && iface.privateKey === undefined) {
    source.problem(["relay"], "carries WireGuard, and there is none, expected [Interface] too");
  }
  const seen = new Map<string, number>();
  listen.forEach((place, i) => {
    // A port has one listener, whatever it speaks.
    const key = place.port === 0 ? `${i}` : `${place.hostname} ${place.port}`;
    const first = seen.get(key);
    if (first !== undefined) {
      const where = source.place(["relay", "listen", first]);
      source.problem(
        ["relay", "listen", i],
        `${
          formatRelayListen(place)
        } is listened on already, expected it once (the first is at ${where})`,
      );
    }
    seen.set(key, first ?? i);
  });
}

export function checkFallbacks(
  source: ConfigSource,
  peers: readonly (PeerValues | undefined)[],
): void {
  peers.forEach((peer, i) => {
    if (peer !== undefined) checkFallback(source, peer, ["peers", i]);
  });
}

function checkFallback(source: ConfigSource, peer: PeerValues, path: ConfigPath): void {
  const { fallback, cert, key, ca, pin, renewAt } = peer;
  if (fallback.length === 0) {
    for (const [field, value] of Object.entries({ cert, key, ca, pin, renewAt })) {
      const isGiven = Array.isArray(value) ? value.length > 0 : value !== undefined;
      if (!isGiven) continue;
      const given = [...path, field];
      source.warn(given, `has no effect without ${source.called([...path, "fallback"], given)}`);
    }
    return;
  }
  const own = [...path, "fallback"];
  const missing = (field: string, what: string) =>
    source.problem(
      [...path, field],
      `missing, expected ${what} for ${source.called(own, own)}`,
    );
  if (cert === undefined) missing("cert", "the file with the certificate to show");
  if (key === undefined) missing("key", "the file with the certificate's key");
  if (ca === undefined && pin.length === 0) {
    const pinned = source.called([...path, "pin"], own);
    missing("ca", `the file with the other side's authority, or ${pinned},`);
  }
  fallback.forEach(({ url }, j) => {
    const first = fallback.findIndex((other) => other.url === url);
    if (first === j) return;
    const where = source.place([...path, "fallback", first]);
    source.problem(
      [...path, "fallback", j],
      `${url} is given twice, expected it once (the first is at ${where})`,
    );
  });
}

/** Of values that have been checked. */
export function relayConfig(relay: RelayValues): RelayConfig {
  const { listen, cert, key, clientCa, clientCaKey, crl, allowedClients } = relay;
  return {
    listen,
    certPath: cert,
    keyPath: key,
    clientCaPath: clientCa,
    ...(clientCaKey !== undefined && { clientCaKeyPath: clientCaKey }),
    ...(crl !== undefined && { crlPath: crl }),
    allowedClients,
  };
}

/** The same of a peer's. */
export function fallbackConfigs(peer: PeerValues): Pick<PeerConfig, "fallbacks"> {
  const { fallback, cert, key, ca, pin, renewAt } = peer;
  if (fallback.length === 0) return {};
  const fallbacks: FallbackConfig[] = fallback.map((place) => ({
    ...place,
    certPath: cert!,
    keyPath: key!,
    ...(ca !== undefined && { caPath: ca }),
    pins: pin,
    ...(renewAt !== undefined && { renewAt }),
  }));
  return { fallbacks };
}
