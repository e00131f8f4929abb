/** `net.capture()`: packets for a program. */

import assert from "node:assert/strict";
import { CaptureError } from "../../../mod.ts";
import { pattern, readAll, SITE, startPair, writeAll } from "../pair.ts";
import { readPcapng } from "../capture/pcapng_reader.ts";
import { TempFolder } from "../../temp_folder.ts";

async function echo(pair: Awaited<ReturnType<typeof startPair>>, bytes: number): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const served = listener.accept().then((conn) => conn.readable.pipeTo(conn.writable));
  using conn = await pair.client.connect({
    hostname: SITE,
    port: (listener.addr as Deno.NetAddr).port,
  });
  const back = readAll(conn);
  await writeAll(conn, pattern(bytes));
  await conn.closeWrite();
  assert.equal((await back).length, bytes);
  await served;
}

Deno.test("a program takes packets one by one, and leaves when it has enough", async () => {
  await using pair = await startPair();
  const capture = pair.gateway.capture({ at: ["nic1"], filter: `tcp and host ${SITE}` });
  const before = performance.timeOrigin + performance.now();
  await echo(pair, 20_000);
  let packets = 0;
  for await (const { at, direction, time, data, length, peer, flow, lost } of capture) {
    assert.equal(at, "nic1");
    assert.equal(data.length, length);
    assert.deepEqual([...data.subarray(direction === "in" ? 16 : 12).subarray(0, 4)], [
      10,
      50,
      0,
      1,
    ]);
    assert.ok(time >= before - 100 && time < before + 60_000);
    assert.equal(lost, 0);
    if (packets++ > 0) assert.match(flow!, /^[0-9a-f]{8}$/);
    assert.match(peer!, /^[A-Za-z0-9+/]{43}=$/);
    if (packets === 20) break;
  }
  assert.equal(packets, 20);
  assert.ok(capture.counts.accepted >= 20);
  await echo(pair, 1_000);
  const { seen } = capture.counts;
  await echo(pair, 1_000);
  assert.equal(capture.counts.seen, seen, "leaving the loop has ended it");
});

Deno.test("the same as pcapng, until a signal; a capture that nobody takes holds up no closing", async () => {
  const pair = await startPair();
  const ending = new AbortController();
  const capture = pair.gateway.capture({ snapLength: 60, signal: ending.signal });
  const bytes = new Response(capture.pcapng).bytes();
  await echo(pair, 30_000);
  ending.abort();
  const { packets, interfaces } = readPcapng(await bytes);
  assert.deepEqual(interfaces, [{ name: "nic1", snapLength: 60 }]);
  assert.ok(packets.length > 40 && packets.every(({ data }) => data.length <= 60));
  pair.gateway.capture();
  const from = performance.now();
  await pair[Symbol.asyncDispose]();
  assert.ok(performance.now() - from < 10_000);
  assert.throws(() => pair.gateway.capture(), Deno.errors.BadResource);
});

Deno.test("wrong options are told by name; [Capture] of an object is a capture from the start", async () => {
  using folder = new TempFolder();
  const path = `${folder.path}/packets.pcapng`;
  {
    await using pair = await startPair({ sections: { capture: { write: path, filter: "tcp" } } });
    assert.throws(() => pair.gateway.capture({ filter: "tcp and" }), (error) => {
      assert.ok(error instanceof CaptureError);
      assert.equal(error.option, "filter");
      return true;
    });
    await echo(pair, 5_000);
  }
  assert.ok(readPcapng(await Deno.readFile(path)).packets.length > 10);
  await assert.rejects(
    startPair({ sections: { capture: { write: "-", filter: "nonsense" } } }),
    /"nonsense" is unknown, expected host/,
  );
});
