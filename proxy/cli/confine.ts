/**
 * Which files a gateway over FFI keeps, and when it confines itself at all. Deno's permissions bind
 * no program that may call the C library; this does (docs/security.md).
 *
 * Loaded before everything else, for the program may start again: it imports next to nothing.
 *
 * @module
 */

import {
  type Confinement,
  confineProcess,
  type FileRule,
  type ProcessView,
} from "../../ffi/confine/mod.ts";
import { controlDirectory, prepareDirectory } from "../control/socket_path.ts";
import { prepareStateDirectory, stateDirectories } from "../gateway/state_directory.ts";

export type { Confinement };

/**
 * Confines the process of `up` over FFI. The first time, on a system with Landlock, the program
 * starts again instead of returning.
 *
 * @param args Without the name of the program.
 * @param folder Where the program's own files are; undefined if it has none.
 * @param load Loads what the command needs, for the runtime to keep it compiled.
 * @returns what was given up; undefined if this command is not to be confined, or has no FFI.
 */
export async function confineCommand(
  args: readonly string[],
  folder: string | undefined,
  load?: () => Promise<void>,
): Promise<Confinement | undefined> {
  if (!isToBeConfined(args) || Deno.build.os !== "linux") return undefined;
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return undefined;
  try {
    return await confineProcess(async (view) => {
      prepareStateDirectory(stateFolders(view)); // no rule without a folder
      if (load !== undefined) await keepCompiled(view, folder, load);
      return fileRules(view, args, folder, await configuredFiles(view, args));
    });
  } catch (error) { // No C library, so no FFI either, which the gateway reports.
    return { landlock: 0, seccomp: false, problems: [(error as Error).message] };
  }
}

/**
 * In one line.
 *
 * @param isWanted False: asked to leave it.
 */
export function describeConfinement(given: Confinement | undefined, isWanted = true): string {
  if (given === undefined) return `not confined${isWanted ? "" : " (--no-confine)"}`;
  const { landlock, seccomp, problems } = given;
  const parts = [
    ...landlock > 0 ? [`files by Landlock ${landlock}`] : [],
    ...seccomp ? ["system calls by seccomp"] : [],
  ];
  const confined = parts.length > 0 ? `confined: ${parts.join(", ")}` : "not confined";
  return [confined, ...problems].join("; ");
}

/** Whether a command line runs a gateway that may be over FFI, and does not ask to be left alone. */
export function isToBeConfined(args: readonly string[]): boolean {
  const command = args.find((argument) => !argument.startsWith("-"));
  const isLeftAlone = ["--no-ffi", "--no-confine", "--help", "-h"].some((flag) =>
    args.includes(flag)
  );
  return command === "up" && !isLeftAlone;
}

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
    ...settings(view, args, configured, TOKEN_FLAGS).flatMap(withFolders).map(readable),
    ...settings(view, args, configured, LOG_FLAGS, /^(?!std(?:err|out)$)(.+)/).flatMap(logFolders),
  ];
}

function readable(path: string): FileRule {
  return { path, access: "read" };
}

function writable(path: string): FileRule {
  return { path, access: "write" };
}

/**
 * Loads the program where the runtime would cache compiled code and has not yet: once confined it can
 * read that cache and not write it, and would compile everything again at every start.
 */
async function keepCompiled(
  view: ProcessView,
  folder: string | undefined,
  load: () => Promise<void>,
): Promise<void> {
  const cache = moduleCache(view);
  if (folder === undefined || cache === undefined || !view.isWritable(cache)) return;
  // Where Deno has the compiled form of a module that comes late.
  const source = `${folder}/proxy/gateway/gateway.ts`;
  const compiled = `${cache}/gen/file${source}.js`;
  if (!isFile(source)) return; // The program is one file.
  try {
    const changed = [source, Deno.execPath()].map((path) => Number(Deno.statSync(path).ctime));
    if (isFile(compiled) && Number(Deno.statSync(compiled).mtime) >= Math.max(...changed)) return;
    await load();
    Deno.utimeSync(compiled, new Date(), new Date()); // as it was, if only the time had changed
  } catch {
    // Slower next time.
  }
}

