/**
 * A hub with a control socket and a folder for its state, and machines that join it, in this process.
 *
 * @module
 */

import assert from "node:assert/strict";
import { publicKeyOf } from "../../../../proxy/base64.ts";
import { requestGrant } from "../../../../proxy/cli/join/ask.ts";
import type { Grant } from "../../../../proxy/enrol/message.ts";
import { decodeToken } from "../../../../proxy/enrol/token.ts";
import type { Gateway } from "../../../../proxy/gateway/gateway.ts";
import { encodeKey, generatePrivateKey } from "../../../../proxy/base64.ts";
import { ControlLab } from "../../control/lab.ts";
import { type Result, runHere } from "../run_here.ts";
import { ownUdpPort } from "../../own_port.ts";
import { until } from "../../until.ts";

/**
 * What a hub takes of one peer: a handshake every 20 ms, and timestamps in steps of 17. Who comes sooner
 * has to try again after five seconds.
 */
const APART_MS = 50;

export interface HubLabOptions {
  /** Lines of [Interface], beside the key. */
  readonly lines?: string;
  /** Whole sections. */
  readonly sections?: string;
  readonly privateKey?: string;
  readonly state?: string;
  /** Of WireGuard. */
  readonly port?: number;
}

export class HubLab implements AsyncDisposable {
  readonly control: ControlLab;
  /** Of its state. */
  readonly state: string;
  /** Where machines put their files. */
  readonly folder: string;
  readonly privateKey: string;
  /** Added to the hub's clock, ms. */
  readonly clock: { ahead: number };
  /** The one whose files it has taken over: its folders go with this one's. */
  #before: HubLab | undefined;
  #lastTry = -Infinity;

  private constructor(
    control: ControlLab,
    state: string,
    privateKey: string,
    clock: { ahead: number },
  ) {
    this.control = control;
    this.state = state;
    this.privateKey = privateKey;
    this.clock = clock;
    this.folder = Deno.makeTempDirSync();
  }

  static async start(options: HubLabOptions = {}): Promise<HubLab> {
    const state = options.state ?? Deno.makeTempDirSync();
    const privateKey = options.privateKey ?? encodeKey(generatePrivateKey());
    const clock = { ahead: 0 };
    const text =
      `[Interface]\nPrivateKey = ${privateKey}\nListenPort = ${options.port ?? ownUdpPort()}\n` +
      `PeerToPeer = true\n${options.lines ?? "Address = 10.9.0.1/24"}\n${options.sections ?? ""}`;
    const control = await ControlLab.start(text, undefined, undefined, undefined, {
      stateDirectories: [state],
      wallClock: () => Date.now() + clock.ahead,
    });
    return new HubLab(control, state, privateKey, clock);
  }

  get gateway(): Gateway {
    return this.control.gateway;
  }

  get endpoint(): string {
    return `127.0.0.1:${this.gateway.port}`;
  }

  /** A command that asks the hub. */
  ask(...args: string[]): Promise<Result> {
    return runHere([...args, "--control-dir", this.control.directory]);
  }

  /** @returns the token. */
  async invite(name: string, ...args: string[]): Promise<string> {
    const what = args.length > 0 ? args : ["--client"];
    const { status, out, error } = await this.ask(
      ...["invite", name, "--endpoint", this.endpoint, ...what],
    );
    assert.equal(status, 0, error);
    const token = out.trimEnd().split("\n").at(-1)!;
    assert.match(token, /^wsk[12][\w-]+$/);
    return token;
  }

  /** Without running what has joined. */
  join(token: string, out: string, ...args: string[]): Promise<Result> {
    const command = ["join", "-", "--no-run", "--out", `${this.folder}/${out}`, ...args];
    return this.#apart(() => runHere(command, token));
  }

  /** Hands a key in as a machine does. */
  handIn(token: string, privateKey: Uint8Array, limitMs?: number): Promise<Grant> {
    const request = { publicKey: publicKeyOf(privateKey) };
    const options = limitMs === undefined ? {} : { limitMs };
    return this.#apart(() => requestGrant(decodeToken(token), request, options));
  }

  /** Tries of one token one after the other are not so close that the second is not heard. */
  async #apart<T>(attempt: () => Promise<T>): Promise<T> {
    await until(() => performance.now() - this.#lastTry > APART_MS, "some time has passed");
    try {
      return await attempt();
    } finally {
      this.#lastTry = performance.now();
    }
  }

  /** `name status`, by name. */
  async statuses(): Promise<string[]> {
    const { out } = await this.ask("invites", "--json");
    const members = JSON.parse(out) as { name: string; status: string }[];
    return members.map(({ name, status }) => `${name} ${status}`).sort();
  }

  /** All that a try is not to change: the hub's state, its peers, files of machines. */
  snapshot(): unknown {
    const { engine, peers, peerSources } = this.gateway;
    return {
      state: readFolder(this.state, /^enrolled-.*/),
      peers: Array.from(engine.device.peers(), (peer) =>
        [
          peer.publicKey.toHex(),
          peer.name,
          peerSources.origin(peer),
          ...peers.allowedIps(peer).map(String),
        ].join(" ")).sort(),
      files: readFolder(this.folder, /./),
    };
  }

  /** As when it is killed: the same hub again, from its files. @param options What its own was made of. */
  async restart(options: HubLabOptions = {}): Promise<HubLab> {
    const { port } = this.gateway;
    this.control.server.close();
    await this.gateway.close();
    const { state, privateKey } = this;
    const again = await HubLab.start({ ...options, state, privateKey, port });
    again.#before = this;
    return again;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.control[Symbol.asyncDispose]().catch(() => {});
    await this.#before?.[Symbol.asyncDispose]();
    for (const folder of [this.state, this.folder]) {
      try {
        Deno.removeSync(folder, { recursive: true });
      } catch { /* a hub that came after this one had it */ }
    }
  }
}

function readFolder(path: string, pattern: RegExp): Record<string, string> {
  const files = [...Deno.readDirSync(path)].filter(({ name, isFile }) =>
    isFile && pattern.test(name)
  );
  return Object.fromEntries(
    files.map(({ name }) => [name, Deno.readTextFileSync(`${path}/${name}`)] as const).sort(),
  );
}
