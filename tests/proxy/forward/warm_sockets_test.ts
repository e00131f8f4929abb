import assert from "node:assert/strict";
import { parseIpAddress } from "../../../proxy/address.ts";
import { Flow, FlowOwner } from "../../../proxy/flow/flow.ts";
import type { ByteStream } from "../../../proxy/flow/stream.ts";
import { NamedTargets } from "../../../proxy/forward/named_targets.ts";
import { hostAfter, hostTurn } from "../../../proxy/target/host.ts";
import { HostDialer } from "../../../proxy/target/tcp.ts";
import { readAll } from "../pair.ts";
import { until, within } from "../until.ts";
import { admission, map } from "./lab.ts";

const ip = (text: string) => parseIpAddress(text)!;

Deno.test("a connection that its target has closed, though nobody knows yet, is given to no flow", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const admitted = admission({
    maps: [map("10.50.0.1/32", "127.0.0.1/32")],
    rules: {
      rules: [{
        from: [],
        to: [],
        ports: [],
        action: "allow",
        rewrite: { to: map("127.0.0.1/32", "127.0.0.1/32").to, port },
        sendProxyProtocol: "v1",
        warmConnections: 1,
      }],
      defaultAction: "allow",
    },
  });
  const targets = new NamedTargets({
    admission: admitted,
    dialer: new HostDialer(),
    source: { questions: ["any"], staleMs: 0, ask: () => Promise.reject(new Error("none")) },
    now: () => performance.now(),
    after: hostAfter,
    turn: hostTurn,
  });
  targets.setRules(admitted.rules);
  const accepted = (what: string): Promise<Deno.Conn> => within(listener.accept(), what);
  const connect = async (closeFirst?: Deno.Conn) => {
    const flow = new Flow(
      "tcp",
      new FlowOwner(() => "laptop"),
      ip("10.9.0.2"),
      4_000,
      ip("10.50.0.1"),
      80,
      0,
    );
    assert.equal(admitted.admit(flow, 0), undefined);
    closeFirst?.close(); // the event loop has no turn in between
    const { promise, resolve } = Promise.withResolvers<ByteStream>();
    targets.dialFlow(flow, { connected: resolve, dialFailed: assert.fail });
    return await within(promise, "the flow has its connection");
  };
  try {
    let ready = await accepted("the first that is ready");
    // Ten times, for it is a race that is to be won always.
    for (let i = 0; i < 10; i++) {
      await until(
        () => targets.warm.counters.opened > targets.warm.counters.used,
        `connection ${i} is ready`,
      );
      const stream = await connect(ready);
      // Another that is ready, and the flow's own: who sends is the flow's.
      const conns = [
        await accepted(`one of two after flow ${i}`),
        await accepted(`the other after flow ${i}`),
      ];
      stream.end();
      const read = conns.map(async (conn, i) =>
        [i, new TextDecoder().decode(await readAll(conn))] as const
      );
      const [index, line] = await within(Promise.race(read), `the line of flow ${i}`);
      assert.equal(line, "PROXY TCP4 10.9.0.2 10.50.0.1 4000 80\r\n");
      stream.reset();
      conns[index]!.close();
      ready = conns[1 - index]!;
    }
    ready.close();
  } finally {
    targets.close();
    listener.close();
  }
});
