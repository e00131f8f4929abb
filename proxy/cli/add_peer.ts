/**
 * `add-peer`: a new client for a gateway, in its file and in the one that runs, and the client's own
 * file.
 *
 * @module
 */

import { type IpAddress, Prefix } from "../../netstack/mod.ts";
import { ConfigError, type ConfigInput, type GatewayConfig, loadConfig } from "../config/config.ts";
import { formatConfigFile } from "../config/format.ts";
import { parseEndpoint, parsePrefixValue, quote, splitList, Wrong } from "../config/values.ts";
import { type ControlClient, ControlError } from "../control/client.ts";
import { freeAddress, hasRoom } from "../gateway/free_address.ts";
import { socketAddress } from "../gateway/stats.ts";
import {
  decodeKey,
  encodeKey,
  generatePresharedKey,
  generatePrivateKey,
  publicKeyOf,
} from "../base64.ts";
import { parseIpAddress } from "../address.ts";
import { isSafeTarget } from "../flow/safe_targets.ts";
import { FileEdit } from "./edit_file.ts";
import { onlyGateway, runningGateways, statsOf } from "./gateways.ts";
import { formatQr } from "./qr.ts";
import { readText } from "./read.ts";
import type { Terminal } from "./terminal.ts";

export interface AddPeerOptions {
  /** The gateway's file. Missing: that of the only one that runs. */
  readonly config?: string;
  readonly controlDir?: string;
  /** Where clients reach the gateway: `HOST:PORT`, or `HOST` with the file's port. */
  readonly endpoint?: string;
  /** What the client sends through the tunnel. Missing: the tunnel's networks and what is proxied. */
  readonly allowedIps?: string;
  readonly dns?: string;
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
  const text = await readText(edit.path, "a wg-quick file", terminal);
  const { config } = loadConfig(text, { file });
  checkName(name, text, file);
  const running = await runningFrom(edit.path, config, options.controlDir);
  const addresses = newAddresses(config, running?.taken ?? [], file);
  const endpoint = publicEndpoint(options.endpoint, config);
  const clientKey = generatePrivateKey();
  const publicKey = encodeKey(publicKeyOf(clientKey));
  const presharedKey = options.psk ? encodeKey(generatePresharedKey()) : undefined;
  const own = addresses.map((address) => `${new Prefix(address, address.bytes.length * 8)}`);
  const client = formatConfigFile({
    interface: {
      privateKey: encodeKey(clientKey),
      address: own,
      ...(config.mtu !== 1420 && { mtu: config.mtu }),
      ...(options.dns !== undefined && { dns: parseDns(options.dns) }),
    },
    peers: [{
      publicKey: encodeKey(publicKeyOf(config.privateKey)),
      ...(presharedKey && { presharedKey }),
      allowedIps: clientAllowedIps(options.allowedIps, config),
      endpoint,
    }],
  });
  const peer = { publicKey, ...(presharedKey && { presharedKey }), allowedIps: own };
  const next = withPeer(text, name, peer);
  loadConfig(next, { file }); // a file that would not load any more is not written
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
  if (shown !== "" && terminal.outputIsWorldAccessible()) {
    terminal.error("Warning: writing to world accessible file.\n");
  }
  terminal.out(shown);
  return running !== undefined && !isRunning ? 1 : 0;
}

async function fileOfOnly(directory: string | undefined): Promise<string> {
  const gateway = await onlyGateway("--config", directory);
  const { configFile } = await statsOf(gateway) ?? {};
  if (configFile) return configFile;
  throw new ControlError(`--config: missing, and ${gateway.name} runs without a file`);
}

/** The gateway that runs with this file, and the prefixes its peers have. */
async function runningFrom(file: string, { controlDir }: GatewayConfig, given?: string) {
  const directory = given ?? controlDir;
  if (directory === "off") return undefined;
  for (const client of await runningGateways(directory)) {
    try {
      if ((await statsOf(client))?.configFile !== file) continue;
      const answer = await client.ask("get=1");
      const taken = (answer?.pairs ?? []).filter(([key]) => key === "allowed_ip")
        .map(([, value]) => parsePrefixValue(value)).filter((prefix) => prefix instanceof Prefix);
      return { client, taken };
    } catch (error) {
      if (!(error instanceof ControlError)) throw error; // another user's, say
    }
  }
  return undefined;
}

