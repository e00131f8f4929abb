/**
 * What `up --tun` wraps around a gateway.
 *
 * @module
 */

import { Prefix } from "../../../netstack/mod.ts";
import type { LoadedConfig } from "../../config/config.ts";
import { ConfigError } from "../../config/error.ts";
import { type Form, formOf } from "../../config/form.ts";
import {
  controlDirectory,
  interfaceNameOf,
  isInterfaceName,
  socketPath,
} from "../../control/socket_path.ts";
import type { SystemTunnelOptions } from "../../system/tunnel.ts";
import type { UserIds } from "../../system/user.ts";
import { DEFAULT_NAME, type SystemSetup } from "./system_setup.ts";

export interface TunnelFlags {
  /** Empty: the gateway's name. */
  readonly tun: string;
  readonly name?: string;
  readonly user: string;
  /** Empty: the device of the default route. Missing: none. */
  readonly masquerade?: string;
  readonly masqueradeForce?: boolean;
  readonly confine: boolean;
  readonly ffi: boolean;
  /** The configuration, if it is a file with a name. */
  readonly file: string | undefined;
  readonly format?: Form;
}

type SavedFile = NonNullable<SystemTunnelOptions["save"]>;

/** @throws {ConfigError} if there can be no such tunnel. */
export async function openTunnel(loaded: LoadedConfig, flags: TunnelFlags): Promise<SystemSetup> {
  if (!flags.ffi) {
    throw new ConfigError([
      "--tun: needs calls of the C library, expected Linux, the permission --allow-ffi, and no --no-ffi",
    ]);
  }
  const { config, source } = loaded;
  if (config.proxy?.interface === "nic1") {
    throw new ConfigError([
      `${
        source.label(["proxy", "interface"])
      }: nic1 answers for every address, expected nic2 with --tun`,
    ]);
  }
  const gateway = flags.name ?? (flags.file && interfaceNameOf(flags.file));
  const device = flags.tun || gateway || DEFAULT_NAME;
  if (!isInterfaceName(device)) {
    throw new ConfigError([
      `--tun: the file's name is no interface's (1 to 15 of a-z A-Z 0-9 _ = + . -), expected --tun=NAME`,
    ]);
  }
  const [
    { SystemTunnel },
    { checkWayOut, masqueradeSteps },
    { STATE_DIRECTORY },
    { findUser },
    { LinuxSystem },
    { TunLink },
    names,
  ] = await Promise.all([
    import("../../system/tunnel.ts"),
    import("../../system/masquerade_steps.ts"),
    import("../../system/state_file.ts"),
    import("../../system/user.ts"),
    import("../../../ffi/mod.ts"),
    import("../../link/tun.ts"),
    import("../../target/system_names.ts"),
  ]);
  const { masquerade } = flags;
  const wayOut = {
    networks: [
      ...config.addresses.map(({ address, length }) => new Prefix(address, length)),
      ...config.addressPool,
      ...config.peers.flatMap(({ allowedIps }) => allowedIps),
    ],
    ...(masquerade && { outlet: masquerade }),
  };
  // PreUp may make the device, or the route.
  if (masquerade !== undefined && config.device.preUp.length === 0) {
    checkWayOut({ device, ...wayOut });
  }
  using system = new LinuxSystem();
  const user = system.user === 0 ? findUser(flags.user) : undefined;
  const controlFolder = config.controlDir ?? controlDirectory();
  const socket = gateway === undefined || controlFolder === "off"
    ? []
    : [socketPath(controlFolder, gateway)];
  const save = config.device.saveConfig ? await savedFile(loaded, flags, user) : undefined;
  const tunnel = new SystemTunnel({
    device,
    ...(gateway !== undefined && { gateway }),
    config,
    label: (path) => source.label(path),
    ...(user && { user }),
    confine: flags.confine,
    resolve: names.resolveBySystem,
    ...(save && { save }),
    files: socket,
    ...(masquerade !== undefined && {
      more: (host, settings, { sysctl }, does) =>
        masqueradeSteps(
          host,
          { ...settings, ...wayOut, force: flags.masqueradeForce ?? false },
          sysctl,
          does,
        ),
    }),
  });
  return {
    claim: () => tunnel.claim(),
    up: (start) =>
      tunnel.up(({ device, ...rest }) =>
        start({
          ...rest,
          open: (arena, options) => TunLink.open(arena, { name: device, ...options }),
        })
      ),
    confine: () => tunnel.confine(),
    interrupt: () => tunnel.interrupt(),
    beforeDown: () => tunnel.beforeDown(),
    down: (hasFailed) => tunnel.down(hasFailed),
    afterDown: () => tunnel.afterDown(),
    user,
    writtenFiles: [STATE_DIRECTORY, "/etc/resolv.conf"],
  };
}

/**
 * The file that `SaveConfig` is about.
 *
 * @throws {ConfigError} if it cannot be saved.
 */
async function savedFile(
  { source }: LoadedConfig,
  { file, format }: TunnelFlags,
  user: UserIds | undefined,
): Promise<SavedFile> {
  const label = source.label(["interface", "saveConfig"]);
  const problem = (why: string) => new ConfigError([`${label}: ${why}`]);
  if (
    file === undefined || formOf(file) !== "conf" && format === undefined ||
    format && format !== "conf"
  ) {
    throw problem("needs a wg-quick file with a name, expected false");
  }
  if (user === undefined) throw problem("needs root, who writes the file, expected false");
  const { frameOf } = await import("../../system/save_config.ts");
  const text = await Deno.readTextFile(file);
  const frame = frameOf(text);
  if (frame === undefined || /^\s*(?:Include|PrivateKeyFile|PresharedKeyFile)\s*=/im.test(text)) {
    throw problem(
      "needs a file that has all of it, without Include and files of keys, expected false",
    );
  }
  return { path: await Deno.realPath(file), frame };
}
