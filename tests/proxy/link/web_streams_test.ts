import assert from "node:assert/strict";
import { WebStreamsLink } from "../../../proxy/link/web_streams.ts";
import { fakePacket, LinkHost } from "./host.ts";

/** A link and the other ends of its streams. */
function linked(stallMs?: number) {
  const come = new TransformStream<Uint8Array, Uint8Array>();
  const go = new TransformStream<Uint8Array, Uint8Array>();
  const link = new WebStreamsLink({
    name: "phone",
    mtu: 1500,
    readable: come.readable,
    writable: go.writable,
    ...(stallMs !== undefined && { stallMs }),
  });
  return {
    link,
    host: new LinkHost(link),
    writer: come.writable.getWriter(),
    reader: go.readable.getReader(),
  };
}

Deno.test("one chunk, one packet, both ways; what is no packet is counted", async () => {
  const { link, host, writer, reader } = linked();
  for (const bytes of [new Uint8Array(0), new Uint8Array(30), fakePacket(1, 1490), fakePacket(2)]) {
    await writer.write(bytes);
  }
  await host.until(() => host.received.length === 1);
  assert.deepEqual(host.received, [fakePacket(2)]);
  const { empty, notIp, tooBig } = link.counters.drops;
  assert.deepEqual([empty, notIp, tooBig], [1, 1, 1]);
  host.send(fakePacket(3));
  host.forward(fakePacket(4, 100));
  assert.deepEqual((await reader.read()).value, fakePacket(3));
  assert.deepEqual((await reader.read()).value, fakePacket(4, 100));
  link.close();
  assert.equal((await reader.read()).done, true);
  await assert.rejects(async () => await writer.write(fakePacket(1)), /the link is closed/);
  assert.deepEqual(host.closed, []);
});

Deno.test("a writable that wants nothing: the stack waits, what is passed on is dropped, later all is", async () => {
  const { link, host, reader } = linked(50);
  let sent = 0;
  while (host.send(fakePacket(1))) assert.ok(++sent < 2_000);
  assert.ok(sent >= 256);
  host.forward(fakePacket(2));
  assert.ok(link.counters.drops.full + link.counters.drops.stalled >= 1);
  await host.until(() => host.send(fakePacket(3)) && link.counters.drops.stalled > 0, "it drops");
  for (let i = 0; i < sent; i++) assert.deepEqual((await reader.read()).value, fakePacket(1));
  link.close();
});

Deno.test("the end of either stream is the link's, with its reason", async () => {
  const first = linked();
  await first.writer.close();
  await first.host.until(() => first.host.closed.length > 0);
  assert.deepEqual(first.host.closed, [undefined]);
  first.link.close();
  const second = linked();
  await second.writer.abort(new Error("the tunnel broke"));
  await second.host.until(() => second.host.closed.length > 0);
  assert.equal(second.host.closed[0]!.message, "the tunnel broke");
  second.link.close();
  const third = linked();
  await third.reader.cancel("nobody reads");
  await third.host.until(() => third.host.closed.length > 0);
  assert.equal(third.host.closed[0]!.message, "nobody reads");
  third.link.close();
});

Deno.test("what is no bytes ends it", async () => {
  const { link, host, writer } = linked();
  writer.write("a packet" as unknown as Uint8Array).catch(() => {});
  await host.until(() => host.closed.length > 0);
  assert.match(host.closed[0]!.message, /a packet is a Uint8Array/);
  link.close();
});
