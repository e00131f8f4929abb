/**
 * The gateways that are compared: how each is built, how it is started, and where the client finds
 * the service behind it.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { eventually } from "../../tests/e2e/lab.ts";
import { output } from "../../tests/e2e/process.ts";
import { RULED_NETWORK, rulesAsText } from "../rules.ts";
import { buildGo, buildOurs, buildRust } from "./build.ts";
import type { Need } from "./scenarios.ts";
import {
  CLIENT,
  CLIENT_IN_TUNNEL,
  GATEWAY_AT_SITE,
  GATEWAY_IN_TUNNEL,
  SERVICE_PORT,
  SITE,
  SITE_NETWORK,
  type Topology,
  TUNNEL_PORT,
} from "./topology.ts";

const WIREPROXY = { program: "github.com/windtf/wireproxy/cmd/wireproxy", version: "v1.0.10" };
const ONETUN = { crate: "onetun", version: "0.3.10" };

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** How a gateway is started. */
export interface Start {
  readonly command: string[];
  /** All of its standard input. */
  readonly input?: string;
  /** What is to be done once it runs, before it listens. */
  configure?(): Promise<void>;
}

/** A subject that has been built. */
export interface Built {
  /** How to start it once, with files of its own in the topology's directory. */
  prepare(topology: Topology): Promise<Start>;
  /** What was built, where it is not what the name says. */
  readonly note?: string;
}

export interface Subject {
  readonly name: string;
  /** The same from another checkout, named `NAME@DIRECTORY`; only what is ours has it. */
  from?(directory: string): Subject;
  /** The same with so many rules, none of which is about the load. */
  withRules?(count: number): Subject;
  /** How it is measured, where that is not plain. */
  readonly how?: string;
  /** Address and port at which a client reaches the service. */
  readonly target: string;
  /** What is bound once it can work. */
  readonly listens: { readonly network: "tcp" | "udp"; readonly port: number };
  /**
   * It forwards ports of its own into the tunnel: the load's client is at the site and the service
   * is the tunnel's client. The scenarios' directions stay those of the data.
   */
  readonly reversed: boolean;
  /** Why a scenario does not apply to it, by what that needs. */
  readonly lacks: Readonly<Partial<Record<Need, string>>>;
  /** @throws when it cannot be built: then it is left out, with this reason */
  build(): Promise<Built>;
}

const FORWARDS = {
  target: `${SITE}:${SERVICE_PORT}`,
  listens: { network: "udp", port: TUNNEL_PORT },
  reversed: false,
  lacks: {},
} as const;

export const SUBJECTS: readonly Subject[] = [
  {
    ...FORWARDS,
    name: "newt-netstack2",
    async build() {
      const directory = await buildOurs();
      return {
        prepare({ gatewayKeys, clientKeys }) {
          const command = [
            ...[`${directory}/newt`, "-address", GATEWAY_IN_TUNNEL],
            ...["-sources", `${CLIENT_IN_TUNNEL}/32`, "-targets", SITE_NETWORK],
          ];
          const input = [
            `private_key=${hex(gatewayKeys.privateKey)}`,
            `listen_port=${TUNNEL_PORT}`,
            `public_key=${hex(clientKeys.publicKey)}`,
            `allowed_ip=${CLIENT_IN_TUNNEL}/32`,
            "",
          ].join("\n");
          return Promise.resolve({ command, input });
        },
      };
    },
  },
  ours("wirestack", { ffi: true }),
  ours("wirestack-noffi", { ffi: false }),
  {
    ...FORWARDS,
    name: "wireproxy",
    how: "a [TCPServerTunnel] at its address in the tunnel, with one target; no UDP",
    target: `${GATEWAY_IN_TUNNEL}:${SERVICE_PORT}`,
    lacks: { udp: "it forwards no UDP from the tunnel", ping: "it forwards no pings" },
    async build() {
      const directory = await buildGo(WIREPROXY.program, WIREPROXY.version);
      const prepare: Built["prepare"] = async ({ directory: files, gatewayKeys, clientKeys }) => {
        const file = `${files}/wireproxy.conf`;
        const text = [
          ...["[Interface]", `PrivateKey = ${gatewayKeys.privateKey}`],
          ...[`Address = ${GATEWAY_IN_TUNNEL}/32`, `ListenPort = ${TUNNEL_PORT}`, "MTU = 1420"],
          ...["[Peer]", `PublicKey = ${clientKeys.publicKey}`],
          ...[`AllowedIPs = ${CLIENT_IN_TUNNEL}/32`],
          ...["[TCPServerTunnel]", `ListenPort = ${SERVICE_PORT}`],
          ...[`Target = ${SITE}:${SERVICE_PORT}`, ""],
        ].join("\n");
        await Deno.writeTextFile(file, text, { mode: 0o600 });
        return { command: [`${directory}/wireproxy`, "--silent", "--config", file] };
      };
      return { prepare };
    },
  },
  {
    name: "onetun",
    how: "roles reversed: it forwards its own port into the tunnel, so the site connects and the " +
      "tunnel's client serves; down is what it sends into the tunnel, as for the others",
    target: `${GATEWAY_AT_SITE}:${SERVICE_PORT}`,
    listens: { network: "tcp", port: SERVICE_PORT },
    reversed: true,
    lacks: { ping: "it forwards no pings" },
    async build() {
      const directory = await buildRust(ONETUN.crate, ONETUN.version);
      const prepare: Built["prepare"] = async ({ directory: files, gatewayKeys, clientKeys }) => {
        const file = `${files}/onetun.key`;
        await Deno.writeTextFile(file, gatewayKeys.privateKey, { mode: 0o600 });
        const forward = (protocol: string) =>
          `${GATEWAY_AT_SITE}:${SERVICE_PORT}:${CLIENT_IN_TUNNEL}:${SERVICE_PORT}:${protocol}`;
        return {
          command: [
            ...[`${directory}/onetun`, forward("TCP"), forward("UDP")],
            ...["--private-key-file", file, "--source-peer-ip", GATEWAY_IN_TUNNEL],
            ...["--endpoint-addr", `${CLIENT}:${TUNNEL_PORT}`],
            ...["--endpoint-public-key", clientKeys.publicKey, "--log", "error"],
          ],
        };
      };
      return { prepare };
    },
  },
  {
    ...FORWARDS,
    name: "wireguard-go",
    how:
      "no gateway but a router: the same wireguard-go as the client's, and the kernel forwards; " +
      "what the load can do, as far as the other side of the tunnel lets it",
    lacks: { start: "it has no program of its own" },
    build: () => Promise.resolve({ prepare: (topology) => Promise.resolve(router(topology)) }),
  },
];

