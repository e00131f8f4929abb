/**
 * Which files a confined gateway keeps.
 *
 * @module
 */

import type { FileRule, ProcessView } from "../../../ffi/confine/mod.ts";
import { controlDirectory, prepareDirectory } from "../../control/socket_path.ts";
import { stateDirectories } from "../../state/directory.ts";
import { moduleCache } from "./compiled.ts";
import { folderOf, isFile, realPath, withFolders } from "./paths.ts";
import { type Configured, CONTROL_DIR, flag, namedFiles, NOTHING, settings } from "./settings.ts";

/** Libraries, certificates, time zones, names: of the system, and readable by everybody. */
const SYSTEM = [
  ...["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store"],
  ...["/usr/share/zoneinfo", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"],
  ...["/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload"],
  ...["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"],
  ...["/etc/services", "/etc/protocols", "/etc/localtime", "/etc/ca-certificates"],
  ...["/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/pki/ca-trust"],
  // What the runtime reads about its memory, its processors, itself. Secrets of other processes there
  // stay out of reach: Landlock forbids looking into processes outside of it.
  ...["/proc", "/sys/fs/cgroup", "/sys/devices/system"],
  ...["/dev/urandom", "/dev/random", "/dev/zero"],
];

/** Flags, and the keys of a file, that name other files. */
const LOG_FLAGS = { "--log-file": "Output", "--access-log": "Access" };
const CAPTURE_FLAGS = { "--capture": "Write" };
const STATUS_FLAGS = { "--status": "Listen" };
const LINK_FLAGS = {
  "--listen": "Listen",
  "--link-listen": "Listen",
  "--connect": "Connect",
  "--link-connect": "Connect",
};
const LIST_FLAGS = { "--peers-from": "PeersFrom", "--peers-ca": "PeersCa" };
const TOKEN_FLAGS = { "--status-token-file": "TokenFile" };
const CERTIFICATE_FLAGS = {
  "--relay-cert": "Cert",
  "--relay-key": "Key",
  "--relay-client-ca": "ClientCa",
  "--relay-client-ca-key": "ClientCaKey",
  "--relay-crl": "Crl",
  "--peer-cert": "Cert",
  "--peer-key": "Key",
  "--peer-ca": "Ca",
};

/** What is to be read, written and executed still. */
export function fileRules(
  view: ProcessView,
  args: readonly string[],
  folder: string | undefined,
  configured: Configured = NOTHING,
): FileRule[] {
  const named = [...namedFiles(view.arguments.slice(1)), ...configured.paths.filter(isFile)];
  return [
    ...SYSTEM.map(readable),
    ...resolverFiles(view.user).map(readable),
    ...runtimeFiles(view),
    ...folder === undefined ? [] : [readable(folder)],
    ...named.flatMap(withFolders).map(readable),
    ...configured.paths.filter((path) => !isFile(path)).map(readable),
    ...credentials(view).map(readable),
    { path: "/dev/null", access: "device" },
    ...controlFolder(view, args, configured).map(writable),
    ...stateFolders(view).map(writable),
    ...settings(view, args, configured, STATUS_FLAGS, /^unix:(.+)/).map(folderOf).map(writable),
    ...linkPlaces(view, args, configured).map(folderOf).map(writable),
    ...settings(view, args, configured, TOKEN_FLAGS).flatMap(withFolders).map(readable),
    // Read again when they are renewed, which replaces them.
    ...settings(view, args, configured, CERTIFICATE_FLAGS).flatMap(withFolders).map(readable),
    ...renewedFolders(view, args, configured).map(writable),
    ...settings(view, args, configured, LIST_FLAGS, /^(?!https?:)(.+)/i).flatMap(withFolders)
      .map(readable),
    ...settings(view, args, configured, LOG_FLAGS, /^(?!std(?:err|out)$)(.+)/).flatMap(logFolders),
    ...settings(view, args, configured, CAPTURE_FLAGS, /^(?!-$|tcp:)(.+)/).map(captureFolder),
  ];
}

/** A certificate that a hub renews is replaced, by a file beside it. */
function renewedFolders(
  view: ProcessView,
  args: readonly string[],
  configured: Configured,
): string[] {
  if (settings(view, args, configured, { "--peer-renew-at": "RenewAt" }).length === 0) return [];
  return settings(view, args, configured, { "--peer-cert": "Cert" }).map(folderOf);
}

/** The sockets of links, in a file, in flags, of which there may be several, or in the environment. */
function linkPlaces(view: ProcessView, args: readonly string[], configured: Configured): string[] {
  const flags = args.flatMap((arg, i) => {
    const [, name, value] = /^(--[a-z-]+)(?:=(.*))?$/.exec(arg) ?? [];
    return name !== undefined && name in LINK_FLAGS ? [value ?? args[i + 1] ?? ""] : [];
  });
  return [
    ...settings(view, args, configured, LINK_FLAGS, /^(unix(?:gram)?:.+)/),
    ...flags,
    ...Array.from(
      view.environment("WIRESTACK_LINKS")?.matchAll(/"(unix(?:gram)?:[^"]+)"/g) ?? [],
      ([, place]) => place!,
    ),
  ].flatMap((place) => /^unix(?:gram)?:(.+)/.exec(place)?.[1] ?? []);
}

