import assert from "node:assert/strict";
import type { TcpForwarderRequest, TcpRejection } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { loadConfig, type ProxyInput, type ProxyLimits } from "../../../proxy/config/config.ts";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";
import { DEFAULT_LIMITS, DEFAULT_TIMEOUTS } from "../../../proxy/forward/subnet_proxy.ts";
import { TargetPolicy } from "../../../proxy/flow/safe_targets.ts";
import { TcpForwarder } from "../../../proxy/forward/tcp_forwarder.ts";
import { parsePrefix } from "../../../proxy/address.ts";
import { until } from "../pair.ts";

const ip = (text: string) => parseIpAddress(text)!;

const SHARERS = [{}, {}];

/** A forwarder whose clock stands still, and requests that note how they are answered. */
function forwarder(limits: Partial<ProxyLimits> = { maxTcpConnections: 3 }) {
  let now = 0;
  const from = parsePrefix("10.50.0.0/24")!;
  const forwarder = new TcpForwarder({
    policy: new TargetPolicy([{ from, to: parsePrefix("127.0.0.0/24")! }]),
    isProxied: () => true,
    // A peer for each /24 of clients.
    sharerOf: ({ bytes }) => SHARERS[bytes[2]!],
    settings: { timeouts: DEFAULT_TIMEOUTS, limits: { ...DEFAULT_LIMITS, ...limits } },
    now: () => now,
    wake() {},
  });
  const request = (target: string, targetPort: number, client = "10.9.0.2") => {
    const answers: (TcpRejection | "accept")[] = [];
    const request = {
      client: ip(client),
      clientPort: 40_000,
      target: ip(target),
      targetPort,
      ingress: undefined as never,
      from: undefined,
      onAborted: undefined as (() => void) | undefined,
      accept: () => void answers.push("accept"), // the client has given up in between
      reject: (how: TcpRejection) => void answers.push(how),
    } satisfies TcpForwarderRequest;
    forwarder.request(request);
    return { answers, request };
  };
  return { forwarder, request, setNow: (ms: number) => now = ms };
}

/** A listener that nobody accepts from: its queue of connections is full, it answers no SYN. */
async function silentPort(): Promise<{ port: number } & Disposable> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
  const { port } = listener.addr;
  const queued: Deno.Conn[] = [];
  for (;;) {
    try {
      const signal = AbortSignal.timeout(100);
      queued.push(await Deno.connect({ hostname: "127.0.0.1", port, signal }));
    } catch {
      break;
    }
  }
  return {
    port,
    [Symbol.dispose]() {
      for (const conn of queued) conn.close();
      listener.close();
    },
  };
}

Deno.test("a client that gives up ends the dial, and gets no answer", async () => {
  using silent = await silentPort();
  const { forwarder: tcp, request } = forwarder();
  const { answers, request: pending } = request("10.50.0.1", silent.port);
  assert.equal(tcp.dials, 1);
  pending.onAborted!();
  assert.deepEqual([tcp.dials, tcp.size, tcp.pollTimeout()], [0, 0, Infinity]);
  assert.equal(tcp.counters.abandoned, 1);
  assert.deepEqual(answers, []);
});

Deno.test("a client that gave up when the target answers: the target is reset", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { forwarder: tcp, request } = forwarder();
  const { answers } = request("10.50.0.1", listener.addr.port);
  using served = await listener.accept();
  await assert.rejects(served.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
  assert.deepEqual(answers, ["accept"]);
  assert.deepEqual([tcp.dials, tcp.size], [0, 0]);
  listener.close();
});

Deno.test("a dial ends at its limit of 5 s, with host unreachable", async () => {
  using silent = await silentPort();
  const { forwarder: tcp, request } = forwarder();
  const { answers } = request("10.50.0.1", silent.port);
  assert.equal(tcp.pollTimeout(), 5000);
  tcp.handleTimeout(4999);
  assert.deepEqual(answers, []);
  tcp.handleTimeout(5000);
  assert.deepEqual(answers, ["host"]);
  assert.deepEqual([tcp.dials, tcp.size, tcp.pollTimeout()], [0, 0, Infinity]);
  assert.equal(tcp.counters.timedOut, 1);
});

Deno.test("more connections than allowed are refused", async () => {
  using silent = await silentPort();
  const { forwarder: tcp, request } = forwarder();
  for (let i = 0; i < 3; i++) request("10.50.0.1", silent.port);
  assert.deepEqual(request("10.50.0.1", silent.port).answers, ["reset"]);
  assert.equal(tcp.counters.tooManyConnections, 1);
  tcp.abort();
  assert.deepEqual([tcp.dials, tcp.size], [0, 0]);
});

Deno.test("one peer's dials leave half of what may be in flight to the others", async () => {
  using silent = await silentPort();
  const { forwarder: tcp, request } = forwarder({ maxDials: 4 });
  const ask = (client: string) => request("10.50.0.1", silent.port, client);
  ask("10.9.0.2");
  const { request: given } = ask("10.9.0.3");
  assert.deepEqual(ask("10.9.0.4").answers, ["drop"]);
  assert.deepEqual(ask("10.9.1.2").answers, []);
  given.onAborted!();
  assert.deepEqual(ask("10.9.0.4").answers, []); // what ended does not count
  assert.deepEqual([tcp.dials, tcp.counters.tooManyDials], [3, 1]);
  tcp.abort();
  assert.deepEqual([tcp.dials, tcp.size], [0, 0]);
});

Deno.test("the runtime's inspector on a mapped loopback is refused", () => {
  const { forwarder: { counters }, request } = forwarder();
  assert.deepEqual(request("10.50.0.1", 9229).answers, ["reset"]);
  assert.equal(counters.forbidden, 1);
});

Deno.test("once it is closing it refuses", async () => {
  const { forwarder: tcp, request } = forwarder();
  tcp.close();
  assert.deepEqual(request("10.50.0.1", 80).answers, ["reset"]);
  assert.equal(tcp.counters.closing, 1);
  await until(() => tcp.size === 0, "nothing is left");
});

Deno.test("a proxy that is switched on later has the limits that the file has by default", () => {
  const privateKey = encodeKey(generatePrivateKey());
  const proxy: ProxyInput = { subnets: "10.50.0.0/16" };
  const { config } = loadConfig({ interface: { privateKey }, proxy });
  assert.deepEqual(config.proxy!.timeouts, DEFAULT_TIMEOUTS);
  assert.deepEqual(config.proxy!.limits, DEFAULT_LIMITS);
});