let serial = 0;

/** The newest wireguard-go, found like the client's. */
function router({ gateway, gatewayKeys, clientKeys }: Topology): Start {
  // Named for the lab's sweep; a name that was used may not be free at once.
  const device = `wst${Deno.pid}n${1000 + serial++}`;
  const socket = `/var/run/wireguard/${device}.sock`;
  gateway.disposeFile(socket);
  return {
    command: ["env", "WG_PROCESS_FOREGROUND=1", "LOG_LEVEL=error", "wireguard-go", "-f", device],
    async configure() {
      await eventually(socket, async () => (await gateway.run(["wg", "show", device])).code === 0, {
        intervalMs: 20,
      });
      const text = [
        ...["[Interface]", `PrivateKey = ${gatewayKeys.privateKey}`, `ListenPort = ${TUNNEL_PORT}`],
        ...["[Peer]", `PublicKey = ${clientKeys.publicKey}`],
        ...[`AllowedIPs = ${CLIENT_IN_TUNNEL}/32`, ""],
      ].join("\n");
      await gateway.output(["wg", "setconf", device, "/dev/stdin"], { input: text });
      await gateway.addAddresses(device, [`${GATEWAY_IN_TUNNEL}/24`]);
      await gateway.ip(`link set ${device} mtu 1420 up`);
    },
  };
}

/** The gateway of a checkout of this repository. */
function ours(name: string, flavour: { ffi: boolean }, directory?: string, rules = 0): Subject {
  const from = directory === undefined ? "" : `@${directory}`;
  return {
    ...FORWARDS,
    name: `${name}${from}${rules === 0 ? "" : `+${rules}`}`,
    lacks: flavour.ffi ? {} : { ping: "the runtime has no such sockets" },
    from: (directory) => ours(name, flavour, directory),
    withRules: (count) => ours(name, flavour, directory, count),
    build: () => wirestack(flavour, directory ?? REPOSITORY, rules),
  };
}

/**
 * How a checkout's command line is started, by this Deno and with the permissions that its own task
 * grants. Its modules are compiled and cached when this resolves, before anything is timed.
 */
export async function programOf(
  { ffi }: { ffi: boolean },
  directory = REPOSITORY,
): Promise<string[]> {
  const { tasks } = JSON.parse(await Deno.readTextFile(`${directory}/deno.json`));
  const sandboxed = tasks["start:sandbox"];
  // Before there was such a task, `start` was the sandboxed one.
  const task = ffi ? (sandboxed ? tasks.start : tasks["start:ffi"]) : sandboxed ?? tasks.start;
  // The task goes to the user's folder first.
  const command = (task ?? tasks.start).command.replace(/^.*&& (?=deno )/, "")
    .replace('"$ROOT/main.ts"', "main.ts");
  const program: string[] = command.split(" ").map((word: string) =>
    word === "deno" ? Deno.execPath() : word
      .replace(/^main\.ts$/, `${directory}/main.ts`)
      .replace(/\$(\w+)/g, (_, name) => Deno.env.get(name) ?? "")
  );
  await output([...program, "up", "--help"], { cwd: directory });
  return program;
}

async function wirestack(
  flavour: { ffi: boolean },
  directory: string,
  rules: number,
): Promise<Built> {
  const program = await programOf(flavour, directory);
  return {
    async prepare({ directory: files, gatewayKeys, clientKeys }) {
      const file = `${files}/wirestack.conf`;
      const text = [
        ...["[Interface]", `PrivateKey = ${gatewayKeys.privateKey}`],
        ...[`Address = ${GATEWAY_IN_TUNNEL}/24`, `ListenPort = ${TUNNEL_PORT}`],
        ...["[Peer]", `PublicKey = ${clientKeys.publicKey}`],
        ...[`AllowedIPs = ${CLIENT_IN_TUNNEL}/32`],
        ...["[Proxy]", `Subnets = ${SITE_NETWORK}`],
        ...(rules === 0 ? [] : [`Subnets = ${RULED_NETWORK}`]),
        rulesAsText(rules, CLIENT_IN_TUNNEL),
      ].join("\n");
      await Deno.writeTextFile(file, text, { mode: 0o600 });
      // The machine's own folder of state is left alone.
      return { command: ["env", `STATE_DIRECTORY=${files}`, ...program, "up", file] };
    },
  };
}

export function hex(base64: string): string {
  return Uint8Array.fromBase64(base64).toHex();
}
