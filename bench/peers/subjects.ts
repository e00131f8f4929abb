/**
 * The gateways that are compared: how each is built, how it is started, and where the client finds
 * the service behind it.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { output } from "../../tests/e2e/process.ts";
import { buildGo, buildOurs, buildRust } from "./build.ts";
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

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));

/** How a gateway is started. */
export interface Start {
  readonly command: string[];
  /** All of its standard input. */
  readonly input?: string;
}

export interface Subject {
  readonly name: string;
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
  readonly lacks: { readonly udp?: string };
  /**
   * Builds it.
   *
   * @returns how to start it, with files of its own in the topology's directory
   * @throws when it cannot be built: then it is left out, with this reason
   */
  build(): Promise<(topology: Topology) => Promise<Start>>;
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
      return ({ gatewayKeys, clientKeys }) =>
        Promise.resolve({
          command: [
            `${directory}/newt`,
            ...["-address", GATEWAY_IN_TUNNEL, "-sources", `${CLIENT_IN_TUNNEL}/32`],
            ...["-targets", SITE_NETWORK],
          ],
          input: [
            `private_key=${hex(gatewayKeys.privateKey)}`,
            `listen_port=${TUNNEL_PORT}`,
            `public_key=${hex(clientKeys.publicKey)}`,
            `allowed_ip=${CLIENT_IN_TUNNEL}/32`,
            "",
          ].join("\n"),
        });
    },
  },
  {
    ...FORWARDS,
    name: "wirestack",
    build: () => wirestack({ ffi: true }),
  },
  {
    ...FORWARDS,
    name: "wirestack-noffi",
    build: () => wirestack({ ffi: false }),
  },
  {
    ...FORWARDS,
    name: "wireproxy",
    how: "a [TCPServerTunnel] at its address in the tunnel, with one target; no UDP",
    target: `${GATEWAY_IN_TUNNEL}:${SERVICE_PORT}`,
    lacks: { udp: "it forwards no UDP from the tunnel" },
    async build() {
      const directory = await buildGo(WIREPROXY.program, WIREPROXY.version);
      return async ({ directory: files, gatewayKeys, clientKeys }) => {
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
    },
  },
  {
    name: "onetun",
    how: "roles reversed: it forwards its own port into the tunnel, so the site connects and the " +
      "tunnel's client serves; down is what it sends into the tunnel, as for the others",
    target: `${GATEWAY_AT_SITE}:${SERVICE_PORT}`,
    listens: { network: "tcp", port: SERVICE_PORT },
    reversed: true,
    lacks: {},
    async build() {
      const directory = await buildRust(ONETUN.crate, ONETUN.version);
      return async ({ directory: files, gatewayKeys, clientKeys }) => {
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
    },
  },
];

/** From this checkout, by this Deno, with the permissions that the task grants. */
async function wirestack({ ffi }: { ffi: boolean }): ReturnType<Subject["build"]> {
  const { tasks } = JSON.parse(await Deno.readTextFile(`${REPOSITORY}/deno.json`));
  const task = ffi && "start:ffi" in tasks ? tasks["start:ffi"] : tasks.start;
  const program: string[] = task.command.split(" ").map((word: string) =>
    word === "deno" ? Deno.execPath() : word.replace(/^main\.ts$/, `${REPOSITORY}main.ts`)
  );
  // Modules are compiled and cached here, before anything is timed.
  const help = await output([...program, "up", "--help"], { cwd: REPOSITORY });
  if (ffi && !/^ +--ffi\b/m.test(help)) {
    throw new Error("`wirestack up` has no --ffi: the same as wirestack-noffi");
  }
  return async ({ directory, gatewayKeys, clientKeys }) => {
    const file = `${directory}/wirestack.conf`;
    const text = [
      ...["[Interface]", `PrivateKey = ${gatewayKeys.privateKey}`],
      ...[`Address = ${GATEWAY_IN_TUNNEL}/24`, `ListenPort = ${TUNNEL_PORT}`],
      ...["[Peer]", `PublicKey = ${clientKeys.publicKey}`],
      ...[`AllowedIPs = ${CLIENT_IN_TUNNEL}/32`],
      ...["[Proxy]", `Subnets = ${SITE_NETWORK}`, ""],
    ].join("\n");
    await Deno.writeTextFile(file, text, { mode: 0o600 });
    return { command: [...program, "up", ...(ffi ? ["--ffi"] : []), file] };
  };
}

function hex(base64: string): string {
  return Uint8Array.fromBase64(base64).toHex();
}
