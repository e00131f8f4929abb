import assert from "node:assert/strict";
import { AcceptSocket } from "../../ffi/mod.ts";
import { aloneLabTest, eventually, Lab } from "../e2e/lab.ts";
import { within } from "../e2e/network_namespace.ts";
import { acceptedStream } from "../../proxy/target/tcp.ts";
import { ipAt, portAt } from "../../proxy/target/address.ts";

/** The next connection: its descriptor. */
async function next(socket: AcceptSocket): Promise<number> {
  for (;;) {
    const accepted = socket.accept();
    if (typeof accepted === "number") return accepted;
    assert.equal(accepted, "none");
    assert.equal(await socket.wait(), true);
  }
}

/** What a read of the other end brings: bytes, the end, or a reset. */
async function read(conn: Deno.Conn): Promise<string> {
  try {
    const bytes = new Uint8Array(100);
    const count = await conn.read(bytes);
    return count === null ? "end" : new TextDecoder().decode(bytes.subarray(0, count));
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return "reset";
    throw error;
  }
}

Deno.test("a connection is accepted with who made it, whichever family, and where it arrived", async () => {
  const socket = new AcceptSocket(0, 8);
  assert.equal(socket.accept(), "none");
  for (const hostname of ["127.0.0.1", "::1"]) {
    using conn = await Deno.connect({ hostname, port: socket.port });
    const fd = await next(socket);
    const { port } = conn.localAddr as Deno.NetAddr;
    assert.deepEqual([`${ipAt(socket.source, 0)?.unmapped()}`, portAt(socket.source, 0)], [
      hostname,
      port,
    ]);
    assert.equal(socket.readLocal(fd), true);
    assert.deepEqual(
      [`${ipAt(socket.local, 0)?.unmapped()}`, portAt(socket.local, 0)],
      [hostname, socket.port],
    );
    socket.reset(fd);
    assert.equal(await read(conn), "reset");
  }
  socket.close();
  socket.free();
});

Deno.test("a stream of an accepted descriptor is read when that is asked for, and ends in halves", async () => {
  const socket = new AcceptSocket(0, 8);
  using conn = await Deno.connect({ hostname: "127.0.0.1", port: socket.port });
  await conn.write(new TextEncoder().encode("early"));
  const stream = acceptedStream(await next(socket));
  const seen: string[] = [];
  const ended = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<void>();
  stream.handler = {
    data(_stream, buffer, offset, length) {
      seen.push(new TextDecoder().decode(buffer.slice(offset, offset + length)));
      return true;
    },
    appetite: () => 65_536,
    ended: () => ended.resolve(),
    drained() {},
    closed: () => closed.resolve(),
  };
  assert.deepEqual(seen, []);
  stream.resume();
  await conn.closeWrite();
  await ended.promise;
  assert.equal(seen.join(""), "early");
  stream.write(new TextEncoder().encode("late"), 0, 4, false);
  stream.end();
  assert.deepEqual([await read(conn), await read(conn)], ["late", "end"]);
  await closed.promise;
  socket.close();
  socket.free();
});

async function isRefused(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return false;
  } catch {
    return true;
  }
}

Deno.test("a port that is taken is said to be, and who waits is told when it closes", async () => {
  const socket = new AcceptSocket(0, 8);
  assert.throws(() => new AcceptSocket(socket.port, 8), Deno.errors.AddrInUse);
  const waiting = socket.wait();
  socket.close();
  socket.close();
  assert.equal(await waiting, false);
  assert.equal(await socket.wait(), false);
  assert.equal(socket.accept(), "none");
  // A program that another test begins to start in this moment has the descriptor until it runs.
  await eventually("nobody listens", () => isRefused(socket.port));
  socket.free();
});

aloneLabTest(
  "what the packet filter redirected is known by where it wanted to go, in both families",
  async () => {
    await using lab = await Lab.create();
    const host = await lab.host("host");
    await host.ip(
      ...["address add 198.51.100.1/32 dev lo", "route add 192.0.2.0/24 dev lo"],
      ...["address add 2001:db8::1/128 dev lo"],
      "route add 2001:db8:1::/64 dev lo",
    );
    const socket = within(host, () => new AcceptSocket(0, 8));
    await host.output(["nft", "-f", "-"], {
      input: `table inet t { chain output { type nat hook output priority -100;
      ip daddr 192.0.2.0/24 meta l4proto tcp redirect to :${socket.port}
      ip6 daddr 2001:db8:1::/64 meta l4proto tcp redirect to :${socket.port}
    }\n}\n`,
    });
    for (const address of ["192.0.2.9", "2001:db8:1::9"]) {
      const program = host.spawn("program", [
        ...["python3", "-c"],
        `import socket; s = socket.create_connection(("${address}", 80)); s.recv(1)`,
      ]);
      const fd = await next(socket);
      assert.equal(socket.readOriginal(fd), true, address);
      assert.deepEqual(
        [`${ipAt(socket.original, 0)?.unmapped()}`, portAt(socket.original, 0)],
        [address, 80],
      );
      socket.reset(fd);
      assert.equal((await program.exit()).code, 1);
    }
    socket.close();
    socket.free();
  },
  ["python3"],
);
