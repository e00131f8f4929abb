/**
 * A gateway with a control socket and a client, on loopback, and targets behind the gateway.
 *
 * @module
 */

import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import type { Wirestack } from "../../../proxy/embed/wirestack.ts";
import { ControlLab } from "../control/lab.ts";
import { pattern, readAll, SITE, writeAll } from "../pair.ts";
import { startWirestack } from "../start.ts";

export class LiveLab implements AsyncDisposable {
  readonly control: ControlLab;
  readonly client: Wirestack;
  /** Of this host, which peers reach at {@link SITE}. Sends back what it gets, to its end. */
  readonly echoPort: number;
  readonly #listener: Deno.Listener<Deno.TcpConn>;

  static async start(): Promise<LiveLab> {
    const [gatewayKey, clientKey] = [generatePrivateKey(), generatePrivateKey()];
    const control = await ControlLab.start({
      interface: { privateKey: encodeKey(gatewayKey), address: "10.9.0.1/24" },
      peers: [{
        name: "laptop",
        publicKey: encodeKey(publicKeyOf(clientKey)),
        allowedIps: "10.9.0.2/32",
      }],
      proxy: { subnets: ["10.50.0.0/16"], map: [`${SITE}/32 -> 127.0.0.1/32`] },
    });
    const client = await startWirestack({
      interface: { privateKey: encodeKey(clientKey), address: "10.9.0.2/24" },
      peers: [{
        publicKey: encodeKey(publicKeyOf(gatewayKey)),
        allowedIps: "0.0.0.0/0",
        endpoint: `127.0.0.1:${control.gateway.port}`,
      }],
    });
    return new LiveLab(control, client);
  }

  private constructor(control: ControlLab, client: Wirestack) {
    this.control = control;
    this.client = client;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.echoPort = (this.#listener.addr as Deno.NetAddr).port;
    this.#echo();
  }

  /** Sends so many bytes there and back, and checks them. */
  async transfer(bytes: number): Promise<void> {
    using conn = await this.client.connect({ hostname: SITE, port: this.echoPort });
    const sent = pattern(bytes);
    const back = readAll(conn);
    await writeAll(conn, sent);
    await conn.closeWrite();
    const received = await back;
    if (received.length !== bytes || !received.every((byte, i) => byte === sent[i])) {
      throw new Error(`${received.length} of ${bytes} bytes, or wrong ones, came back`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.client.close({ graceMs: 0 });
    await this.control[Symbol.asyncDispose]();
  }

  async #echo(): Promise<void> {
    for await (const conn of this.#listener) {
      conn.readable.pipeTo(conn.writable).catch(() => {});
    }
  }
}
