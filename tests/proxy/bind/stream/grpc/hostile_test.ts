import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import http2 from "node:http2";
import type tls from "node:tls";
import { until } from "../../../until.ts";
import { frame } from "./frame.ts";
import { Hub, pair, Told } from "./lab.ts";
import { CARRY } from "../../../../../proxy/bind/stream/grpc/library.ts";
import { tries } from "../../../../tries.ts";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

const DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, CONTINUATION = 9;
const END_HEADERS = 4;
const NONE = new Uint8Array(0);

/** Header fields as literals without indexing, RFC 7541 §6.2.2; the short ones alone. */
function headers(fields: Record<string, string>): Buffer {
  return Buffer.concat(
    Object.entries(fields).map(([name, value]) =>
      Buffer.concat([
        Buffer.of(0, name.length),
        Buffer.from(name),
        Buffer.of(value.length),
        Buffer.from(value),
      ])
    ),
  );
}

const CALL = headers({
  ":method": "POST",
  ":scheme": "https",
  ":path": CARRY.path,
  ":authority": "hub",
  "content-type": "application/grpc",
  "te": "trailers",
});

/** One that speaks HTTP/2 with a hub, frame by frame. */
async function speaker(hub: Hub): Promise<{ socket: tls.TLSSocket; closed: Promise<void> }> {
  const socket = await hub.raw();
  const closed = closing(socket);
  socket.resume();
  socket.write(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0, NONE)]));
  return { socket, closed };
}

/** Errors are what is expected of such a connection. */
function closing(socket: tls.TLSSocket): Promise<void> {
  return new Promise((resolve) => void socket.once("close", () => resolve()));
}

/** Writes again and again until the other side has had enough. @returns the bytes that it took. */
async function flood(
  { socket, closed }: Awaited<ReturnType<typeof speaker>>,
  next: () => Uint8Array,
  limit: number,
): Promise<number> {
  let isClosed = false;
  closed.then(() => isClosed = true);
  let sent = 0;
  while (!isClosed && sent < limit) {
    const bytes = next();
    sent += bytes.length;
    if (socket.write(bytes)) await new Promise((resolve) => setImmediate(resolve));
    else await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), closed]);
  }
  return isClosed ? sent : Infinity;
}

/** Whether a peer that does nothing wrong still gets its bytes through. */
async function assertUnharmed(hub: Hub): Promise<void> {
  const [client, server] = await pair(hub);
  const told = new Told(server);
  client.write(new Uint8Array(5_000), () => {});
  await told.until(({ bytes, isClosed }) => bytes === 5_000 || isClosed);
  assert.equal(told.bytes, 5_000);
  client.close();
}

Deno.test("a connection without a call is closed when its time is over", () =>
  tries(5, async () => {
    await using hub = await Hub.start({ callLimitMs: 500 });
    const idle = await hub.raw();
    const idleClosed = closing(idle); // it may be while the other comes
    idle.resume();
    const { closed } = await speaker(hub);
    await Promise.all([idleClosed, closed]);
    await assertUnharmed(hub);
    assert.equal(hub.carriers.length, 1);
  }));

Deno.test("a call of something else is answered, and keeps no connection", async () => {
  await using hub = await Hub.start({ callLimitMs: 2_000 });
  const socket = await hub.raw();
  const session = http2.connect("https://127.0.0.1", { createConnection: () => socket });
  session.on("error", () => {});
  const closed = once(session, "close");
  const stream = session.request({ ":method": "POST", ":path": "/grpc.health.v1.Health/Check" });
  stream.on("error", () => {});
  const ended = closed.then(() => assert.fail("it was not answered"));
  const [answer] = await Promise.race([once(stream, "response"), ended]);
  assert.notEqual(answer["grpc-status"], "0");
  await closed;
  assert.equal(hub.carriers.length, 0);
});

Deno.test("a message longer than allowed ends the carrier, and is not waited for", async () => {
  await using hub = await Hub.start();
  const { socket, closed } = await speaker(hub);
  socket.write(frame(HEADERS, END_HEADERS, 1, CALL));
  const told = new Told(await hub.carrier());
  socket.write(frame(DATA, 0, 1, Buffer.from([0, 0xff, 0xff, 0xff, 0xff])));
  await Promise.all([told.until(({ isClosed }) => isClosed), closed]);
  assert.equal(told.bytes, 0);
  await assertUnharmed(hub);
});

Deno.test("a message that is none of protobuf's ends the carrier", async () => {
  await using hub = await Hub.start();
  const { socket, closed } = await speaker(hub);
  socket.write(frame(HEADERS, END_HEADERS, 1, CALL));
  const told = new Told(await hub.carrier());
  socket.write(frame(DATA, 0, 1, Buffer.from([0, 0, 0, 0, 3, 0x0a, 0x7f, 1])));
  await Promise.all([told.until(({ isClosed }) => isClosed), closed]);
  assert.equal(told.bytes, 0);
});

