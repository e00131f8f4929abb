/**
 * The name servers of this host, by whoever keeps them: resolvconf, systemd-resolved, or the file.
 *
 * @module
 */

import { SystemTunnelError } from "./error.ts";
import { withNameServers, withoutNameServers } from "./resolv_conf.ts";
import { hasProgram, runScript } from "./shell.ts";
import type { DnsAction, DnsMethod, DnsUndo } from "./step.ts";

const RESOLV_CONF = "/etc/resolv.conf";

/** What a test replaces. */
export interface DnsPlaces {
  readonly resolvConf: string;
  hasProgram(name: string): boolean;
  run(script: string, args: readonly string[], what: string): void;
}

export const SYSTEM_PLACES: DnsPlaces = {
  resolvConf: RESOLV_CONF,
  hasProgram,
  run: (script, args, what) => void runScript(script, args, what),
};

/** Who keeps the name servers here. */
export function chooseDnsMethod(places: DnsPlaces = SYSTEM_PLACES): DnsMethod {
  let target = "";
  try {
    target = Deno.realPathSync(places.resolvConf);
  } catch {
    // There is none.
  }
  const isResolved = target.includes("/systemd/resolve/");
  if (isResolved && places.hasProgram("resolvectl")) return "resolvectl";
  return places.hasProgram("resolvconf") ? "resolvconf" : "file";
}

/** `resolvconf -a` and `-d` want the place of the interface among others in front, as wg-quick has it. */
const PREFIX = `prefix=
if [ -f /etc/resolvconf/interface-order ]; then
  prefix=$(sed -n 's/^\\([A-Za-z0-9-]*\\)\\*$/\\1./p' /etc/resolvconf/interface-order | head -n 1)
fi
`;

const RESOLVCONF_SET = `${PREFIX}printf '%s\\n' "$2" | resolvconf -a "$prefix$1" -m 0 -x`;
/** Also what the keeper runs. */
export const RESOLVCONF_UNSET = `${PREFIX}resolvconf -d "$prefix$1" -f`;

const RESOLVECTL_SET = `device=$1; servers=$2; domains=$3
resolvectl dns "$device" $servers && resolvectl domain "$device" $domains '~.' &&
  resolvectl default-route "$device" true`;
const RESOLVECTL_UNSET = 'resolvectl revert "$1"';

/** An open /etc/resolv.conf, for a process that will not be able to open it any more. */
export class ResolvConf implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #path: string;

  /** @throws {Error} of the system. */
  constructor(path: string) {
    this.#path = path;
    this.#file = Deno.openSync(path, { read: true, write: true, create: true, mode: 0o644 });
  }

  /** @returns false if the file has been replaced by another since. */
  rewrite(change: (text: string) => string | undefined): boolean {
    try {
      if (Deno.statSync(this.#path).ino !== this.#file.statSync().ino) return false;
    } catch {
      return false;
    }
    this.#file.seekSync(0, Deno.SeekMode.Start);
    const bytes = new Uint8Array(this.#file.statSync().size);
    let length = 0;
    while (length < bytes.length) {
      const count = this.#file.readSync(bytes.subarray(length));
      if (count === null) break;
      length += count;
    }
    const text = change(new TextDecoder().decode(bytes.subarray(0, length)));
    if (text === undefined) return true;
    const changed = new TextEncoder().encode(text);
    this.#file.seekSync(0, Deno.SeekMode.Start);
    for (let at = 0; at < changed.length;) at += this.#file.writeSync(changed.subarray(at));
    this.#file.truncateSync(changed.length);
    return true;
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/**
 * Sets a tunnel's name servers.
 *
 * @returns what takes them back without permission for the file; undefined if no file is involved.
 * @throws {SystemTunnelError} if who keeps them does not take them.
 */
export function setDns(
  { method, device, servers, domains }: DnsAction,
  places: DnsPlaces = SYSTEM_PLACES,
): ResolvConf | undefined {
  if (method === "resolvectl") {
    places.run(RESOLVECTL_SET, [device, servers.join(" "), domains.join(" ")], "resolvectl");
  } else if (method === "resolvconf") {
    const search = domains.length > 0 ? [`search ${domains.join(" ")}`] : [];
    const lines = [...servers.map((server) => `nameserver ${server}`), ...search].join("\n");
    places.run(RESOLVCONF_SET, [device, lines], "resolvconf");
  } else {
    const isThere = exists(places.resolvConf);
    const file = openResolvConf(places.resolvConf);
    if (!isThere) Deno.chmodSync(places.resolvConf, 0o644); // everybody's, whatever the umask is
    file.rewrite((text) => withNameServers(isThere ? text : undefined, device, servers, domains));
    return file;
  }
  return undefined;
}

function openResolvConf(path: string): ResolvConf {
  try {
    return new ResolvConf(path);
  } catch (error) {
    throw new SystemTunnelError(
      `DNS: ${path} cannot be written (${(error as Error).message}), expected root, ` +
        "systemd-resolved, or no DNS in the configuration",
    );
  }
}

/**
 * Takes a tunnel's name servers back. Nothing happens where they are not.
 *
 * @param file As {@link setDns} has opened it; missing: the file is opened.
 * @throws {SystemTunnelError} if who keeps them does not give them back.
 */
export function unsetDns(
  { method, device }: DnsUndo,
  file?: ResolvConf,
  places: DnsPlaces = SYSTEM_PLACES,
): void {
  if (method === "resolvconf") places.run(RESOLVCONF_UNSET, [device], "resolvconf");
  if (method === "resolvectl") {
    try {
      places.run(RESOLVECTL_UNSET, [device], "resolvectl");
    } catch {
      // It goes with the device as well, which may be gone.
    }
  }
  if (method === "file") restoreFile(device, file, places.resolvConf);
}

/**
 * Takes the name servers of a tunnel out of /etc/resolv.conf, if they are there: also those that a
 * machine which has restarted since has forgotten.
 */
export function restoreFile(device: string, file?: ResolvConf, path = RESOLV_CONF): void {
  if (file === undefined && !exists(path)) return;
  if (file === undefined && withoutNameServers(Deno.readTextFileSync(path), device) === undefined) {
    return;
  }
  const open = file ?? new ResolvConf(path);
  let wasAbsent = false;
  open.rewrite((text) => {
    const before = withoutNameServers(text, device);
    wasAbsent = before === "absent";
    return before === "absent" ? "" : before?.text;
  });
  open[Symbol.dispose]();
  if (!wasAbsent) return;
  try {
    Deno.removeSync(path);
  } catch {
    // This user may not: an empty one says the same.
  }
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
