/** Whoever has recorded all that a machine has sent when it joined. */

import assert from "node:assert/strict";
import { generatePrivateKey, publicKeyOf } from "../../../../proxy/base64.ts";
import { decodeToken, encodeToken } from "../../../../proxy/enrol/token.ts";
import { until } from "../../pair.ts";
import { HubLab } from "./hub_lab.ts";

/** Stands between a machine and a hub, and keeps what the machine sends. */
class Recorder implements Disposable {
  readonly recorded: Uint8Array[] = [];
  readonly #near = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  readonly #far = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  readonly #hub: Deno.NetAddr;
  #machine: Deno.Addr | undefined;

  constructor(port: number) {
    this.#hub = { transport: "udp", hostname: "127.0.0.1", port };
    this.#forward();
    this.#back();
  }

  get endpoint(): string {
    return `127.0.0.1:${(this.#near.addr as Deno.NetAddr).port}`;
  }

  async #forward(): Promise<void> {
    for await (const [bytes, from] of this.#near) {
      this.#machine = from;
      this.recorded.push(bytes.slice());
      await this.#far.send(bytes, this.#hub);
    }
  }

  async #back(): Promise<void> {
    for await (const [bytes] of this.#far) {
      if (this.#machine !== undefined) await this.#near.send(bytes, this.#machine);
    }
  }

  [Symbol.dispose](): void {
    this.#near.close();
    this.#far.close();
  }
}

Deno.test("all that a machine has sent, sent again: to the hub as it is, and started anew, nothing changes", async () => {
  const first = await HubLab.start();
  using recorder = new Recorder(first.gateway.port);
  const token = decodeToken(await first.invite("paris", "--subnet", "192.168.1.0/24"));
  const text = encodeToken({ ...token, endpoints: [recorder.endpoint] });
  await first.handIn(text, generatePrivateKey());
  const { recorded } = recorder;
  assert.ok(recorded.length >= 4, "a handshake, and a connection");

  const replay = async (hub: HubLab) => {
    const { device } = hub.gateway.engine;
    const peer = device.peer(publicKeyOf(token.privateKey))!;
    const before = { snapshot: hub.snapshot(), endpoint: `${peer.endpoint}` };
    let received = 0;
    const unobserve = hub.gateway.engine.observeDatagrams((direction) => {
      if (direction === "in") received++;
    });
    const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
    const heard: Uint8Array[] = [];
    const listening = (async () => {
      for await (const [bytes] of socket) heard.push(bytes);
    })();
    const { port } = hub.gateway;
    for (const bytes of recorded) {
      await socket.send(bytes, { transport: "udp", hostname: "127.0.0.1", port });
    }
    await until(() => received >= recorded.length, "the hub has had all of it");
    unobserve();
    socket.close();
    await listening.catch(() => {});
    assert.deepEqual(hub.snapshot(), before.snapshot);
    return { heard, moved: `${peer.endpoint}` !== before.endpoint };
  };
  assert.deepEqual(await replay(first), { heard: [], moved: false });
  // A hub that has just started does not know the timestamp: it answers, and whoever has no key gets
  // no further.
  await using again = await first.restart();
  await replay(again);
  await assert.rejects(
    again.handIn(text, generatePrivateKey(), 3_000),
    /used by another machine|no answer/,
  );
  assert.deepEqual(await again.statuses(), ["paris joined"]);
});
