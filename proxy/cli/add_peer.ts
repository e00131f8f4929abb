/**
 * `add-peer`: a new client for a gateway, in its file and in the one that runs, and the client's own
 * file.
 *
 * @module
 */

import { Prefix } from "../../netstack/mod.ts";
import { ConfigError, type GatewayConfig, type LoadedConfig } from "../config/config.ts";
import { expectedFile, formOf } from "../config/form.ts";
import { formatConfigFile } from "../config/format.ts";
import { DEFAULT_MTU } from "../config/schema.ts";
import {
  parseEndpoint,
  ParseFailure,
  parsePeerName,
  parsePrefixValue,
  quote,
  splitList,
} from "../config/values.ts";
import { type ControlClient, ControlError } from "../control/client.ts";
import { newAddresses, NoFreeAddress } from "../gateway/free_address.ts";
import { outermost } from "../gateway/prefix_list.ts";
import {
  decodeKey,
  encodeKey,
  generatePresharedKey,
  generatePrivateKey,
  publicKeyOf,
} from "../base64.ts";
import { bareHost, parseInterfaceAddress, parseIpAddress, socketAddress } from "../address.ts";
import { isSafeTarget } from "../flow/safe_targets.ts";
import { FileEdit } from "./edit_file.ts";
import { fileOfOnly, type Running, runningFrom } from "./gateways.ts";
import { loadText, loadWithoutSecrets } from "./load.ts";
import { withPeer } from "./peer_edits.ts";
import { formatQr } from "./qr.ts";
import { readText } from "./read.ts";
import { type Terminal, warnOfReaders } from "./terminal.ts";

export interface AddPeerOptions {
  /** The gateway's file. Missing: that of the only one that runs. */
  readonly config?: string;
  readonly controlDir?: string;
  /** Where clients reach the gateway: `HOST:PORT`, or `HOST` with the file's port. */
  readonly endpoint?: string;
  /** What the client sends through the tunnel. Missing: the tunnel's networks and what is proxied. */
  readonly allowedIps?: string;
  readonly dns?: string;
  /** The gateway's. Missing: that of the gateway that runs, or of the private key. */
  readonly publicKey?: string;
  readonly psk?: boolean;
  readonly qr?: boolean;
  /** A new file for the client's configuration. */
  readonly out?: string;
}

/**
 * @returns the exit status.
 * @throws {ConfigError} if an option or the file is wrong; then nothing has changed.
 * @throws {ControlError} if no file is given and it is not plain which gateway is meant.
 */
export async function addPeer(
  name: string,
  options: AddPeerOptions,
  terminal: Terminal,
): Promise<number> {
  const file = options.config ?? await fileOfOnly(options.controlDir);
  using edit = FileEdit.begin(file);
  const form = formOf(file);
  const text = await readText(edit.path, expectedFile(form));
  const { loaded, hasPrivateKey } = await loadWithoutSecrets(text, file, terminal);
  const running = await runningFrom(edit.path, options.controlDir ?? loaded.config.controlDir);
  checkName(name, loaded, running);
  const config = asItRuns(loaded.config, running);
  const addresses = addressesFor(config, running?.taken ?? [], file);
  const endpoint = publicEndpoint(options.endpoint, config);
  const gatewayKey = running?.stats.publicKey ?? givenKey(options.publicKey) ??
    encodeKey(publicKeyOf(
      hasPrivateKey ? config.privateKey! : await privateKeyOf(text, file, terminal),
    ));
  const clientKey = generatePrivateKey();
  const publicKey = encodeKey(publicKeyOf(clientKey));
  const presharedKey = options.psk ? encodeKey(generatePresharedKey()) : undefined;
  const own = addresses.map((address) => `${Prefix.of(address)}`);
  const client = formatConfigFile({
    interface: {
      privateKey: encodeKey(clientKey),
      address: own,
      ...(config.mtu !== DEFAULT_MTU && { mtu: config.mtu }),
      ...(options.dns !== undefined && { dns: parseDns(options.dns) }),
    },
    peers: [{
      publicKey: gatewayKey,
      ...(presharedKey && { presharedKey }),
      allowedIps: clientAllowedIps(options.allowedIps, config),
      endpoint,
    }],
  });
  const peer = { publicKey, name, ...(presharedKey && { presharedKey }), allowedIps: own };
  const next = await withPeer(text, peer, form, file);
  await loadWithoutSecrets(next, file, terminal); // a file that would not load any more is not written
  const shown = options.qr ? qrOf(client) : options.out === undefined ? client : "";

  // The client's file first: its key is nowhere else.
  if (options.out !== undefined) writeNew(options.out, client);
  try {
    edit.replace(next);
  } catch (error) {
    if (options.out !== undefined) Deno.removeSync(options.out);
    throw new ConfigError([`${file}: cannot be written (${(error as Error).message})`]);
  }
  const isRunning = running !== undefined && await tell(running.client, peer, terminal);
  terminal.error(
    `added ${name}, ${addresses.join(" and ")}, to ${file}` +
      `${isRunning ? ` and to the running gateway ${running.client.name}` : ""}\n`,
  );
  if (shown !== "") warnOfReaders(terminal);
  terminal.out(shown);
  return running !== undefined && !isRunning ? 1 : 0;
}

/** A gateway as a client sees it. */
type Site = GatewayConfig & {
  /** What is proxied. */
  readonly subnets: readonly Prefix[];
};

/**
 * The gateway as clients have to match it: flags of the running gateway, and what was changed in it,
 * take precedence over its file.
 */
