/**
 * What carries WireGuard where UDP does not get through: on a hub the listeners of `[Relay]`, elsewhere
 * the fallbacks of peers. A gateway without either has none of it: `late_streams.ts`.
 *
 * @module
 */

import type { IpAddress, MemoryRegion } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";
import { BindError } from "../bind/bind.ts";
import type { Certificate } from "../bind/certificates/certificate.ts";
import type { Refusal } from "../bind/certificates/check.ts";
import { FULL_MESSAGE, GrpcDialer, GrpcListener, loadLibrary } from "../bind/stream/grpc/mod.ts";
import {
  type CarrierBudget,
  type CarrierDialer,
  type DialledEndpoint,
  StreamBind,
} from "../bind/stream/mod.ts";
import {
  CertificateFileError,
  type ClientIdentity,
  type Guest,
  TlsDialer,
  TlsListener,
} from "../bind/stream/tls/mod.ts";
import type {
  FallbackConfig,
  RelayConfig,
  RelayListen,
  RelayTransport,
} from "../config/checked.ts";
import { type ConfigPath, SettingError } from "../config/error.ts";
import { formatRelayListen } from "../config/relay_values.ts";
import type { Engine } from "../engine/engine.ts";
import type { OwnListeners } from "../flow/own_listeners.ts";
import { getLogger } from "../log/logger.ts";
import { replaceFile } from "../state/replace_file.ts";
import { FallbackCertificates } from "./fallback_certificates.ts";
import { proxyFor } from "./proxy_environment.ts";
import { askForCertificate } from "./renewal/ask.ts";
import { Renewals } from "./renewal/renewals.ts";

const log = getLogger(["wirestack", "relay"]);

/** What the hub itself knows of those who come, whatever their certificates say. */
export interface Admission {
  /** Whether a certificate that is good otherwise was put out of use. */
  isRevoked(certificate: Certificate): boolean;
  /** Who is let in by the key alone; why not, or undefined for nobody who is known. */
  guestOf(certificate: Certificate): Guest | Refusal | undefined;
}

/** What fallbacks show of themselves where no files are configured: as a guest of the other side's. */
export interface AsGuest {
  readonly identity: ClientIdentity;
  /** Why a fallback is not connected, or not any more, in a line. */
  onProblem(url: string, problem: string): void;
}

export interface GatewayStreamsOptions {
  readonly engine: Engine;
  /** What no peer is proxied to. */
  readonly listeners: OwnListeners;
  /** Where a datagram lies while it is handed over, of all binds. */
  readonly receiveRegion: MemoryRegion;
  /** Where hosts are. Default: looked up as the system does, at each attempt. */
  readonly addresses?: ((host: string) => readonly IpAddress[]) | undefined;
  /** What carriers that others have opened take, of all transports. */
  readonly budget: CarrierBudget;
  /** Default: the files that are configured. */
  readonly asGuest?: AsGuest | undefined;
  /** Whether a device of the system has the tunnel's addresses. */
  readonly hasDevice: boolean;
  /** ms since the Unix epoch. Default: this host's clock. */
  readonly wallClock?: (() => number) | undefined;
}

interface Opened {
  readonly place: RelayListen;
  readonly listener: TlsListener | GrpcListener;
  readonly forget: () => void;
}

export class GatewayStreams {
  #admission: Admission = { isRevoked: () => false, guestOf: () => undefined };
  /** Of the certificates that fallbacks show; undefined without one that is renewed. */
  renewals: Renewals | undefined;
  readonly #options: GatewayStreamsOptions;
  readonly #binds = new Map<RelayTransport, StreamBind>();
  readonly #certificates = new FallbackCertificates();
  #opened: Opened[] = [];
  #isClosed = false;

  constructor(options: GatewayStreamsOptions) {
    this.#options = options;
  }

  /** Those that are used: by a listener, or a fallback. */
  get binds(): Iterable<StreamBind> {
    return this.#binds.values();
  }

  /** Where peers come, as the system has given the ports. */
  get places(): readonly RelayListen[] {
    return this.#opened.map(({ place, listener: { port } }) => ({ ...place, port }));
  }

  /** Those who came to the places of a transport and were not let in, or later had to go. */
  refusals(transport: string) {
    let refused = 0;
    let failed = 0;
    let expelled = 0;
    for (const { place, listener: { server } } of this.#opened) {
      if (place.transport !== transport) continue;
      refused += server.counters.refused;
      failed += server.counters.failed;
      expelled += server.counters.expelled;
    }
    return { refused, failed, expelled };
  }

