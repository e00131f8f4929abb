import assert from "node:assert/strict";
import { parseIpAddress } from "../../../proxy/address.ts";
import { encodeProxyHeader } from "../../../proxy/target/proxy_protocol.ts";
import { type Pair, readAll, startPair } from "../pair.ts";

const ENDS = {
  source: parseIpAddress("203.0.113.7")!,
  sourcePort: 54_321,
  destination: parseIpAddress("198.51.100.1")!,
  destinationPort: 443,
};
const CLIENT = "10.9.0.2";
const CLIENT_IPV6 = "fd09::2";

/** The gateway's address of the family of the last that is named. */
function own(from: string): string {
  return from.split(", ").at(-1)!.includes(":") ? "fd09::1" : "10.9.0.1";
}

/** Connects, sends, and says what the listener's program sees of it: who, and the bytes. */
async function accepted({ gateway, client }: Pair, from: string, ...pieces: Uint8Array[]) {
  using listener = gateway.listen({ port: 0, proxyProtocol: { from } });
  using conn = await client.connect({ hostname: own(from), port: listener.addr.port });
  for (const piece of pieces) await conn.write(piece);
  await conn.closeWrite();
  using other = await listener.accept();
  const { hostname, port } = other.remoteAddr;
  return { from: `${hostname} ${port}`, bytes: new TextDecoder().decode(await readAll(other)) };
}

/** The same for what is reset. */
async function refused({ gateway, client }: Pair, from: string, bytes: Uint8Array) {
  using listener = gateway.listen({ port: 0, proxyProtocol: { from } });
  using conn = await client.connect({ hostname: own(from), port: listener.addr.port });
  await conn.write(bytes).catch(() => 0); // it may be gone already
  await assert.rejects(readAll(conn), Deno.errors.ConnectionReset);
  assert.equal(listener.refused, 1);
}

const text = (line: string) => new TextEncoder().encode(line);

Deno.test("a listener that requires the PROXY protocol says who the client is, not a byte too much", async () => {
  await using pair = await startPair({ proxy: null });
  for (const version of ["v1", "v2"] as const) {
    const header = encodeProxyHeader(version, "tcp", ENDS);
    assert.deepEqual(
      await accepted(pair, "10.9.0.0/24", Uint8Array.of(...header, ...text("hello"))),
      { from: "203.0.113.7 54321", bytes: "hello" },
    );
    // In pieces, and in front of nothing.
    const pieces = [header.slice(0, 3), header.slice(3, 20), header.slice(20)];
    assert.deepEqual(await accepted(pair, CLIENT, ...pieces), {
      from: "203.0.113.7 54321",
      bytes: "",
    });
  }
  const unknown = await accepted(pair, `fd09::/64, ${CLIENT}`, text("PROXY UNKNOWN\r\nhello"));
  assert.match(unknown.from, /^10\.9\.0\.2 \d+$/);
  assert.equal(unknown.bytes, "hello");
});

Deno.test("an IPv6 client sends its header as well, of an address or a prefix that is named", async () => {
  await using pair = await startPair({ proxy: null });
  const ends = {
    ...ENDS,
    source: parseIpAddress("2001:db8::7")!,
    destination: parseIpAddress("2001:db8::1")!,
  };
  for (const version of ["v1", "v2"] as const) {
    const header = encodeProxyHeader(version, "tcp", ends);
    for (const from of [CLIENT_IPV6, "fd09::/64", `192.0.2.1, ${CLIENT_IPV6}/128`]) {
      assert.deepEqual(
        await accepted(pair, from, Uint8Array.of(...header, ...text("hello"))),
        { from: "2001:db8::7 54321", bytes: "hello" },
      );
    }
    await refused(pair, "fd09::3, 2001:db8::/32", header);
  }
});

Deno.test("who is not named, or sends no header, is reset", async () => {
  await using pair = await startPair({ proxy: null });
  const header = encodeProxyHeader("v2", "tcp", ENDS);
  await refused(pair, "10.9.0.3, 192.0.2.0/24", header);
  await refused(pair, CLIENT, text("GET / HTTP/1.1\r\n\r\n"));
  await refused(pair, CLIENT, text("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"));
  assert.throws(
    () => pair.gateway.listen({ port: 0, proxyProtocol: { from: [] } }),
    { name: "TypeError", message: /one address or prefix at least/ },
  );
  assert.throws(
    () => pair.gateway.listen({ port: 0, proxyProtocol: { from: "everybody" } }),
    TypeError,
  );
});

Deno.test("a header that does not come ends the connection, and its end too", async () => {
  await using pair = await startPair({ proxy: null });
  using listener = pair.gateway.listen({ port: 0, proxyProtocol: { from: CLIENT } });
  const connect = () => pair.client.connect({ hostname: "10.9.0.1", port: listener.addr.port });
  const began = performance.now();
  const due = new Promise((resolve) => setTimeout(resolve, 5_000)).then(() => performance.now());
  using slow = await connect();
  using gone = await connect();
  await slow.write(text("PROXY TC"));
  await gone.write(text("PROXY TCP4 "));
  await gone.closeWrite();
  await assert.rejects(readAll(gone), Deno.errors.ConnectionReset);
  await assert.rejects(readAll(slow), Deno.errors.ConnectionReset);
  const over = performance.now();
  assert.ok(over - began > 4_500, `${over - began} ms`);
  // As late as this process is: a timer of its own would have come no earlier.
  assert.ok(over - await due < 2_000, `${over - began} ms`);
  assert.equal(listener.refused, 2);
});

Deno.test("those that wait for their header count with those that wait for accept", async () => {
  await using pair = await startPair({ proxy: null });
  const listener = pair.gateway.listen({ port: 0, backlog: 2, proxyProtocol: { from: CLIENT } });
  const conns = [];
  for (let i = 0; i < 3; i++) {
    conns.push(await pair.client.connect({ hostname: "10.9.0.1", port: listener.addr.port }));
  }
  await assert.rejects(readAll(conns[2]!), Deno.errors.ConnectionReset);
  listener.close();
  for (const conn of conns.slice(0, 2)) {
    await assert.rejects(readAll(conn), Deno.errors.ConnectionReset);
  }
  for (const conn of conns) conn.close();
});