Deno.test("a second call on a connection makes no second carrier", async () => {
  await using hub = await Hub.start();
  const { socket } = await speaker(hub);
  for (let stream = 1; stream < 200; stream += 2) {
    socket.write(frame(HEADERS, END_HEADERS, stream, CALL));
  }
  new Told(await hub.carrier());
  await assertUnharmed(hub);
  assert.equal(hub.carriers.length, 2);
  socket.destroy();
});

for (
  const [what, next] of [
    ["pings", () => frame(PING, 0, 0, new Uint8Array(8))],
    ["settings", () => frame(SETTINGS, 0, 0, NONE)],
  ] as const
) {
  Deno.test(`whoever floods with ${what} and reads no answer is cut off`, async () => {
    await using hub = await Hub.start();
    const one = await speaker(hub);
    one.socket.pause();
    const some = Buffer.concat(Array.from({ length: 1000 }, next));
    const sent = await flood(one, () => some, 200e6);
    assert.ok(sent < 200e6, `${sent}`);
    await assertUnharmed(hub);
  });
}

Deno.test("whoever opens calls to take them back is cut off", async () => {
  await using hub = await Hub.start();
  const one = await speaker(hub);
  let stream = -1;
  const sent = await flood(one, () =>
    Buffer.concat(
      Array.from({ length: 50 }, () => {
        stream += 2;
        return Buffer.concat([
          frame(HEADERS, END_HEADERS, stream, CALL),
          frame(RST_STREAM, 0, stream, Buffer.from([0, 0, 0, 8])),
        ]);
      }),
    ), 5e6);
  assert.ok(sent < 5e6, `${sent}`);
  await assertUnharmed(hub);
});

Deno.test("headers without an end are not gathered", async () => {
  await using hub = await Hub.start();
  const one = await speaker(hub);
  one.socket.write(frame(HEADERS, 0, 1, CALL));
  const more = Array.from({ length: 100 }, (_, i) => headers({ [`x-${i}`]: "y".repeat(100) }));
  const part = frame(CONTINUATION, 0, 1, Buffer.concat(more));
  const sent = await flood(one, () => part, 20e6);
  assert.ok(sent < 5e6, `${sent}`);
  await assertUnharmed(hub);
});

/** As many bytes of a call's data as make a heartbeat each two of them. */
const MESSAGE = frame(
  DATA,
  0,
  1,
  Buffer.concat([Buffer.from([0, 0, 0, 0x3f, 0x00, 0x0a, 0xfd, 0x7d]), Buffer.alloc(0x3f00 - 3)]),
);

Deno.test("whoever sends without end to somebody who does not read is stopped by TCP", async () => {
  await using hub = await Hub.start();
  const one = await speaker(hub);
  one.socket.write(frame(HEADERS, END_HEADERS, 1, CALL));
  const carrier = await hub.carrier();
  const told = new Told(carrier);
  carrier.setReading(false);
  let isClosed = false;
  one.closed.then(() => isClosed = true);
  let sent = 0;
  while (one.socket.writableLength < 1 << 20 && !isClosed) {
    if (one.socket.write(MESSAGE)) await new Promise((resolve) => setImmediate(resolve));
    else await new Promise((resolve) => setTimeout(resolve, 1));
    sent += MESSAGE.length;
    assert.ok(sent < 100e6, `${sent}`);
  }
  assert.ok(told.bytes < 1 << 20, `${told.bytes}`);
  await assertUnharmed(hub);
  one.socket.destroy();
});

Deno.test("what is not HTTP/2 is cut off", async () => {
  await using hub = await Hub.start();
  const socket = await hub.raw();
  socket.resume();
  const closed = closing(socket);
  socket.write("GET / HTTP/1.1\r\nHost: hub\r\n\r\n");
  await closed;
  assert.equal(hub.carriers.length, 0);
  await assertUnharmed(hub);
});

Deno.test("of one certificate no more connections wait for their call than its share, the oldest go", async () => {
  await using hub = await Hub.start({ callLimitMs: 300_000 });
  const sockets = [];
  for (let i = 0; i < 66; i++) sockets.push(await speaker(hub));
  await Promise.all(sockets.slice(0, 2).map(({ closed }) => closed));
  await until(() => hub.listener.connections === 64, "64 connections");
  const [carrier] = await pair(hub); // which has its call
  assert.equal(sockets.slice(3).filter(({ socket }) => socket.destroyed).length, 0);
  carrier.close();
  for (const { socket } of sockets) socket.destroy();
});
