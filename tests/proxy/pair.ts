/**
 * A gateway and a client in this process, WireGuard between them on loopback.
 *
 * @module
 */

import type { ConfigInput, ProxyInput } from "../../proxy/config/config.ts";
import type { GatewayOptions } from "../../proxy/gateway/gateway.ts";
import {
  encodeKey,
  generatePresharedKey,
  generatePrivateKey,
  publicKeyOf,
} from "../../proxy/base64.ts";
import { Wirestack } from "../../proxy/embed/wirestack.ts";
import { startWirestack } from "./start.ts";

export { until } from "./until.ts";

/** Addresses that the gateway maps to its own host, and the host's. */
export const SITE = "10.50.0.1";
export const SITE_IPV6 = "fd50::1";

export interface Pair extends AsyncDisposable {
  readonly gateway: Wirestack;
  readonly client: Wirestack;
  /** The gateway's own. */
  readonly gatewayKey: string;
  /** Of the two. */
  readonly presharedKey: string;
}

export interface PairOptions {
  readonly proxy?: ProxyInput | null;
  readonly gateway?: GatewayOptions;
  readonly client?: GatewayOptions;
  readonly mtu?: number;
  /** The port that the client sends to, for the gateway's. Default: that one itself. */
  readonly through?: (port: number) => number;
  /** Further sections of the gateway's. */
  readonly sections?: Partial<Omit<ConfigInput, "interface" | "peers" | "proxy">>;
}

export async function startPair(options: PairOptions = {}): Promise<Pair> {
  const [gatewayKey, clientKey] = [generatePrivateKey(), generatePrivateKey()];
  const presharedKey = encodeKey(generatePresharedKey());
  const mtu = options.mtu ?? 1420;
  const proxy = options.proxy === null ? {} : { proxy: { ...PROXY, ...options.proxy } };
  const gatewayConfig: ConfigInput = {
    interface: {
      privateKey: encodeKey(gatewayKey),
      address: ["10.9.0.1/24", "fd09::1/64"],
      mtu,
    },
    peers: [{
      publicKey: encodeKey(publicKeyOf(clientKey)),
      presharedKey,
      allowedIps: ["10.9.0.2/32", "10.9.0.3/32", "fd09::2/128"],
    }],
    ...proxy,
    ...options.sections,
  };
  const gateway = await startWirestack(gatewayConfig, options.gateway);
  const client = await startWirestack({
    interface: { privateKey: encodeKey(clientKey), address: ["10.9.0.2/24", "fd09::2/64"], mtu },
    peers: [{
      publicKey: encodeKey(publicKeyOf(gatewayKey)),
      presharedKey,
      allowedIps: ["0.0.0.0/0", "::/0"],
      endpoint: `127.0.0.1:${options.through?.(gateway.port) ?? gateway.port}`,
    }],
  }, options.client);
  return {
    gateway,
    client,
    gatewayKey: encodeKey(gatewayKey),
    presharedKey,
    async [Symbol.asyncDispose]() {
      await client.close({ graceMs: 0 });
      await gateway.close({ graceMs: 0 });
    },
  };
}

const PROXY: ProxyInput = {
  subnets: ["10.50.0.0/16", "fd50::/64"],
  map: [`${SITE}/32 -> 127.0.0.1/32`, `${SITE_IPV6}/128 -> ::1/128`],
};

/** Everything until the end of file. */
export async function readAll(conn: Pick<Deno.Conn, "read">): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const buffer = new Uint8Array(65536);
  for (let length; (length = await conn.read(buffer)) !== null;) {
    chunks.push(buffer.slice(0, length));
  }
  return new Uint8Array(await new Blob(chunks as BlobPart[]).arrayBuffer());
}

export async function writeAll(conn: Pick<Deno.Conn, "write">, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
}

/** Reproducible bytes that no shift or repetition maps onto themselves. */
export function pattern(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  let x = seed >>> 0 || 1;
  for (let i = 0; i < length; i++) {
    x = Math.imul(x, 1664525) + 1013904223 >>> 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}