/** @returns whether the running gateway has the peer now. */
async function tell(
  client: ControlClient,
  { publicKey, presharedKey, allowedIps }: PeerLines,
  terminal: Terminal,
): Promise<boolean> {
  const hex = (key: string) => decodeKey(key)!.toHex();
  try {
    const answer = await client.ask("set=1", [
      `public_key=${hex(publicKey)}`,
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

function checkName(name: string, text: string, file: string): void {
  if (!/^[A-Za-z0-9](?:[A-Za-z0-9 ._@-]{0,62}[A-Za-z0-9._@-])?$/.test(name)) {
    throw new ConfigError([
      `NAME: ${quote(name)} is no name, expected 1 to 64 of a-z A-Z 0-9 . _ @ - and blanks inside`,
    ]);
  }
  const wanted = name.toLowerCase();
  const line = text.split(/\r?\n|\r/).findIndex((line) =>
    /^\s*#\s*(.*?)\s*$/.exec(line)?.[1]?.toLowerCase() === wanted
  );
  if (line < 0) return;
  throw new ConfigError([`NAME: ${name} is taken (${file}:${line + 1}), expected another one`]);
}

/** One for each family that the tunnel has. */
function newAddresses(config: GatewayConfig, running: readonly Prefix[], file: string) {
  const own = config.addresses.map(({ address }) => new Prefix(address, address.bytes.length * 8));
  const taken = [...own, ...config.peers.flatMap(({ allowedIps }) => allowedIps), ...running];
  const addresses: IpAddress[] = [];
  for (const version of [4, 6]) {
    const networks = config.addresses.filter((network) =>
      network.address.version === version && hasRoom(network)
    );
    if (networks.length === 0) continue;
    const found = networks.map((network) => freeAddress(network, taken))
      .find((address) => address !== undefined);
    if (found === undefined) {
      const full = networks.map(({ address, length }) => `${new Prefix(address, length)}`);
      throw new ConfigError([`${file}: Address: no free address is left in ${full.join(", ")}`]);
    }
    addresses.push(found);
  }
  if (addresses.length > 0) return addresses;
  throw new ConfigError([
    `${file}: Address: has no network with room for a peer, expected one such as 10.9.0.1/24`,
  ]);
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
  if (!(endpoint instanceof Wrong)) return given;
  // Without a port, and an IPv6 address without brackets, too.
  const address = parseIpAddress(given.replace(/^\[(.*)\]$/, "$1"));
  const host = address?.version === 6 ? `[${address}]` : given;
  if (listenPort && !(parseEndpoint(`${host}:${listenPort}`) instanceof Wrong)) {
    return `${host}:${listenPort}`;
  }
  const hint = listenPort ? "" : " (the file has no ListenPort to take for one without)";
  throw new ConfigError([`--endpoint: ${endpoint.message}${hint}`]);
}

function clientAllowedIps(given: string | undefined, config: GatewayConfig): string[] {
  if (given !== undefined) {
    return splitList(given).map((text) => {
      const prefix = parsePrefixValue(text);
      if (prefix instanceof Wrong) throw new ConfigError([`--allowed-ips: ${prefix.message}`]);
      return `${prefix}`;
    });
  }
  const all = [
    ...config.addresses.map(({ address, length }) => new Prefix(address, length)),
    ...config.proxy?.subnets ?? [],
  ];
  const isInside = (prefix: Prefix, i: number) =>
    all.some((other, j) =>
      i !== j && other.contains(prefix.address) &&
      (other.length < prefix.length || other.length === prefix.length && j < i)
    );
  return all.filter((prefix, i) => !isInside(prefix, i)).map(String);
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
  readonly presharedKey?: string;
  readonly allowedIps: readonly string[];
}

/** The text with a section more. Everything that was there stays as it is. */
function withPeer(text: string, name: string, peer: PeerLines): string {
  const input: ConfigInput = { interface: { privateKey: "" }, peers: [peer] };
  const section = formatConfigFile(input).replace(/^[^]*?\n(?=\[Peer\])/, "")
    .replace("[Peer]\n", `[Peer]\n# ${name}\n`);
  const end = text === "" || /\n$/.test(text) ? "" : "\n";
  const added = `${end}\n${section}`;
  return text + (text.includes("\r\n") ? added.replace(/\n/g, "\r\n") : added);
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
