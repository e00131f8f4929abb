/**
 * A hub with a device of the system, which root has started and which is nobody by the time when machines
 * join it, and a host with a machine: `wirestack hub --tun`.
 *
 * @module
 */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey } from "../../mod.ts";
import { daysFromNow, keysOf, MadeAuthority } from "../proxy/bind/certificates/made.ts";
import type { Host, Lab } from "./lab.ts";
import type { Output, Process } from "./process.ts";
import { TunnelHost } from "./tunnel_host.ts";

export const HUB = "203.0.113.2";
const PORT = 51820;

export class EnrolmentSite {
  readonly hub: TunnelHost;
  readonly machine: TunnelHost;
  /** Where the machine is. */
  readonly site: Host;
  /** Of the hub's state. */
  readonly state: string;
  readonly #directory: string;
  readonly #authority: MadeAuthority;

  private constructor(
    hub: TunnelHost,
    machine: TunnelHost,
    site: Host,
    directory: string,
    authority: MadeAuthority,
  ) {
    this.hub = hub;
    this.machine = machine;
    this.site = site;
    this.state = `${directory}/hub/state`;
    this.#directory = directory;
    this.#authority = authority;
  }

  /** @param listen Of `[Relay]`. */
  static async create(lab: Lab, listen: string): Promise<EnrolmentSite> {
    const [host, site] = [await lab.host("hub"), await lab.host("site")];
    await lab.connect(
      { host, device: "wan", addresses: [`${HUB}/24`] },
      { host: site, device: "wan", addresses: ["203.0.113.3/24"] },
    );
    const hub = await TunnelHost.create(host, `${lab.directory}/hub`);
    const machine = await TunnelHost.create(site, `${lab.directory}/site`);
    const authority = await MadeAuthority.make();
    const { cert, key } = await authority.leaf({ name: "hub", usage: "serverAuth", hosts: [HUB] });
    const folder = `${lab.directory}/hub/certs`;
    await Deno.mkdir(folder, { mode: 0o700 });
    const write = async (name: string, text: string) => {
      await Deno.writeTextFile(`${folder}/${name}`, text, { mode: 0o600 });
      return `${folder}/${name}`;
    };
    await Deno.writeTextFile(
      hub.file,
      [
        "[Interface]",
        `PrivateKey = ${encodeKey(generatePrivateKey())}`,
        "Address = 10.9.0.1/24",
        `ListenPort = ${PORT}`,
        "[Relay]",
        `Listen = ${listen}`,
        `Cert = ${await write("cert.pem", cert)}`,
        `Key = ${await write("key.pem", key)}`,
        `ClientCa = ${await write("ca.pem", authority.cert)}`,
        `ClientCaKey = ${await write("ca.key", await authority.key())}`,
        "",
      ].join("\n"),
      { mode: 0o600 },
    );
    return new EnrolmentSite(hub, machine, site, lab.directory, authority);
  }

  /** Starts the hub. */
  async start(): Promise<Process> {
    const process = await this.hub.start(["hub", "--tun", this.hub.file], {
      env: { STATE_DIRECTORY: this.state },
    });
    await process.line(/user nobody .* CAP_NET_ADMIN alone/);
    await process.line(/control socket/);
    return process;
  }

  /** A command that asks the hub. */
  async ask(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.hub.wirestack(...args);
    assert.equal(code, 0, stderr);
    return stdout;
  }

  /** @returns the token of a client. */
  async invite(name: string): Promise<string> {
    const text = await this.ask("invite", name, "--endpoint", `${HUB}:${PORT}`, "--client");
    return text.trimEnd().split("\n").at(-1)!;
  }

  join(token: string, name: string): Promise<Output> {
    return this.machine.wirestack(
      ...["join", token, "--no-run", "--out", this.configuration(name)],
    );
  }

  /** Gives a machine that has joined a certificate that is nearly over. */
  async age(name: string): Promise<void> {
    await age(this.#authority, this.configuration(name).replace(/\.conf$/, ""));
  }

  /** Of a machine that has joined. */
  configuration(name: string): string {
    return `${this.#directory}/site/${name}.conf`;
  }
}

/**
 * Puts a certificate that is nearly over in the place of a machine's.
 *
 * @param stem Of its files.
 */
export async function age(authority: MadeAuthority, stem: string): Promise<void> {
  const keys = await keysOf(await Deno.readTextFile(`${stem}.key.pem`));
  const { cert } = await authority.leaf({ keys, notBefore: daysFromNow(-30) });
  await Deno.writeTextFile(`${stem}.cert.pem`, cert);
}