function asItRuns(config: GatewayConfig, running: Running | undefined): Site {
  if (running === undefined) return { ...config, subnets: config.proxy?.subnets ?? [] };
  const { fixedPort, mtu, addresses, subnets } = running.stats;
  return {
    ...config,
    ...(fixedPort !== null && { listenPort: fixedPort }),
    mtu,
    addresses: addresses.map(parseInterfaceAddress).filter((each) => each !== undefined),
    subnets: subnets.map(({ prefix }) => parsePrefixValue(prefix))
      .filter((prefix) => prefix instanceof Prefix),
  };
}

/** @returns whether the running gateway has the peer now. */
async function tell(
  client: ControlClient,
  { publicKey, name, presharedKey, allowedIps }: PeerLines,
  terminal: Terminal,
): Promise<boolean> {
  const hex = (key: string) => decodeKey(key)!.toHex();
  try {
    const answer = await client.ask("set=1", [
      `public_key=${hex(publicKey)}`,
      `wirestack_name=${name}`,
      ...(presharedKey ? [`preshared_key=${hex(presharedKey)}`] : []),
      ...allowedIps.map((prefix) => `allowed_ip=${prefix}`),
    ]);
    if (answer?.errno === 0) return true;
    terminal.error(`wirestack: ${client.name}: refused, try wirestack reload\n`);
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    terminal.error(`wirestack: ${error.message}\n`);
  }
  return false;
}

function checkName(name: string, { config, source }: LoadedConfig, running?: Running): void {
  const parsed = parsePeerName(name);
  if (parsed instanceof ParseFailure) throw new ConfigError([`NAME: ${parsed.message}`]);
  const isTaken = (other: string | null | undefined) => other?.toLowerCase() === name.toLowerCase();
  const index = config.peers.findIndex((peer) => isTaken(peer.name));
  const where = index >= 0
    ? source.place(["peers", index, "name"])
    : running?.stats.peers.some((peer) => isTaken(peer.name))
    ? `by a peer of the running gateway ${running.client.name}`
    : undefined;
  if (where === undefined) return;
  throw new ConfigError([`NAME: ${name} is taken (${where}), expected another one`]);
}

function addressesFor(config: GatewayConfig, running: readonly Prefix[], file: string) {
  try {
    return newAddresses(config, [
      ...config.peers.flatMap(({ allowedIps }) => allowedIps),
      ...running,
    ]);
  } catch (error) {
    if (!(error instanceof NoFreeAddress)) throw error;
    throw new ConfigError([`${file}: ${error.message}`]);
  }
}

function givenKey(text: string | undefined): string | undefined {
  if (text === undefined || decodeKey(text) !== undefined) return text;
  throw new ConfigError(["--public-key: not a key, expected the gateway's public key"]);
}

/** What only the gateway may be able to read. */
async function privateKeyOf(text: string, file: string, terminal: Terminal): Promise<Uint8Array> {
  try {
    const { privateKey } = (await loadText(text, file, terminal)).config;
    if (privateKey !== undefined) return privateKey;
    throw new ConfigError([`${file}: has no WireGuard, expected PrivateKey in [Interface]`]);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError([
      ...error.problems,
      "--public-key: missing, expected the gateway's where it does not run and its private key " +
      "cannot be read",
    ]);
  }
}

function publicEndpoint(given: string | undefined, config: GatewayConfig): string {
  const { listenAddress, listenPort } = config;
  if (given === undefined) {
    const address = listenAddress === undefined ? undefined : parseIpAddress(listenAddress);
    if (address && listenPort && isSafeTarget(address)) return socketAddress(address, listenPort);
    throw new ConfigError([
      "--endpoint: missing, expected HOST:PORT where clients reach this gateway",
    ]);
  }
  const endpoint = parseEndpoint(given);
  if (!(endpoint instanceof ParseFailure)) return given;
  // Without a port, and an IPv6 address without brackets, too.
  const address = parseIpAddress(bareHost(given));
  const host = address?.version === 6 ? `[${address}]` : given;
  if (listenPort && !(parseEndpoint(`${host}:${listenPort}`) instanceof ParseFailure)) {
    return `${host}:${listenPort}`;
  }
  const hint = listenPort ? "" : " (the file has no ListenPort to take for one without)";
  throw new ConfigError([`--endpoint: ${endpoint.message}${hint}`]);
}

function clientAllowedIps(given: string | undefined, site: Site): string[] {
  if (given !== undefined) {
    return splitList(given).map((text) => {
      const prefix = parsePrefixValue(text);
      if (prefix instanceof ParseFailure) {
        throw new ConfigError([`--allowed-ips: ${prefix.message}`]);
      }
      return `${prefix}`;
    });
  }
  const all = [
    ...site.addresses.map(({ address, length }) => new Prefix(address, length)),
    ...site.addressPool,
    ...site.subnets,
  ];
  return outermost(all).map(String);
}

function parseDns(given: string): string[] {
  return splitList(given).map((text) => {
    // As wg-quick: addresses, and domains to search in.
    if (parseIpAddress(text) !== undefined || /^[a-z0-9_.-]+$/i.test(text)) return text;
    throw new ConfigError([`--dns: ${quote(text)} is neither, expected an address or a domain`]);
  });
}

interface PeerLines {
  readonly publicKey: string;
  readonly name: string;
  readonly presharedKey?: string;
  readonly allowedIps: readonly string[];
}

function qrOf(text: string): string {
  try {
    return formatQr(text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ConfigError([`--qr: ${error.message}, expected fewer --allowed-ips`]);
  }
}

function writeNew(path: string, text: string): void {
  try {
    Deno.writeTextFileSync(path, text, { createNew: true, mode: 0o600 });
  } catch (error) {
    const why = error instanceof Deno.errors.AlreadyExists
      ? "is there already, expected a new file"
      : `cannot be written (${error instanceof Error ? error.message : error})`;
    throw new ConfigError([`--out: ${path} ${why}`]);
  }
}
