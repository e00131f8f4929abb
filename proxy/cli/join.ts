/**
 * `join`: makes this machine a member of a hub, by a token.
 *
 * @module
 */

import { publicKeyOf } from "../base64.ts";
import { ConfigError } from "../config/error.ts";
import { formOf } from "../config/form.ts";
import { interfaceNameOf, isInterfaceName } from "../control/socket_path.ts";
import { servedPrefixes } from "../enrol/member.ts";
import type { Grant } from "../enrol/message.ts";
import { JoinError, requestGrant } from "./join/ask.ts";
import { configurationOf, defaultFile } from "./join/configuration.ts";
import { PendingJoin } from "./join/files.ts";
import { readToken } from "./join/token_input.ts";
import { loadText } from "./load.ts";
import type { Terminal } from "./terminal.ts";

export interface JoinOptions {
  readonly tokenFile?: string;
  /** Where the configuration goes. Missing: by the machine's name, in this folder. */
  readonly out?: string;
  /** False: the file is all. */
  readonly run?: boolean;
  readonly controlDir?: string;
}

/**
 * @param given The token, `-`, or `@` and a file.
 * @param onward Runs another command line in this one's place.
 * @returns the exit status: of what runs; 1 if the hub does not take this machine in.
 * @throws {ConfigError} if token or file is wrong; then nothing has changed.
 */
export async function join(
  given: string | undefined,
  options: JoinOptions,
  terminal: Terminal,
  onward: (args: readonly string[]) => Promise<number>,
): Promise<number> {
  const token = await readToken(given, options.tokenFile, terminal);
  const out = options.out ?? defaultFile(token.name);
  if (out === "" || out === "-" || out.includes("\0")) {
    throw new ConfigError(["--out: is no path, expected a file"]);
  }
  // By its suffix it would be read as what it is not, once the token is used.
  if (formOf(out) !== "conf") {
    throw new ConfigError([
      `--out: ${out}: is written as wg-quick has it, expected another suffix, as .conf`,
    ]);
  }
  const makeTls = async () => {
    const { makeRequest } = await import("../certificates/request.ts");
    return await makeRequest(token.name);
  };
  const pending = await PendingJoin.begin(
    out,
    publicKeyOf(token.privateKey),
    token.isCertified ? makeTls : undefined,
  );
  let grant: Grant;
  try {
    const { privateKey, tls } = pending.keys;
    grant = await requestGrant(token, {
      publicKey: publicKeyOf(privateKey),
      ...(tls && { certificateRequest: tls.request, renews: true }),
    });
    if (tls === undefined && grant.certificate !== undefined) {
      throw new JoinError("the hub gives a certificate that was not asked for", true);
    }
    const text = configurationOf(grant, privateKey, token.hubKey, out);
    await loadText(text, out, terminal);
    pending.finish(text, grant.certificate);
  } catch (error) {
    if (!(error instanceof JoinError)) throw error;
    if (!error.isOpen && !pending.isResumed) pending.abandon();
    terminal.error(`wirestack: ${error.message}\n`);
    return 1;
  }
  terminal.error(`${token.name} has joined: ${describe(grant)}, in ${out}\n`);
  const args = commandOf(grant, token.name, out, options.controlDir);
  const command = `wirestack ${args.map(shellWord).join(" ")}\n`;
  if (options.run !== false) {
    // Before it is tried: what a client needs, as the right to a device, may be missing.
    terminal.error(`it is run by: ${command}`);
    return await onward(args);
  }
  terminal.out(command);
  return 0;
}

function describe(grant: Grant): string {
  const { isClient, addresses, allowedIps, subnets } = grant;
  const own = addresses.join(" and ");
  if (isClient) return `${own}, a client that reaches ${allowedIps.join(", ")}`;
  const serves = servedPrefixes(grant).map((prefix, i) =>
    prefix.equals(subnets[i]!) ? `${prefix}` : `${subnets[i]} as ${prefix}`
  );
  return `${own}, an agent that serves ${serves.join(", ")}`;
}

/** @param name Of the machine: what runs is called by it where the file's name will not do. */
function commandOf(
  { isClient }: Grant,
  name: string,
  out: string,
  controlDir: string | undefined,
): string[] {
  const own = isInterfaceName(interfaceNameOf(out))
    ? undefined
    : interfaceNameOf(defaultFile(name));
  return [
    ...(isClient ? ["up", "--tun"] : ["agent"]),
    ...(own === undefined ? [] : ["--name", own]),
    out,
    ...(controlDir === undefined ? [] : ["--control-dir", controlDir]),
  ];
}

/** As a shell takes it for one word. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
