/** A connection of TCP that is there, and carries nothing any more: no reset, no end, and no word. */

import assert from "node:assert/strict";
import { Lab, type Transport, until } from "./lab.ts";

/** Between a client and a hub, until it forwards nothing more. */
class Middle implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #conns: Deno.Conn[] = [];
  readonly #pumps: Promise<void>[] = [];
  #isDead = false;

  constructor(port: number) {
    this.#accept(port);
  }

  get port(): number {
    return (this.#listener.addr as Deno.NetAddr).port;
  }

  /** Both connections stay open, and are not read any more. */
  die(): void {
    this.#isDead = true;
  }

  async #accept(port: number): Promise<void> {
    for await (const near of this.#listener) {
      const far = await Deno.connect({ hostname: "127.0.0.1", port });
      this.#conns.push(near, far);
      this.#pumps.push(this.#pump(near, far), this.#pump(far, near));
    }
  }

  async #pump(from: Deno.Conn, to: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(16 << 10);
    try {
      for (let count; (count = await from.read(buffer)) !== null && !this.#isDead;) {
        for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
      }
    } catch { /* closed by the test */ }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#conns) {
      try {
        conn.close();
      } catch { /* by its other side */ }
    }
    await Promise.all(this.#pumps);
  }
}

/** How late this process was in all, which has others beside it: what it did not hear meanwhile counts for nobody. */
class Lateness implements Disposable {
  ms = 0;
  #last = performance.now();
  readonly #timer = setInterval(() => {
    const now = performance.now();
    this.ms += Math.max(0, now - this.#last - 100);
    this.#last = now;
  }, 100);

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** @returns how long both ends have taken to notice, less what this process was late, ms. */
async function noticed(transport: Transport): Promise<number> {
  await using lab = await Lab.start({ transport });
  await using middle = new Middle(lab.listener.port);
  const { endpoint } = await lab.client({}, { port: middle.port });
  const isAccepted = () => [...lab.hub.bind.accepted].some(({ isConnected }) => isConnected);
  endpoint.open();
  await until(() => endpoint.state === "open" && isAccepted());
  using late = new Lateness();
  middle.die();
  const started = performance.now();
  await until(() => endpoint.problem !== undefined && !isAccepted());
  const took = performance.now() - started - late.ms;
  assert.match(endpoint.problem!, /nothing was heard for 12 s/);
  endpoint.close();
  return took;
}

Deno.test("a connection of TCP that has fallen silent is given up within 15 s, at both ends, by TLS and gRPC", async () => {
  const took = await Promise.all([noticed("tls"), noticed("grpc")]);
  for (const ms of took) assert.ok(ms < 15_000, `${took}`);
});