function readable(path: string): FileRule {
  return { path, access: "read" };
}

function writable(path: string): FileRule {
  return { path, access: "write" };
}

/** The running program, its libraries, and Deno's cache of modules. */
function runtimeFiles(view: ProcessView): FileRule[] {
  const mapped = new Set(
    Array.from(view.readText("/proc/self/maps").matchAll(/ (\/.*)$/gm), ([, path]) => path!),
  );
  const rules: FileRule[] = [{ path: "/proc/self/exe", access: "execute" }];
  for (const path of mapped) {
    // The loader of dynamic libraries is executed with it.
    rules.push({ path, access: /\/ld[-.][^/]*$/.test(path) ? "execute" : "read" });
  }
  const cache = moduleCache(view);
  if (cache !== undefined) rules.push(readable(cache));
  for (
    const name of ["DENO_CERT", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "NPM_CONFIG_USERCONFIG"]
  ) {
    const path = view.environment(name);
    if (path) rules.push(readable(path));
  }
  return rules;
}

/**
 * /etc/resolv.conf is replaced when the network changes: by a file beside that one. Where that is in
 * /etc itself, root does without it, for root could then read every secret that is there.
 */
function resolverFiles(user: number): string[] {
  const file = realPath("/etc/resolv.conf");
  const folder = file.replace(/\/[^/]*$/, "");
  if (folder !== "/etc") return [folder];
  return user === 0 || isMountPoint(file, folder) ? [] : [folder];
}

function isMountPoint(file: string, folder: string): boolean {
  try {
    return Deno.statSync(file).dev !== Deno.statSync(folder).dev;
  } catch {
    return false;
  }
}

/** A log is opened again when it was given another name: its folder is needed, not the file alone. */
function logFolders(path: string): FileRule[] {
  return withFolders(path).map((path) => ({ path, access: "append" }));
}

/** A capture replaces the file that is there, and files that take turns have names of their own. */
function captureFolder(path: string): FileRule {
  return { path: folderOf(path), access: "replace" };
}

/** The folder of systemd's credentials. */
function credentials(view: ProcessView): string[] {
  const folder = view.environment("CREDENTIALS_DIRECTORY");
  return folder?.startsWith("/") ? [folder] : [];
}

/**
 * Of the control socket: as a flag, in the environment, in the configuration, or the default. Made if
 * it is missing.
 */
function controlFolder(
  view: ProcessView,
  args: readonly string[],
  { values }: Configured,
): string[] {
  const folder = flag(args, "--control-dir") ||
    view.environment("WIRESTACK_CONTROL_DIR") || values[CONTROL_DIR] || controlDirectory();
  if (folder === "off") return [];
  try {
    prepareDirectory(folder);
  } catch {
    // It exists, or there will be no control socket, which is reported then.
  }
  return [folder];
}

/** The folders where peers' endpoints are kept for the next start. */
export function stateFolders(view: ProcessView): readonly string[] {
  return stateDirectories((name) => view.environment(name));
}
