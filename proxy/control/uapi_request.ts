/**
 * A `set=1` request of WireGuard's configuration protocol, line by line into what it asks for
 * (https://www.wireguard.com/xplatform/#configuration-protocol). Nothing is applied here.
 *
 * @module
 */

import { Errno } from "../../ffi/mod.ts";
import type { IpAddress, Prefix } from "../../netstack/mod.ts";
import { parseIpAddress, parsePrefix } from "../address.ts";
import { ParseFailure, parsePeerName, quote } from "../config/values.ts";
import { Refusal } from "./refusal.ts";

/** A whole request. What it does not name stays as it is. */
export interface SetRequest {
  /** Null takes the key away. */
  privateKey?: Uint8Array | null;
  /** 0 is any free one. */
  listenPort?: number;
  fwMark?: number;
  /** The peers below are the whole list. */
  replacePeers: boolean;
  /** In the order given; one may come twice. */
  readonly peers: PeerRequest[];
}

export interface PeerRequest {
  readonly publicKey: Uint8Array;
  /** Nothing happens unless the peer exists. */
  updateOnly: boolean;
  remove: boolean;
  /** Ours, not WireGuard's: what people call the peer. */
  name?: string;
  presharedKey?: Uint8Array;
  endpoint?: { readonly address: IpAddress; readonly port: number };
  persistentKeepalive?: number;
  /** The list is emptied before {@link allowedIps}. */
  replaceAllowedIps: boolean;
  readonly allowedIps: { readonly prefix: Prefix; readonly remove: boolean }[];
}

/** Takes the lines between `set=1` and the empty line. */
export class SetParser {
  readonly request: SetRequest = { replacePeers: false, peers: [] };
  #peer: PeerRequest | undefined;

  /** @returns why the request is refused, if it is. */
  line(text: string): Refusal | undefined {
    const equals = text.indexOf("=");
    if (equals < 0) return new Refusal(Errno.EPROTO, "a line without =");
    const key = text.slice(0, equals);
    const value = text.slice(equals + 1);
    if (key === "public_key") return this.#publicKey(value);
    const wrong = this.#peer === undefined
      ? this.#deviceLine(key, value)
      : this.#peerLine(this.#peer, key, value);
    return wrong === undefined ? undefined : new Refusal(Errno.EINVAL, wrong);
  }

  #publicKey(value: string): Refusal | undefined {
    const publicKey = parseHexKey(value);
    if (publicKey === undefined) return new Refusal(Errno.EINVAL, wrongKey("public_key"));
    this.#peer = {
      publicKey,
      updateOnly: false,
      remove: false,
      replaceAllowedIps: false,
      allowedIps: [],
    };
    this.request.peers.push(this.#peer);
    return undefined;
  }

  /** @returns what is wrong. */
  #deviceLine(key: string, value: string): string | undefined {
    const { request } = this;
    switch (key) {
      case "private_key": {
        const privateKey = parseHexKey(value);
        if (privateKey === undefined) return wrongKey(key);
        request.privateKey = privateKey.every((byte) => byte === 0) ? null : privateKey;
        return undefined;
      }
      case "listen_port":
        request.listenPort = parseNumber(value, 0xffff);
        return request.listenPort === undefined ? wrongNumber(key, value, 0xffff) : undefined;
      case "fwmark":
        request.fwMark = parseNumber(value, 0xffff_ffff);
        return request.fwMark === undefined ? wrongNumber(key, value, 0xffff_ffff) : undefined;
      case "replace_peers":
        request.replacePeers = true;
        return onlyTrue(key, value);
      default:
        return `${quote(key)} is unknown, expected a key of the interface or public_key`;
    }
  }

  /** @returns what is wrong. */
  #peerLine(peer: PeerRequest, key: string, value: string): string | undefined {
    switch (key) {
      case "wirestack_name": {
        const name = parsePeerName(value);
        if (name instanceof ParseFailure) return `wirestack_name ${name.message}`;
        peer.name = name;
        return undefined;
      }
      case "update_only":
        peer.updateOnly = true;
        return onlyTrue(key, value);
      case "remove":
        peer.remove = true;
        return onlyTrue(key, value);
      case "preshared_key":
        peer.presharedKey = parseHexKey(value);
        return peer.presharedKey === undefined ? wrongKey(key) : undefined;
      case "endpoint":
        peer.endpoint = parseSocketAddress(value);
        return peer.endpoint === undefined
          ? `endpoint ${quote(value)}: expected ADDRESS:PORT or [ADDRESS]:PORT`
          : undefined;
      case "persistent_keepalive_interval":
        peer.persistentKeepalive = parseNumber(value, 0xffff);
        return peer.persistentKeepalive === undefined ? wrongNumber(key, value, 0xffff) : undefined;
      case "replace_allowed_ips":
        peer.replaceAllowedIps = true;
        peer.allowedIps.length = 0; // those before it are gone again
        return onlyTrue(key, value);
      case "allowed_ip": {
        const remove = value.startsWith("-");
        const text = remove ? value.slice(1) : value;
        const prefix = text.includes("/") ? parsePrefix(text) : undefined;
        if (prefix === undefined) return `allowed_ip ${quote(value)}: expected ADDRESS/LENGTH`;
        peer.allowedIps.push({ prefix, remove });
        return undefined;
      }
      case "protocol_version":
        return value === "1" ? undefined : `protocol_version ${quote(value)}: expected 1`;
      default:
        return `${quote(key)} is unknown, expected a key of a peer`;
    }
  }
}

function parseHexKey(text: string): Uint8Array | undefined {
  return /^[0-9a-fA-F]{64}$/.test(text) ? Uint8Array.fromHex(text) : undefined;
}

function parseNumber(text: string, max: number): number | undefined {
  return /^\d+$/.test(text) && Number(text) <= max ? Number(text) : undefined;
}

/** `wg` has looked names up already. Zones are not taken: a socket for all links has none. */
function parseSocketAddress(text: string) {
  const match = /^(?:\[([^\]]*:[^\]]*)\]|([^:[\]]*)):(\d+)$/.exec(text);
  const address = match === null ? undefined : parseIpAddress(match[1] ?? match[2]!);
  const port = parseNumber(match?.[3] ?? "", 0xffff);
  return address && port ? { address: address.unmapped(), port } : undefined;
}

function onlyTrue(key: string, value: string): string | undefined {
  return value === "true" ? undefined : `${key} ${quote(value)}: expected true`;
}

function wrongKey(key: string): string {
  return `${key}: expected 64 hexadecimal digits`;
}

function wrongNumber(key: string, value: string, max: number): string {
  return `${key} ${quote(value)}: expected 0 to ${max}`;
}
