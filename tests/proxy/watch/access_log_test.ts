import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/mod.ts";
import { Flow, FlowOwner } from "../../../proxy/flow/flow.ts";
import { AccessLog, type AccessRecord } from "../../../proxy/watch/access_log.ts";
import { pattern, readAll, SITE, startPair, until, writeAll } from "../pair.ts";

const WALL = Date.UTC(2026, 10, 26, 12, 0, 0);

class Lab {
  now = 1_000;
  readonly records: AccessRecord[] = [];
  readonly log: AccessLog;

  constructor(protocols: ("tcp" | "udp" | "icmp")[] = ["tcp", "udp", "icmp"]) {
    this.log = new AccessLog({
      file: {
        write: (line) => {
          assert.ok(line.endsWith("}\n"));
          this.records.push(JSON.parse(line));
        },
        reopen() {},
        close: () => Promise.resolve(),
        lost: 3,
      },
      now: () => this.now,
      wallClock: () => WALL + this.now,
    }, protocols);
  }

  flow(protocol: "tcp" | "udp" | "icmp" = "tcp"): Flow {
    return new Flow(
      protocol,
      new FlowOwner(() => "laptop"),
      IpAddress.v4(10, 9, 0, 2),
      40022,
      new IpAddress(Uint8Array.fromHex("fd500000000000000000000000000001")),
      443,
      this.now,
    );
  }
}

Deno.test("a flow that has ended is one line, with all that is known of it", () => {
  const lab = new Lab();
  const flow = lab.flow();
  flow.dialled = IpAddress.v4(192, 168, 1, 7);
  flow.dialledPort = 8443;
  flow.dialledName = "web.corp.test";
  Object.assign(flow, {
    dialMs: 1.8744,
    rttMs: 12.5,
    targetRttMs: 1.5,
    bytesUp: 10,
    bytesDown: 20,
  });
  Object.assign(flow, { packetsUp: 1, packetsDown: 2, end: "closed" });
  lab.now += 250.5;
  lab.log.ended(flow);
  assert.deepEqual(lab.records, [{
    time: "2026-11-26T12:00:01.250Z",
    id: flow.id,
    protocol: "tcp",
    peer: "laptop",
    source: "10.9.0.2:40022",
    destination: "[fd50::1]:443",
    dialled: "192.168.1.7:8443",
    dialledName: "web.corp.test",
    rule: null,
    verdict: "allowed",
    ending: "closed",
    startedAt: "2026-11-26T12:00:01.000Z",
    durationMs: 250.5,
    dialMs: 1.874,
    rttMs: 12.5,
    targetRttMs: 1.5,
    bytesUp: 10,
    bytesDown: 20,
    packetsUp: 1,
    packetsDown: 2,
  }]);
});

Deno.test("refused flows have a line, not each when there are too many, and the next says how many had none", () => {
  const lab = new Lab();
  for (let i = 0; i < 50; i++) lab.log.refused(lab.flow(), "unsafe");
  assert.equal(lab.records.length, 20);
  assert.equal(lab.log.leftOut, 30);
  lab.now += 1_000;
  lab.log.refused(lab.flow("udp"), "not-proxied");
  lab.log.refused(lab.flow("udp"), "not-proxied");
  const [first, second] = lab.records.slice(20);
  assert.deepEqual([first!.verdict, first!.leftOut, first!.id, first!.ending, first!.dialled], [
    ...["not-proxied", 30, null, null, null],
  ]);
  assert.equal(second!.leftOut, undefined);
});

Deno.test("protocols that are not asked for have no line, and are not counted as left out", () => {
  const lab = new Lab(["tcp"]);
  lab.log.ended(lab.flow("udp"));
  for (let i = 0; i < 50; i++) lab.log.refused(lab.flow("icmp"), "unsafe");
  assert.deepEqual([lab.records, lab.log.leftOut, lab.log.lost], [[], 0, 3]);
  lab.log.setProtocols(["udp"]);
  lab.log.ended(lab.flow("udp"));
  assert.equal(lab.records.length, 1);
});

Deno.test("a gateway writes what peers did into its file, and those that end with it", async () => {
  const file = await Deno.makeTempFile();
  try {
    {
      await using pair = await startPair({ sections: { log: { access: file } } });
      using site = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const { port } = site.addr;
      const conn = await pair.client.connect({ hostname: SITE, port });
      const served = await site.accept();
      await writeAll(conn, pattern(1_000));
      await conn.closeWrite();
      assert.equal((await readAll(served)).length, 1_000);
      served.close();
      await readAll(conn);
      conn.close();
      await until(() => pair.gateway.stats().resources.tcpRelays === 0, "the flow has ended");
      await assert.rejects(pair.client.connect({ hostname: SITE, port: 9229 }));
      using _open = await pair.client.connect({ hostname: SITE, port });
      (await site.accept()).close();
    }
    const records = (await Deno.readTextFile(file)).trimEnd().split("\n")
      .map((line) => JSON.parse(line) as AccessRecord);
    const [done, ...rest] = records;
    assert.deepEqual([done!.protocol, done!.verdict, done!.ending], ["tcp", "allowed", "closed"]);
    assert.deepEqual([done!.bytesUp, done!.bytesDown], [1_000, 0]);
    assert.match(done!.dialled!, /^127\.0\.0\.1:\d+$/);
    assert.ok(done!.dialMs !== null && done!.packetsUp > 0 && done!.durationMs > 0);
    assert.ok(rest.length >= 2 && rest.every(({ ending }) => ending !== "closed"), `${rest}`);
  } finally {
    await Deno.remove(file);
  }
});
