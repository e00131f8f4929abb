import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import type { ConfigInput } from "../../../proxy/config/config.ts";
import { ControlServer } from "../../../proxy/control/server.ts";
import type { ControlHandlers } from "../../../proxy/control/operations.ts";
import type { Wirestack } from "../../../proxy/embed/wirestack.ts";
import { Flow, FlowOwner } from "../../../proxy/flow/flow.ts";
import type { FlowStats } from "../../../proxy/gateway/flow_stats.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { runHere } from "../cli/run_here.ts";
import { pattern, SITE, until, writeAll } from "../pair.ts";
import { startWirestack } from "../start.ts";
import { UdpPath } from "../udp_path.ts";
import { ControlLab, exchange } from "./lab.ts";

interface FlowsLab extends AsyncDisposable {
  readonly lab: ControlLab;
  readonly client: Wirestack;
  /** The client's public key in the gateway. */
  readonly key: string;
  wirestack(...args: string[]): ReturnType<typeof runHere>;
  /** `show flows --json` */
  flows(...args: string[]): Promise<FlowStats[]>;
}

/** A gateway with a control socket, a peer "laptop", and SITE mapped to this host. */
async function start(
  sections: Pick<ConfigInput, "rules"> = {},
  through = (port: number) => port,
): Promise<FlowsLab> {
  const [ours, theirs] = [generatePrivateKey(), generatePrivateKey()];
  const key = encodeKey(publicKeyOf(theirs));
  const lab = await ControlLab.start({
    interface: { privateKey: encodeKey(ours), address: "10.9.0.1/24" },
    peers: [
      { publicKey: key, name: "laptop", allowedIps: "10.9.0.2/32" },
      { publicKey: publicKeyOf(generatePrivateKey()), name: "phone", allowedIps: "10.9.0.3/32" },
    ],
    proxy: { subnets: "10.50.0.0/16", map: `${SITE} -> 127.0.0.1` },
    ...sections,
  });
  const client = await startWirestack({
    interface: { privateKey: encodeKey(theirs), address: "10.9.0.2/24" },
    peers: [{
      publicKey: encodeKey(publicKeyOf(ours)),
      allowedIps: "0.0.0.0/0",
      endpoint: `127.0.0.1:${through(lab.gateway.port)}`,
    }],
  });
  const wirestack = (...args: string[]) => runHere([...args, "--control-dir", lab.directory]);
  return {
    lab,
    client,
    key,
    wirestack,
    async flows(...args) {
      const { status, out, error } = await wirestack("show", "flows", "lab", "--json", ...args);
      assert.deepEqual([status, error], [0, ""]);
      return JSON.parse(out);
    },
    async [Symbol.asyncDispose]() {
      await client.close({ graceMs: 0 });
      await lab[Symbol.asyncDispose]();
    },
  };
}

/** Answers every connection's bytes with themselves. */
function echoServer(): { readonly port: number } & Disposable {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  (async () => {
    for await (const conn of listener) conn.readable.pipeTo(conn.writable).catch(() => {});
  })();
  return { port: listener.addr.port, [Symbol.dispose]: () => listener.close() };
}

const ISO_8601 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