  /**
   * Listens where `[Relay]` says, and loads what the fallbacks will need: later this process may not read
   * it any more.
   *
   * @throws {SettingError} if the system refuses a place, or a file is not what it should be.
   */
  async open(
    relay: RelayConfig | undefined,
    fallbacks: readonly FallbackConfig[] = [],
  ): Promise<void> {
    if (fallbacks.some(({ transport }) => transport === "grpc")) await loadLibrary();
    if (relay === undefined) return;
    for (const [i, place] of relay.listen.entries()) {
      const opened = await this.#listen(place, relay).catch((error) => {
        throw settingError(error, i);
      });
      if (this.#isClosed) {
        await opened.listener.close();
        return;
      }
      this.#opened.push(opened);
      log.info("{listener}: listening for WireGuard in {transport}", {
        listener: formatRelayListen({ ...place, port: opened.listener.port }),
        transport: place.transport,
      });
    }
  }

  /**
   * Reads files again, and who is let in. Carriers of those who are let in stay; the places do too. Of
   * files that this process may not read any more what was read before counts on, which is said.
   *
   * @throws {SettingError} if a file is not what it should be; then what was read before counts on.
   */
  reload(relay: RelayConfig | undefined): void {
    this.#certificates.review();
    if (relay === undefined) return;
    try {
      for (const { listener } of this.#opened) listener.reload(this.#trustOf(relay));
    } catch (error) {
      throw settingError(error, 0);
    }
  }

  /** Counts from now on, for those who are there too. To be called again after a change. */
  setAdmission(admission: Admission): void {
    this.#admission = admission;
    for (const { listener } of this.#opened) listener.review();
  }

  /** The end of a fallback, closed; and what forgets it. */
  openFallback(fallback: FallbackConfig): { endpoint: DialledEndpoint; forget(): void } {
    const bind = this.#bind(fallback.transport);
    const { addresses, asGuest } = this.#options;
    if (asGuest !== undefined) {
      const { identity, onProblem } = asGuest;
      const endpoint = bind.endpoint(dialerOf(fallback, () => identity, addresses));
      endpoint.onProblem = (problem) => onProblem(fallback.url, problem);
      return { endpoint, forget: () => bind.forget(endpoint) };
    }
    const { reader, release } = this.#certificates.of(fallback);
    if (fallback.renewAt !== undefined) {
      this.renewals ??= this.#startRenewals();
      this.renewals.changed();
    }
    const endpoint = bind.endpoint(dialerOf(fallback, () => reader.read(), addresses));
    return {
      endpoint,
      forget() {
        bind.forget(endpoint);
        release();
      },
    };
  }

  /** Accepts nobody any more. Carriers are closed with the engine, whose binds they are of. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.renewals?.close();
    for (const { listener, forget } of this.#opened) {
      forget();
      await listener.close();
    }
  }

  #trustOf(relay: RelayConfig) {
    return {
      ...filesOf(relay),
      isRevoked: (certificate: Certificate) => this.#admission.isRevoked(certificate),
      guestOf: (certificate: Certificate) => this.#admission.guestOf(certificate),
    };
  }

  #startRenewals(): Renewals {
    const { engine, hasDevice, wallClock = Date.now } = this.#options;
    const renewals = new Renewals({
      certificates: () => this.#certificates.renewable,
      ask: (place, identity, signal) =>
        askForCertificate({ engine, hasDevice }, place, identity, signal),
      write: (path, text) => replaceFile(path, text, { isDurable: true }),
      now: () => engine.now(),
      wallClock,
      wake: () => engine.wake(),
    });
    engine.addTimeouts(renewals);
    return renewals;
  }

  #bind(transport: RelayTransport): StreamBind {
    const known = this.#binds.get(transport);
    if (known !== undefined) return known;
    const { engine, receiveRegion, budget } = this.#options;
    const bind = new StreamBind({
      name: transport,
      receiveRegion,
      budget,
      ...(transport === "grpc" && { chunkSize: FULL_MESSAGE }),
    });
    this.#binds.set(transport, bind);
    engine.addBind(bind);
    return bind;
  }

  async #listen(place: RelayListen, relay: RelayConfig): Promise<Opened> {
    const listener = await (place.transport === "tls" ? TlsListener : GrpcListener).start({
      ...this.#trustOf(relay),
      hostname: place.hostname,
      port: place.port,
      description: formatRelayListen(place),
    });
    this.#bind(place.transport).listen(listener);
    const forget = this.#options.listeners.add({
      protocol: "tcp",
      address: parseIpAddress(place.hostname),
      get port() {
        return listener.port;
      },
    });
    return { place, listener, forget };
  }
}

function filesOf({ certPath, keyPath, clientCaPath, crlPath, allowedClients }: RelayConfig) {
  return {
    certPath,
    keyPath,
    clientCaPath,
    ...(crlPath !== undefined && { crlPath }),
    allowed: allowedClients,
  };
}

function dialerOf(
  { url, hostname: host, port, certPath, keyPath, caPath, pins, transport }: FallbackConfig,
  identity: () => ClientIdentity,
  addresses: GatewayStreamsOptions["addresses"],
): CarrierDialer {
  return new (transport === "tls" ? TlsDialer : GrpcDialer)({
    ...{ url, host, port, pins, certPath, keyPath, identity },
    ...(caPath !== undefined && { caPath }),
    proxy: () => proxyFor(host, port),
    ...(addresses && { addresses }),
  });
}

/** @param index Of the place that was to be listened at. */
function settingError(error: unknown, index: number): unknown {
  let path: ConfigPath | undefined;
  if (error instanceof BindError) path = ["relay", "listen", index];
  else if (error instanceof CertificateFileError) path = ["relay", error.setting];
  return path === undefined
    ? error
    : new SettingError(path, (error as Error).message, { cause: error });
}
