/**
 * A hub that listens in TLS or in gRPC, and those who come to it, with certificates in files.
 *
 * @module
 */

import type { BindEndpoint } from "../../../../../proxy/bind/bind.ts";
import { GrpcDialer, GrpcListener } from "../../../../../proxy/bind/stream/grpc/mod.ts";
import { StreamBind, type StreamBindOptions } from "../../../../../proxy/bind/stream/mod.ts";
import {
  type AllowedClients,
  TlsDialer,
  type TlsDialerOptions,
  TlsListener,
  type TlsServerOptions,
} from "../../../../../proxy/bind/stream/tls/mod.ts";
import { until as untilSo } from "../../../until.ts";
import { type LeafOptions, MadeAuthority } from "../../certificates/made.ts";

/** A bind whose engine drains at once. */
export class Side {
  readonly bind: StreamBind;
  readonly heard: { readonly bytes: Uint8Array; readonly from: BindEndpoint }[] = [];
  /** Nothing is drained. */
  isBusy = false;

  constructor(options: Partial<StreamBindOptions> = {}) {
    this.bind = new StreamBind({ name: "tls", ...options });
    this.bind.start({
      onReadable: () => setImmediate(() => this.isBusy || this.drain()),
      onSent: () => {},
      onFailed: (error) => {
        throw error;
      },
    });
  }

  send(to: BindEndpoint, bytes: Uint8Array): void {
    this.bind.send(to as never, bytes, 0, bytes.length, false);
    this.bind.flush();
  }

  /** The next datagram that has not been taken. */
  async next(limitMs?: number) {
    await until(() => this.heard.length > 0, limitMs);
    return this.heard.shift()!;
  }

  drain(): void {
    while (this.bind.hasReady) {
      this.bind.drain((buffer, offset, length, from) => {
        const endpoint = from.toEndpoint() as BindEndpoint;
        this.heard.push({ bytes: buffer.slice(offset, offset + length), from: endpoint });
      });
    }
  }
}

/** Waits until it holds. */
export function until(holds: () => boolean, limitMs?: number): Promise<void> {
  return untilSo(holds, "what a test of streams waits for", limitMs);
}

export type Transport = "tls" | "grpc";

export interface LabOptions extends Partial<Pick<TlsServerOptions, "limits" | "port" | "lookMs">> {
  /** Default `tls`. */
  readonly transport?: Transport;
  readonly allowed?: AllowedClients;
  readonly server?: LeafOptions;
  readonly bind?: Partial<StreamBindOptions>;
  /** Serial numbers in the list of revoked certificates; undefined for no list. */
  readonly revoked?: readonly string[];
}

export class Lab {
  readonly folder: string;
  readonly authority: MadeAuthority;
  readonly transport: Transport;
  readonly listener: TlsListener | GrpcListener;
  readonly hub: Side;
  readonly #sides: Side[] = [];
  #files = 0;

  private constructor(
    folder: string,
    authority: MadeAuthority,
    transport: Transport,
    listener: TlsListener | GrpcListener,
    hub: Side,
  ) {
    this.transport = transport;
    this.folder = folder;
    this.authority = authority;
    this.listener = listener;
    this.hub = hub;
  }

  static async start(options: LabOptions = {}): Promise<Lab> {
    const folder = await Deno.makeTempDir({ prefix: "wirestack-tls-" });
    const authority = await MadeAuthority.make("Ours");
    const leaf = await authority.leaf({
      name: "hub",
      usage: "serverAuth",
      hosts: ["localhost", "127.0.0.1"],
      ...options.server,
    });
    await Deno.writeTextFile(`${folder}/hub.pem`, leaf.cert);
    await Deno.writeTextFile(`${folder}/hub.key`, leaf.key);
    await Deno.writeTextFile(`${folder}/ca.pem`, authority.cert);
    const { revoked } = options;
    if (revoked !== undefined) {
      await Deno.writeTextFile(`${folder}/crl.pem`, await authority.revoke(revoked));
    }
    const { transport = "tls" } = options;
    const listener = await (transport === "tls" ? TlsListener : GrpcListener).start({
      ...Lab.files(folder, revoked !== undefined),
      hostname: "127.0.0.1",
      port: options.port ?? 0,
      description: `${transport}:127.0.0.1:0`,
      allowed: options.allowed ?? [],
      ...(options.limits && { limits: options.limits }),
      ...(options.lookMs && { lookMs: options.lookMs }),
    });
    const hub = new Side({ name: transport, ...options.bind });
    hub.bind.listen(listener);
    return new Lab(folder, authority, transport, listener, hub);
  }

  static files(folder: string, hasList: boolean) {
    return {
      certPath: `${folder}/hub.pem`,
      keyPath: `${folder}/hub.key`,
      clientCaPath: `${folder}/ca.pem`,
      ...(hasList && { crlPath: `${folder}/crl.pem` }),
    };
  }

  get url(): string {
    return `${this.transport}://localhost:${this.listener.port}`;
  }

  /** Writes a certificate. @returns where it and its key are. */
  async files(options: LeafOptions = {}, authority = this.authority) {
    const leaf = await authority.leaf(options);
    const path = `${this.folder}/${this.#files++}`;
    await Deno.writeTextFile(`${path}.pem`, leaf.cert);
    await Deno.writeTextFile(`${path}.key`, leaf.key);
    return { certPath: `${path}.pem`, keyPath: `${path}.key`, leaf };
  }

  /** Somebody who may come, with this certificate. */
  async client(
    options: LeafOptions = {},
    more: Partial<TlsDialerOptions> = {},
  ) {
    const { certPath, keyPath } = await this.files(options);
    const side = new Side();
    this.#sides.push(side);
    const endpoint = side.bind.endpoint(
      new (this.transport === "tls" ? TlsDialer : GrpcDialer)({
        url: this.url,
        host: "localhost",
        port: this.listener.port,
        certPath,
        keyPath,
        caPath: `${this.folder}/ca.pem`,
        pins: [],
        ...more,
      }),
    );
    return { side, endpoint };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#sides.map(({ bind }) => bind.close()));
    await this.hub.bind.close();
    await Deno.remove(this.folder, { recursive: true });
  }
}