Deno.test("show flows has a TCP connection with its addresses, figures and times", async () => {
  await using site = await start();
  using server = echoServer();
  const { port } = server;
  const before = Date.now();
  using conn = await site.client.connect({ hostname: SITE, port });
  await conn.write(new Uint8Array(1000));
  for (let got = 0; got < 1000;) got += (await conn.read(new Uint8Array(1000)))!;
  const [flow, ...others] = await site.flows();
  assert.equal(others.length, 0);
  const {
    id,
    targetRttMs,
    startedAt,
    rttMs,
    dialMs,
    ageMs,
    idleMs,
    packetsUp,
    packetsDown,
    rate,
    retransmits,
    ...rest
  } = flow!;
  assert.deepEqual(rest, {
    protocol: "tcp",
    peer: "laptop",
    source: `10.9.0.2:${conn.localAddr.port}`,
    destination: `${SITE}:${port}`,
    dialled: `127.0.0.1:${port}`,
    dialledName: null,
    state: "open",
    tcpState: "established",
    rule: null,
    bytesUp: 1000,
    bytesDown: 1000,
    outOfOrder: 0,
  });
  // None, unless this process was kept from running for longer than the time-out.
  assert.ok(retransmits !== null && retransmits < 5, `${retransmits}`);
  if (site.lab.gateway.proxy.ffi) assert.ok(targetRttMs! > 0 && targetRttMs! < 1000);
  else assert.equal(targetRttMs, null);
  assert.match(id, /^[0-9a-f]{32}$/);
  assert.match(startedAt, ISO_8601);
  assert.ok(Date.parse(startedAt) >= before - 1000 && Date.parse(startedAt) <= Date.now());
  assert.ok(rttMs! > 0 && dialMs! > 0, `${rttMs} ms, ${dialMs} ms`);
  assert.ok(ageMs >= idleMs && packetsUp >= 2 && packetsDown >= 2);
  assert.deepEqual(Object.keys(rate), [
    "upLastSecond",
    "downLastSecond",
    "upLastMinute",
    "downLastMinute",
  ]);

  const table = await site.wirestack("show", "flows");
  const [head, row, count] = table.out.split("\n");
  assert.match(head!, /^ID {8}PROTO {2}PEER {4}SOURCE +DESTINATION +DIALLED +STATE +UP +DOWN/);
  assert.ok(row!.startsWith(`${id.slice(0, 8)}  tcp    laptop  ${rest.source}  `), row);
  assert.equal(count, "1 flow");
});

Deno.test("segments out of order and sent again are told of a flow, its peer, its rule and its network", async () => {
  let path: UdpPath | undefined;
  await using site = await start({ rules: [{ ports: "tcp" }] }, (port) => {
    path = new UdpPath(port);
    return path.port;
  });
  using between = path!;
  using server = echoServer();
  using conn = await site.client.connect({ hostname: SITE, port: server.port });
  const bytes = pattern(300_000);
  [between.swaps, between.losesOneOf] = [true, 20];
  const sent = writeAll(conn, bytes);
  const buffer = new Uint8Array(65_536);
  for (let got = 0; got < bytes.length;) {
    const length = (await conn.read(buffer))!;
    assert.deepEqual(buffer.subarray(0, length), bytes.subarray(got, got + length));
    got += length;
  }
  await sent;
  const [flow] = await site.flows();
  const { outOfOrder, retransmits } = flow!;
  assert.ok(outOfOrder > 0 && retransmits > 0, `${outOfOrder}, ${retransmits}`);
  const { flows, peers } = site.lab.gateway.stats();
  const laptop = peers.find(({ name }) => name === "laptop")!.flows!;
  for (const totals of [flows.total, laptop, flows.rules[0]!, flows.networks[0]!]) {
    assert.deepEqual([totals.outOfOrder, totals.retransmits], [outOfOrder, retransmits]);
  }
});

Deno.test("show flows has UDP sessions, a line for each target, and sorts and selects", async () => {
  await using site = await start();
  const target = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = target.addr as Deno.NetAddr;
  using socket = site.client.listenDatagram();
  const send = (length: number, hostname: string) =>
    socket.send(new Uint8Array(length), { transport: "udp", hostname, port });
  await send(10, SITE);
  const [, from] = await target.receive();
  await target.send(new Uint8Array(500), from);
  await socket.receive();
  await send(300, "10.50.0.7");
  await until(() => site.lab.gateway.proxy.admission.table.size === 2, "both targets are asked");

  const flows = await site.flows("--sort", "bytes");
  assert.deepEqual(
    flows.map(({ protocol, destination, dialled, state, tcpState, rttMs, dialMs, ...figures }) => [
      `${protocol} ${destination} ${dialled} ${state}`,
      [tcpState, rttMs, dialMs],
      [figures.bytesUp, figures.packetsUp, figures.bytesDown, figures.packetsDown],
    ]),
    [
      [`udp ${SITE}:${port} 127.0.0.1:${port} open`, [null, null, null], [10, 1, 500, 1]],
      [`udp 10.50.0.7:${port} 10.50.0.7:${port} open`, [null, null, null], [300, 1, 0, 0]],
    ],
  );
  assert.equal((await site.flows("--peer", "Laptop")).length, 2);
  assert.equal((await site.flows("--peer", site.key)).length, 2);
  assert.equal((await site.flows("--peer", "phone")).length, 0);
  const unknown = await site.wirestack("show", "flows", "lab", "--peer", "nobody");
  assert.equal(unknown.status, 1);
  assert.equal(
    unknown.error,
    `wirestack: lab: peer "nobody": unknown, expected a peer's name or public key, or a link's name\n`,
  );
  assert.equal((await site.wirestack("show", "flows", "--sort", "size")).status, 2);
  target.close();
});