function moduleCache(view: ProcessView): string | undefined {
  const home = view.environment("HOME");
  const cache = view.environment("XDG_CACHE_HOME") ?? (home && `${home}/.cache`);
  return view.environment("DENO_DIR") ?? (cache && `${cache}/deno`);
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

/** Arguments that are files, whatever they are for; `--flag=file` too. */
function namedFiles(args: readonly string[]): string[] {
  return args.map((argument) => argument.replace(/^--?[\w-]+=/, "")).filter(isFile);
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/**
 * A file and the folder it is in: editors and `add-peer` put another file in its place. A link's
 * own folder too. What has come as a descriptor has no folder.
 */
function withFolders(path: string): string[] {
  if (/^\/(?:dev|proc)\//.test(path)) return [path];
  const folders = [path, realPath(path)].map(folderOf);
  return [path, ...folders.filter((folder) => folder !== "/")];
}

function realPath(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    return path;
  }
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

/** Flags, and the keys of a file, that name other files. */
const LOG_FLAGS = { "--log-file": "Output", "--access-log": "Access" };
const STATUS_FLAGS = { "--status": "Listen" };
const TOKEN_FLAGS = { "--status-token-file": "TokenFile" };

/**
 * What settings may name, wherever they stand: in flags, in the environment, in the files of the
 * command line. A quick look, before the configuration's own parser runs: at worst some too many.
 *
 * @param pattern What a value is like, with the part that counts in a group.
 */
function settings(
  view: ProcessView,
  args: readonly string[],
  configured: Configured,
  names: Readonly<Record<string, string>>,
  pattern = /(.+)/,
): string[] {
  const texts = namedFiles(args).map(readText);
  const values = Object.entries(names).flatMap(([name, key]) => [
    flag(args, name),
    view.environment(variableOf(name)),
    ...Object.entries(configured.values)
      .filter(([path]) => path.toLowerCase().endsWith(`.${key.toLowerCase()}`))
      .map(([, value]) => value),
    // Where the configuration is not parsed here.
    ...texts.flatMap((text) =>
      Array.from(
        text.matchAll(
          new RegExp(`^[ \\t{"]*(?:${key}|${variableOf(name)})["' \\t]*[:=][ \\t]*(.+)$`, "gim"),
        ),
        ([, value]) => value!.replace(/\s#.*$/, "").replace(/^["' ]+|["', ]+$/g, "").trim(),
      )
    ),
  ]);
  return values.flatMap((value) => pattern.exec(value ?? "")?.[1] ?? []);
}

function variableOf(flag: string): string {
  return `WIRESTACK_${flag.slice(2).toUpperCase().replaceAll("-", "_")}`;
}

function folderOf(path: string): string {
  return path.replace(/[^/]*$/, "") || ".";
}

/** A log is opened again when it was given another name: its folder is needed, not the file alone. */
function logFolders(path: string): FileRule[] {
  return withFolders(path).map((path) => ({ path, access: "append" }));
}

/** What the configuration says of files. */
interface Configured {
  /** Files, and folders of files. */
  readonly paths: readonly string[];
  /** By `section.field`. */
  readonly values: Readonly<Record<string, string>>;
}

const NOTHING: Configured = { paths: [], values: {} };

const CONTROL_DIR = "interface.controlDir";

/** Where a configuration, or the environment, may name files: only then it is parsed here as well. */
const HINTS = /KeyFile|Include|KEY_FILE/i;

/**
 * What the configuration names, which a reload reads again: secrets, included files. One that comes
 * by standard input is not looked at.
 */
export async function configuredFiles(
  view: ProcessView,
  args: readonly string[],
): Promise<Configured> {
  const variables = ["WIRESTACK_PRIVATE_KEY_FILE", "WIRESTACK_PEERS"];
  let found = NOTHING;
  const look = async (file: string | undefined, text: string) => {
    const { namedFiles } = await import("./named_files.ts");
    const form = flag(args, "--format") as Parameters<typeof namedFiles>[2];
    const { paths, values } = await namedFiles(file, text, form, view.environment);
    found = { paths: [...found.paths, ...paths], values: { ...values, ...found.values } };
  };
  for (const file of namedFiles(args).filter((path) => !/^\/(?:dev|proc)\//.test(path))) {
    const text = readText(file);
    const isPlain = !/\.(?:ya?ml|json|env)$/i.test(file) && flag(args, "--format") === undefined;
    if (!isPlain || HINTS.test(text)) await look(file, text);
    else {
      const controlDir = controlFolderIn(text);
      if (controlDir) found = { ...found, values: { [CONTROL_DIR]: controlDir, ...found.values } };
    }
  }
  if (variables.some((name) => view.environment(name))) await look(undefined, "");
  return found;
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

/** A quick look, before the configuration's own parser runs: at worst a folder too few or too many. */
function controlFolderIn(text: string): string | undefined {
  return /^[ \t]*ControlDir[ \t]*=[ \t]*([^#\r\n]*[^#\s])/im.exec(text)?.[1];
}

function readText(file: string): string {
  try {
    return Deno.readTextFileSync(file);
  } catch {
    return "";
  }
}

/** The folders where peers' endpoints are kept for the next start. */
function stateFolders(view: ProcessView): readonly string[] {
  return stateDirectories((name) => view.environment(name));
}

function flag(args: readonly string[], name: string): string | undefined {
  const index = args.lastIndexOf(name);
  return index < 0
    ? args.findLast((argument) => argument.startsWith(`${name}=`))?.slice(name.length + 1)
    : args[index + 1];
}
