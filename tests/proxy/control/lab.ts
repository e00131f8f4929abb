/**
 * A gateway with a control socket in a folder of its own, in this process.
 *
 * @module
 */

import {
  type ConfigInput,
  type GatewayConfig,
  loadConfig,
  type LoadedConfig,
} from "../../../proxy/config/config.ts";
import type { Texts } from "../../../proxy/config/read_file.ts";
import type { ControlTimeouts } from "../../../proxy/control/connection.ts";
import { controlHandlers } from "../../../proxy/control/handlers.ts";
import { ControlServer } from "../../../proxy/control/server.ts";
import { Gateway, type GatewayOptions } from "../../../proxy/gateway/gateway.ts";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";
import { startGateway } from "../start.ts";

export class ControlLab implements AsyncDisposable {
  readonly gateway: Gateway;
  readonly server: ControlServer;
  readonly directory: string;
  /** What the next reload reads. */
  next: ConfigInput | string;
  /** The last that the gateway has taken over, for what watches it. */
  applied: GatewayConfig | undefined;
  /** Instead of reading it, if it gives something or throws. */
  load: (texts: Texts | undefined) => LoadedConfig | undefined = () => undefined;

  private constructor(
    gateway: Gateway,
    server: ControlServer,
    directory: string,
    next: ConfigInput | string,
    box: { lab?: ControlLab },
  ) {
    this.gateway = gateway;
    this.server = server;
    this.directory = directory;
    this.next = next;
    box.lab = this;
  }

  static async start(
    config: ConfigInput | string = newConfig(),
    timeouts?: ControlTimeouts,
    file?: string,
    ffi?: boolean,
    options: GatewayOptions = {},
  ): Promise<ControlLab> {
    const directory = await Deno.makeTempDir();
    const started = loadConfig(config);
    const gateway = await startGateway(started.config, {
      ...(ffi !== undefined && { ffi }),
      ...options,
    });
    const box: { lab?: ControlLab } = {};
    // deno-lint-ignore require-await -- what is wrong with the text is a rejection
    const load = async (texts?: Texts) =>
      box.lab!.load(texts) ?? loadConfig(box.lab!.next, { file: "wg0.conf" });
    const applied = (config: GatewayConfig, isTrial = false) => {
      if (!isTrial) box.lab!.applied = config;
    };
    const handlers = {
      ...controlHandlers(gateway, { started, load, applied, ...(file && { file }) }),
      stop: () => void gateway.close(),
    };
    const server = await ControlServer.open(directory, "lab", handlers, timeouts);
    return new ControlLab(gateway, server, directory, config, box);
  }

  connect(): Promise<Deno.UnixConn> {
    return Deno.connect({ transport: "unix", path: this.server.path });
  }

  /** Sends `text`, and then nothing more. @returns everything that comes back. */
  async ask(text: string): Promise<string> {
    const conn = await this.connect();
    return await exchange(conn, new TextEncoder().encode(text));
  }

  /** `get=1`, as lines. */
  async get(): Promise<string[]> {
    return (await this.ask("get=1\n\n")).split("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.close();
    await this.gateway.close();
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** The answer to a reload that nothing was wrong with. */
export const RELOADED = /^(?:change=\S+\n)*errno=0\n\n$/;

export function newConfig(): ConfigInput {
  return {
    interface: { privateKey: encodeKey(generatePrivateKey()), address: "10.9.0.1/24" },
  };
}

/** Writes while it reads: an answer that is not taken would block the other side. */
export async function exchange(conn: Deno.Conn, bytes: Uint8Array): Promise<string> {
  const sent = (async () => {
    try {
      for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
      await conn.closeWrite();
    } catch { /* the other side has heard enough */ }
  })();
  let text = "";
  const buffer = new Uint8Array(65536);
  try {
    for (let length; (length = await conn.read(buffer)) !== null;) {
      text += new TextDecoder().decode(buffer.subarray(0, length));
    }
  } catch { /* reset: not all was read */ }
  await sent;
  conn.close();
  return text;
}

/** A public key in hex, of a number. */
export function hexKey(number: number): string {
  return number.toString(16).padStart(64, "0");
}
