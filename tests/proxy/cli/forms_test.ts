/** Gateways that run with a configuration in each form, and are reloaded. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { ConfigInput } from "../../../proxy/config/config.ts";
import { findField, type Section } from "../../../proxy/config/keys.ts";
import { VARIABLE_NAMES } from "../../../proxy/config/variables.ts";
import { variables, written } from "../config/forms.ts";
import { MadeAuthority } from "../bind/certificates/made.ts";
import { runHere } from "./run_here.ts";

const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PEER = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const OTHER = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
const PSK = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=";
const MAIN = fileURLToPath(new URL("../../../main.ts", import.meta.url));
const ignore = Deno.build.os === "windows";

class Running implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #folder: string;
  readonly #drained: Promise<void>;
  log = "";

  private constructor(child: Deno.ChildProcess, folder: string) {
    this.#child = child;
    this.#folder = folder;
    this.#drained = this.#drain();
  }

  static async start(
    folder: string,
    args: readonly string[],
    environment: Record<string, string> = {},
    permissions: readonly string[] = [],
  ): Promise<Running> {
    await Deno.mkdir(`${folder}/control`, { recursive: true, mode: 0o700 });
    const running = new Running(
      new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "--quiet", "--no-prompt", "--no-check", "--unstable-net", "--allow-net"],
          ...["--allow-read", `--allow-write=/,${folder}/control`, "--allow-sys=systemMemoryInfo"],
          `--allow-env=${[...VARIABLE_NAMES, "STATE_DIRECTORY"].join(",")}`,
          ...[...permissions, MAIN, "up", ...args, "--name", "site"],
          ...["--control-dir", `${folder}/control`],
        ],
        cwd: folder,
        env: { NO_COLOR: "1", STATE_DIRECTORY: `${folder}/control/state`, ...environment },
        stdout: "null",
        stderr: "piped",
      }).spawn(),
      folder,
    );
    await running.logged("control socket");
    return running;
  }

  async logged(text: string): Promise<void> {
    for (let tries = 0; !this.log.includes(text); tries++) {
      assert.ok(tries < 3000, `no "${text}" in ${this.log}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async ask(...args: string[]) {
    return await runHere([...args, "--control-dir", `${this.#folder}/control`]);
  }

  async #drain(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.log += text;
    }
    this.log += "(ended) control socket"; // nobody waits for more
  }

  async [Symbol.asyncDispose]() {
    try {
      this.#child.kill("SIGTERM");
    } catch { /* it has ended */ }
    await this.#child.status;
    await this.#drained;
  }
}