Deno.test("kill ends the flow of an id or of its first digits, and no other", async () => {
  await using site = await start();
  using server = echoServer();
  using one = await site.client.connect({ hostname: SITE, port: server.port });
  using two = await site.client.connect({ hostname: SITE, port: server.port });
  const [first] = await site.flows();
  const ended = await site.wirestack("kill", first!.id.slice(0, 8).toUpperCase(), "lab");
  assert.deepEqual([ended.status, ended.error], [0, ""]);
  assert.equal(
    ended.out,
    `${first!.id}: tcp of laptop, ${first!.source} to ${first!.destination}, ended\n`,
  );
  await assert.rejects(one.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
  await two.write(new Uint8Array(5));
  assert.equal(await two.read(new Uint8Array(5)), 5);
  assert.equal(site.lab.gateway.proxy.tcp.counters.killed, 1);

  const again = await site.wirestack("kill", first!.id);
  assert.equal(again.status, 1);
  assert.equal(
    again.error,
    `wirestack: lab: flow ${first!.id}: there is none, expected one of show flows\n`,
  );
  for (const wrong of ["", "xyz", `${first!.id}0`]) {
    const { status, error } = await site.wirestack("kill", wrong);
    assert.equal(status, 1, wrong);
    assert.match(error, /^wirestack: lab: flow .*: expected an id, or its first digits/);
  }
});

Deno.test("kill of digits that several flows have says which, and ends none", async () => {
  await using lab = await ControlLab.start();
  const { table } = lab.gateway.proxy.admission;
  const address = parseIpAddress("10.50.0.1")!;
  const owner = new FlowOwner(() => "laptop");
  const begin = () => {
    const flow = new Flow("udp", owner, address, 1, address, 2, 0);
    table.add(flow);
    return flow;
  };
  const first = begin().id[0]!;
  while (table.flows().filter(({ id }) => id.startsWith(first)).length < 4) begin();
  const { status, error } = await runHere(["kill", first, "--control-dir", lab.directory]);
  assert.equal(status, 1);
  assert.match(
    error,
    /flow .: begins the ids of 4 flows \(\w{8}, \w{8}, \w{8}, …\), expected more digits\n$/,
  );
  assert.equal(table.flows().filter(({ end }) => end !== undefined).length, 0);
  for (const flow of table.flows()) table.remove(flow, "closed");
});

Deno.test("thousands of flows are one JSON array, and a table with a line for each, in the order asked for", async () => {
  await using lab = await ControlLab.start();
  const { table } = lab.gateway.proxy.admission;
  const address = parseIpAddress("10.50.0.1")!;
  const owner = new FlowOwner(() => "laptop");
  for (const count of [999, 2, 1_500]) {
    for (let i = 0; i < count; i++) {
      const flow = new Flow("udp", owner, address, 1, address, 2, 0);
      flow.bytesUp = i * 7919 % 1_009;
      table.add(flow);
    }
    const show = (...args: string[]) =>
      runHere(["show", "flows", "lab", ...args, "--control-dir", lab.directory]);
    const { out } = await show("--json", "--sort", "bytes");
    const flows = JSON.parse(out) as FlowStats[];
    assert.equal(out, `${JSON.stringify(flows, null, 2)}\n`);
    assert.equal(flows.length, table.size);
    const sorted = flows.toSorted((a, b) => b.bytesUp - a.bytesUp);
    assert.deepEqual(flows.map(({ id }) => id), sorted.map(({ id }) => id));
    const lines = (await show()).out.split("\n");
    assert.equal(lines.length, table.size + 3);
    assert.deepEqual(lines.slice(-2), [`${table.size} flows`, ""]);
    assert.equal(new Set(lines.slice(0, -2).map((line) => line.length)).size, 1);
  }
  for (const flow of table.flows()) table.remove(flow, "closed");
});

Deno.test("kill ends one of many flows while all of them move data, and no byte of the others is lost", async () => {
  await using site = await start();
  using server = echoServer();
  const count = 50;
  const conns = await Promise.all(
    Array.from({ length: count }, () => site.client.connect({ hostname: SITE, port: server.port })),
  );
  // Round by round until it is told to stop: what comes back is what was sent.
  const isOver = { yet: false };
  const move = async (conn: typeof conns[number], i: number) => {
    let rounds = 0;
    for (const buffer = new Uint8Array(64); !isOver.yet; rounds++) {
      await conn.write(new Uint8Array(64).fill(i));
      for (let got = 0; got < 64;) got += (await conn.read(buffer.subarray(got)))!;
      assert.ok(buffer.every((byte) => byte === (i & 255)));
    }
    return rounds;
  };
  const moving = conns.map(move);
  const ends = Promise.allSettled(moving);
  const flows = await site.flows();
  assert.equal(flows.length, count);
  const victim = flows[count >> 1]!;
  const { status, error } = await site.wirestack("kill", victim.id.slice(0, 8));
  assert.deepEqual([status, error], [0, ""]);
  const place = conns.findIndex(({ localAddr }) => victim.source.endsWith(`:${localAddr.port}`));
  await assert.rejects(moving[place]!, Deno.errors.ConnectionReset);
  assert.equal(site.lab.gateway.proxy.admission.table.size, count - 1);
  isOver.yet = true;
  const rejected = (await ends).flatMap((end, i) => end.status === "rejected" ? [i] : []);
  assert.deepEqual(rejected, [place]);
  for (const conn of conns) conn.close();
});

/** A control socket over flows that are made up, and how many of them were written down. */
async function madeUp(flows: number, answerMs: number) {
  const directory = await Deno.makeTempDir();
  const made = { count: 0, mostPerTurn: 0 };
  let inTurn = 0;
  const handlers = {
    *flows() {
      for (; made.count < flows; made.count++) {
        if (inTurn++ === 0) setTimeout(() => inTurn = 0, 0);
        made.mostPerTurn = Math.max(made.mostPerTurn, inTurn);
        yield { number: made.count, text: "x".repeat(400) };
      }
    },
  } as unknown as ControlHandlers;
  const timeouts = { idleMs: 30_000, requestMs: 60_000, answerMs };
  const server = await ControlServer.open(directory, "lab", handlers, timeouts);
  return {
    made,
    connect: () => Deno.connect({ transport: "unix", path: server.path }),
    async [Symbol.asyncDispose]() {
      server.close();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

Deno.test("ten thousand flows are written down a few at a time, and other work has its turn in between", async () => {
  await using site = await madeUp(10_000, 60_000);
  const request = new TextEncoder().encode("wirestack_flows=1\n\n");
  const lines = (await exchange(await site.connect(), request)).split("\n");
  assert.deepEqual(lines.slice(-3), ["errno=0", "", ""]);
  assert.deepEqual(
    lines.slice(0, -3).map((line) => JSON.parse(line.slice("flow=".length)).number),
    Array.from({ length: 10_000 }, (_, i) => i),
  );
  assert.ok(site.made.mostPerTurn <= 256, `${site.made.mostPerTurn} in one turn`);
});

Deno.test("for a client that does not read its answer little is written down, and it is given up", async () => {
  await using site = await madeUp(100_000, 200);
  const conn = await site.connect();
  await conn.write(new TextEncoder().encode("wirestack_flows=1\n\n"));
  await until(() => site.made.count > 0, "the answer has begun");
  let before = -1;
  while (before !== site.made.count) {
    before = site.made.count;
    await new Promise((resolve) => setTimeout(resolve, 300)); // longer than it may take a piece
  }
  assert.ok(before < 10_000, `${before} flows for nobody`);
  const answer = await exchange(conn, new Uint8Array(0));
  assert.ok(!answer.includes("errno"), "it was closed half-way");
});

Deno.test("of twenty thousand flows few are looked at before others have their turn, whosever are asked for", async () => {
  await using lab = await ControlLab.start();
  const { gateway } = lab;
  const { table } = gateway.proxy.admission;
  const address = parseIpAddress("10.50.0.1")!;
  let looked = 0;
  const owner = new FlowOwner(() => "laptop");
  for (let i = 0; i < 20_000; i++) {
    const flow = new Flow("udp", owner, address, 1, address, 2, 0);
    table.add(flow);
    const { sequence } = flow;
    const noted = <T>(value: T) => ({ get: () => (looked++, value) });
    Object.defineProperties(flow, { sequence: noted(sequence), owner: noted(owner) });
  }
  for (const peer of [undefined, "phone"]) {
    let [most, steps, found] = [0, 0, 0];
    looked = 0;
    for (const flow of gateway.flowsInSteps(peer)) {
      most = Math.max(most, looked);
      steps++;
      if (flow !== undefined) found++;
      looked = 0;
    }
    most = Math.max(most, looked);
    assert.ok(most <= 4_096, `${most} looks in one step, of ${peer}`);
    assert.ok(steps >= 18, `${steps} steps`);
    assert.equal(found, peer === undefined ? 20_000 : 0);
  }
  for (const flow of table.flows()) table.remove(flow, "closed");
});

Deno.test("while descriptors are asked, or others' flows passed over, the control socket gives way", async () => {
  const directory = await Deno.makeTempDir();
  const made = { turns: 0, count: 0 };
  const handlers = {
    *flows() {
      for (; made.count < 20; made.count++) {
        const before = made.turns;
        setTimeout(() => made.turns++, 0);
        yield undefined;
        assert.ok(made.turns > before, `nothing had its turn before ${made.count}`);
      }
      yield { number: 1 };
    },
  } as unknown as ControlHandlers;
  const server = await ControlServer.open(directory, "lab", handlers);
  const conn = await Deno.connect({ transport: "unix", path: server.path });
  const answer = await exchange(conn, new TextEncoder().encode("wirestack_flows=1\n\n"));
  assert.equal(answer, 'flow={"number":1}\nerrno=0\n\n');
  server.close();
  await Deno.remove(directory, { recursive: true });
});

Deno.test("an argument that an operation does not have is refused, with those it has", async () => {
  await using lab = await ControlLab.start();
  for (const line of ["port=5", "peer", "peer=%zz", "=x"]) {
    assert.equal(await lab.ask(`wirestack_flows=1\n${line}\n\n`), "errno=-22\n\n", line);
  }
  assert.equal(await lab.ask("wirestack_flows=1\n\n"), "errno=0\n\n");
  const next = await lab.ask("wirestack_flows=1\nport=5\npeer=x\n\nwirestack_flows=1\n\n");
  assert.equal(next, "errno=-22\n\nerrno=0\n\n", "the next request is answered");
});

Deno.test("no gateway can be called flows, by flag or by file", async () => {
  const byFlag = await runHere(["check", "--name", "flows", "--address", "10.9.0.1/24"]);
  assert.equal(byFlag.status, 2);
  assert.match(byFlag.error, /wirestack show flows/);
  const directory = await Deno.makeTempDir();
  const file = `${directory}/flows.conf`;
  const text = `[Interface]\nPrivateKey = ${encodeKey(generatePrivateKey())}\n`;
  await Deno.writeTextFile(file, text, { mode: 0o600 });
  const expected =
    `${file}: a gateway cannot be called flows, because wirestack show flows shows its flows; ` +
    "expected another name (--name)\n";
  for (const command of ["check", "up"]) {
    const { status, error } = await runHere([command, file, "--control-dir", directory]);
    assert.equal(status, 2, command);
    assert.ok(error.endsWith(expected), error);
  }
  await Deno.remove(directory, { recursive: true });
});