async function temporary(files: Record<string, string>) {
  const path = await Deno.realPath(await Deno.makeTempDir());
  const write = async (name: string, text: string) => {
    await Deno.mkdir(`${path}/${name}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeTextFile(`${path}/${name}.new`, text, { mode: 0o600 });
    await Deno.rename(`${path}/${name}.new`, `${path}/${name}`); // as editors do
  };
  for (const [name, text] of Object.entries(files)) await write(name, text);
  return { path, write, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

const INPUT: ConfigInput = {
  interface: { privateKey: PRIVATE, address: ["10.9.0.1/24", "fd09::1/64"], mtu: 1400 },
  peers: [
    { publicKey: PEER, name: "a laptop", presharedKey: PSK, allowedIps: ["10.9.0.2/32"] },
    { publicKey: OTHER, endpoint: "127.0.0.1:9", allowedIps: ["10.9.0.3/32", "fd09::3/128"] },
  ],
  rules: [
    { from: ["a laptop"], ports: ["tcp/80", "tcp/443"] },
    { action: "reject", to: ["10.50.3.0/24"] },
  ],
  links: [
    { name: "radio", listen: "udp:127.0.0.1:0", prefixes: ["10.60.0.0/24"], mtu: 1300 },
    { name: "a phone", listen: "unix:phone.sock", framing: "length32" },
  ],
  proxy: { subnets: ["10.50.0.0/16"], map: ["10.50.0.1 -> 127.0.0.1"], udpIdleTimeout: 1.5 },
  relay: {
    listen: ["tls:127.0.0.1:0", "grpc:127.0.0.1:0"],
    cert: "hub.pem",
    key: "hub.key",
    clientCa: "ca.pem",
    allowedClients: ["a-laptop"],
  },
  status: { listen: "127.0.0.1:0", allowedHosts: ["gateway.example.com"], maxPeers: 7 },
  capture: { write: "capture.pcapng", at: ["nic1", "outer"], filter: "tcp and port 80", snap: 96 },
  log: { level: "debug", format: "json", access: "access.log", accessProtocols: ["tcp", "icmp"] },
};

/** What is in the files that it names. */
async function certificates(): Promise<Record<string, string>> {
  const authority = await MadeAuthority.make();
  const { cert, key } = await authority.leaf({ name: "hub", usage: "serverAuth", hosts: ["hub"] });
  return { "ca.pem": authority.cert, "hub.pem": cert, "hub.key": key };
}

/** The flags that say it; secrets are in files. */
function flags(input: ConfigInput): string[] {
  const files: Record<string, string> = { privateKey: "key", presharedKey: "psk" };
  const of = (section: Section, values: object) =>
    Object.entries(values).flatMap(([field, value]) => [
      `--${findField(section, field)!.flag}`,
      files[field] ?? String(value),
    ]);
  return [
    ...of("interface", input.interface!),
    ...input.peers!.flatMap((peer) => of("peers", peer)),
    ...input.rules!.flatMap(({ action = "allow", ...rule }) => of("rules", { action, ...rule })),
    ...input.links!.flatMap((link) => of("links", link)),
    ...(["proxy", "relay", "status", "capture", "log"] as const).flatMap((section) =>
      of(section, input[section]!)
    ),
  ];
}

Deno.test(
  "a gateway shows the same from a wg-quick file, YAML, JSON, .env, the environment and flags alone",
  { ignore },
  async () => {
    await using folder = await temporary({
      ...{ key: PRIVATE, psk: PSK },
      ...await certificates(),
      ...written(INPUT),
    });
    const shown: Record<string, unknown> = {};
    const show = async (
      name: string,
      args: string[],
      environment: Record<string, string> = {},
    ) => {
      await using running = await Running.start(folder.path, args, environment);
      const { status, out, error } = await running.ask("show", "site", "--json");
      assert.deepEqual([status, error], [0, ""], running.log);
      const { gateway, ...rest } = JSON.parse(out, (key, value) => {
        if (key === "place") return value.replace(/:\d+$/, ""); // a link's, of any free port
        return VOLATILE.has(key) ? undefined : value;
      });
      // What show does not tell of.
      const opened = running.log.matchAll(/"event":"(\w+-(?:open(?:ed)?|listening|begun))"/g);
      const captured = await Deno.stat(`${folder.path}/capture.pcapng`);
      await Deno.remove(`${folder.path}/capture.pcapng`);
      await Deno.remove(`${folder.path}/access.log`);
      shown[name] = {
        ...rest,
        gateway,
        opened: Array.from(opened, ([, event]) => event).sort(),
        isCaptured: captured.size > 0,
      };
    };
    for (const name of Object.keys(written(INPUT))) await show(name, [name]);
    await show("environment", [], Object.fromEntries(variables(INPUT)));
    await show("flags", flags(INPUT));
    const { "wg0.conf": first, ...others } = shown as Record<string, Shown>;
    assert.equal(first!.peers.length, 2);
    assert.deepEqual(first!.gateway.links.map(({ name }) => name), ["radio", "a phone"]);
    assert.deepEqual(first!.opened, OPENED);
    for (const [name, other] of Object.entries(others)) assert.deepEqual(other, first, name);
  },
);

interface Shown {
  readonly peers: readonly unknown[];
  readonly gateway: { readonly links: readonly { readonly name: string }[] };
  readonly opened: readonly string[];
}

/** The capture, two links, two listeners of the relay, and the status. */
const OPENED = [
  ...["capture-begun", "control-open"],
  ...["link-opened", "link-opened"],
  ...["relay-listening", "relay-listening"],
  "status-open",
];

/** Of the run, not of the configuration. */
const VOLATILE = new Set([
  ...[
    "listenPort",
    "port",
    "configFile",
    "startedAt",
    "uptime",
    "uptimeMs",
    "memory",
    "transportSince",
    "turns",
    "timeouts", // of the engine's turns
  ],
]);

Deno.test(
  "a confined gateway reads again what its configuration names, with a file replaced, one added and one removed",
  { ignore: Deno.build.os !== "linux" },
  async () => {
    // Beside the configuration's own folder, which a confined gateway may read as a whole.
    await using folder = await temporary({
      "etc/wg0.yaml": `include: ../peers/*.conf\ninterface:\n  privateKeyFile: ../keys/own\n` +
        `peers:\n  - name: laptop\n    publicKey: ${PEER}\n    presharedKeyFile: ../keys/psk\n`,
      "keys/own": PRIVATE,
      "keys/psk": PSK,
      "peers/a.conf": `[Peer]\nName = a\nPublicKey = ${OTHER}\nAllowedIPs = 10.9.0.3/32\n`,
    });
    await using running = await Running.start(folder.path, ["etc/wg0.yaml"], {}, ["--allow-ffi"]);
    await running.logged("confined: ");
    const names = async () =>
      JSON.parse((await running.ask("show", "site", "--json")).out).peers
        .map((peer: { name: string }) => peer.name).sort();
    assert.deepEqual(await names(), ["a", "laptop"], running.log);
    assert.match((await running.ask("reload", "site")).out, /nothing has changed/);

    await folder.write("keys/psk", OTHER);
    await folder.write("peers/b.conf", `[Peer]\nName = b\nPublicKey = ${PSK}\n`);
    await Deno.remove(`${folder.path}/peers/a.conf`);
    const { status, out, error } = await running.ask("reload", "site");
    assert.deepEqual([status, error.replaceAll(/^warning: .*\n/gm, "")], [0, ""], running.log);
    assert.deepEqual(await names(), ["b", "laptop"], out);

    await folder.write("keys/psk", "x");
    const wrong = await running.ask("reload", "site");
    assert.equal(wrong.status, 2);
    assert.match(wrong.error, /^etc\/wg0\.yaml:7: peers\[0\]\.presharedKeyFile: .*: not a key: /m);
  },
);
