/**
 * What somebody meets who writes for the tunnel what they would write for Deno.
 *
 * @module
 */

import assert from "node:assert/strict";
import { generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { pattern, startPair, until } from "../pair.ts";
import { startWirestack } from "../start.ts";

const ROOT = new URL("../../../", import.meta.url);

Deno.test("a prefix to proxy may be one text, or several in one", async () => {
  await using pair = await startPair({ proxy: { subnets: [] } });
  const { gateway } = pair;
  const subnets = () => gateway.stats().subnets.map(({ prefix }) => prefix).toSorted();
  gateway.enableProxyOnSubnet("10.60.0.0/16");
  gateway.enableProxyOnSubnet("10.61.0.0/16, fd61::/64");
  assert.deepEqual(subnets(), ["10.60.0.0/16", "10.61.0.0/16", "fd61::/64"]);
  gateway.disableProxyOnSubnet("10.60.0.0/16,fd61::/64");
  assert.deepEqual(subnets(), ["10.61.0.0/16"]);
  const isTypeError = (message: RegExp) => ({ name: "TypeError", message });
  for (
    const [wrong, message] of [
      ["10.60.0.0/33", /expected a prefix as 10\.50\.0\.0\/16, got "10\.60\.0\.0\/33"/],
      [undefined, /expected a prefix as 10\.50\.0\.0\/16, or a list of them, got undefined/],
      [[{}], /expected a prefix as 10\.50\.0\.0\/16, got object/],
    ] as const
  ) {
    assert.throws(() => gateway.enableProxyOnSubnet(wrong as never), isTypeError(message));
    assert.throws(() => gateway.disableProxyOnSubnet(wrong as never), isTypeError(message));
  }
});

Deno.test("an address that was asked for is the one that is shown", async () => {
  await using pair = await startPair({ proxy: null });
  const { gateway, client } = pair;
  for (
    const [hostname, shown] of [
      ["::", "::"],
      ["0.0.0.0", "0.0.0.0"],
      [undefined, "0.0.0.0"],
      ["10.9.0.1", "10.9.0.1"],
      ["[fd09::1]", "fd09::1"],
    ] as const
  ) {
    const options = { port: 0, ...(hostname !== undefined && { hostname }) };
    using listener = gateway.listen({ transport: "tcp", ...options });
    using socket = gateway.listenDatagram({ transport: "udp", ...options });
    assert.equal(listener.addr.hostname, shown);
    assert.equal(socket.addr.hostname, shown);
  }
  using listener = gateway.listen({ hostname: "::", port: 0 });
  const { port } = listener.addr;
  for (const hostname of ["10.9.0.1", "[fd09::1]"]) {
    (await client.connect({ transport: "tcp", hostname, port })).close();
  }
});

Deno.test("a transport that there is not, and what is no address, is a TypeError", async () => {
  await using pair = await startPair({ proxy: null });
  const { client } = pair;
  const unix = { transport: "unix", path: "/x", port: 0, hostname: "10.9.0.1" } as never;
  const wrong = { name: "TypeError", message: /^transport: expected (tcp|udp), got "unix"$/ };
  await assert.rejects(client.connect(unix), wrong);
  assert.throws(() => client.listen(unix), wrong);
  assert.throws(() => client.listenDatagram(unix), wrong);
  for (const hostname of ["example.com", "", "10.9.0", "[10.9.0.1]"]) {
    await assert.rejects(client.connect({ hostname, port: 80 }), {
      name: "TypeError",
      message: `hostname: expected an IP address inside the tunnel, got "${hostname}"`,
    });
  }
  await assert.rejects(client.connect({ port: 80 } as never), {
    name: "TypeError",
    message: "hostname: expected an IP address inside the tunnel, got undefined",
  });
  using socket = client.listenDatagram();
  await assert.rejects(
    socket.send(pattern(1), { transport: "udp", hostname: "example.com", port: 53 }),
    TypeError,
  );
});

Deno.test("text in place of bytes is a TypeError, and nothing is sent", async () => {
  await using pair = await startPair({ proxy: null });
  const { gateway, client } = pair;
  using listener = gateway.listen({ port: 0 });
  const { port } = listener.addr;
  using conn = await client.connect({ hostname: "10.9.0.1", port });
  using socket = client.listenDatagram();
  const to = { transport: "udp", hostname: "10.9.0.1", port } as const;
  for (const [wrong, got] of [["text", "string"], [undefined, "undefined"], [[1], "object"]]) {
    const error = { name: "TypeError", message: new RegExp(`expected bytes .*, got ${got}`) };
    await assert.rejects(conn.write(wrong as never), error);
    await assert.rejects(socket.send(wrong as never, to), error);
    await assert.rejects(conn.read(wrong as never), error);
    if (wrong !== undefined) await assert.rejects(socket.receive(wrong as never), error);
  }
  // An array, or two bytes for each, would be written past its end.
  const [accepted] = await Promise.all([listener.accept(), conn.write(pattern(6))]);
  await assert.rejects(accepted.read(new Uint16Array(3) as never), /expected bytes .*, got object/);
  const bytes = new Uint8Array(6);
  for (let at = 0; at < 6;) at += (await accepted.read(bytes.subarray(at)))!;
  assert.deepEqual(bytes, pattern(6), "none is lost");
  await assert.rejects(accepted.writable.getWriter().write("text" as never), {
    name: "TypeError",
    message: /expected bytes .*, got string/,
  });
});

Deno.test("a read ends whose buffer is given away meanwhile", async () => {
  await using pair = await startPair({ proxy: null });
  const { gateway, client } = pair;
  using listener = gateway.listen({ port: 0 });
  using conn = await client.connect({ hostname: "10.9.0.1", port: listener.addr.port });
  using accepted = await listener.accept();
  const into = new Uint8Array(10);
  const reading = accepted.read(into);
  structuredClone(into.buffer, { transfer: [into.buffer] });
  await conn.write(pattern(3));
  assert.equal(await reading, 0);
  assert.equal(await accepted.read(new Uint8Array(10)), 3);
});

Deno.test("a port that there is not is a RangeError, and no datagram goes to another", async () => {
  await using pair = await startPair({ proxy: null });
  const { gateway, client } = pair;
  using socket = client.listenDatagram();
  using other = gateway.listenDatagram({ port: 70_000 - 65_536 });
  for (const port of [70_000, 0, -1, 1.5, "9", undefined]) {
    const to = { transport: "udp", hostname: "10.9.0.1", port } as Deno.NetAddr;
    await assert.rejects(socket.send(pattern(1), to), {
      name: "RangeError",
      message: `send: a UDP port is 1 to 65535, got ${port}`,
    });
  }
  await socket.send(pattern(2), { transport: "udp", hostname: "10.9.0.1", port: other.addr.port });
  assert.equal((await other.receive())[0].length, 2);
});

Deno.test("what is no object changes nothing, and is told", async () => {
  await using pair = await startPair({ proxy: null });
  const { gateway, client } = pair;
  for (const [wrong, got] of [[null, "null"], [undefined, "undefined"], [5, "number"]] as const) {
    const error = (operation: string) => ({
      name: "TypeError",
      message: `${operation}: expected an object with what is to change, got ${got}`,
    });
    assert.throws(() => gateway.set(wrong as never), error("set"));
    assert.throws(() => gateway.updatePeer(client.publicKey, wrong as never), error("updatePeer"));
  }
});

Deno.test("a peer that is nowhere yet is an error at once, by name; a silent one in time", async () => {
  const [nowhere, silent] = [generatePrivateKey(), generatePrivateKey()];
  // A socket that takes datagrams and is no WireGuard.
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const endpoint = `127.0.0.1:${(socket.addr as Deno.NetAddr).port}`;
  const net = await startWirestack({
    interface: { privateKey: generatePrivateKey(), address: "10.9.0.1/24" },
    peers: [
      { publicKey: publicKeyOf(nowhere), name: "laptop", allowedIps: "10.9.0.7/32" },
      { publicKey: publicKeyOf(silent), name: "attic", allowedIps: "10.9.0.8/32", endpoint },
    ],
  });
  await assert.rejects(net.connect({ hostname: "10.9.0.7", port: 80 }), {
    name: "NetworkUnreachable",
    message: "connect: peer laptop, which has 10.9.0.7, has no Endpoint and has not been heard yet",
  });
  await assert.rejects(net.connect({ hostname: "10.9.0.8", port: 80, timeoutMs: 200 }), {
    name: "TimedOut",
    message: "connect: no answer from 10.9.0.8:80 in 0.2 s, " +
      `peer attic at ${endpoint} does not answer either`,
  });
  for (const timeoutMs of [0, -1, NaN]) {
    await assert.rejects(
      net.connect({ hostname: "10.9.0.8", port: 80, timeoutMs }),
      { name: "RangeError", message: `timeoutMs: expected ms above 0, got ${timeoutMs}` },
    );
  }
  const isGone = () => net.stats().resources.tcpConnections === 0;
  await until(isGone, "nothing is left of the attempts");
  using sender = net.listenDatagram();
  for (const hostname of ["10.9.0.7", "10.9.0.9"]) {
    await assert.rejects(sender.send(pattern(1), { transport: "udp", hostname, port: 53 }), {
      name: "NetworkUnreachable",
      message: /^send: /,
    });
  }
  await net.close({ graceMs: 0 });
  socket.close();
});

Deno.test("a connection that closing finds in the making ends", async () => {
  await using pair = await startPair({ proxy: null });
  await pair.gateway.close();
  const connecting = pair.client.connect({ hostname: "10.9.0.1", port: 1 });
  const closing = pair.client.close({ graceMs: 0 });
  await assert.rejects(connecting, {
    name: "ConnectionAborted",
    message: "the gateway is closing",
  });
  await closing;
});

Deno.test("datagrams that nobody receives cost a bounded memory, empty ones too", async () => {
  await using pair = await startPair({ proxy: null });
  using socket = pair.gateway.listenDatagram({ port: 5000 });
  using sender = pair.client.listenDatagram();
  const to = { transport: "udp", hostname: "10.9.0.1", port: 5000 } as const;
  const nothing = new Uint8Array(0);
  for (let sent = 0; socket.dropped === 0; sent++) {
    assert.ok(sent < 50_000, "none has been dropped");
    await sender.send(nothing, to);
  }
  let waiting = 0;
  while ((await socket.receive())[0].length === 0) {
    waiting++;
    await sender.send(pattern(1), to); // one finds room, behind those that were on their way
  }
  assert.ok(waiting > 500 && waiting < 4000, `${waiting} waited, of half a kilobyte each`);
});

Deno.test("without Deno's datagram sockets one line says what to add, and where", async () => {
  const folder = await Deno.makeTempDir();
  const program = `
    import { generatePrivateKey, Wirestack } from "${new URL("mod.ts", ROOT)}";
    await Wirestack.start({ interface: { privateKey: generatePrivateKey() } }).catch((error) => {
      console.log(String(error));
    });`;
  await Deno.writeTextFile(`${folder}/main.ts`, program);
  const run = async (...flags: string[]) => {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--no-config", "--allow-all", ...flags, `${folder}/main.ts`],
      stderr: "inherit",
    }).output();
    return new TextDecoder().decode(stdout);
  };
  try {
    assert.equal(
      await run(),
      "TypeError: Wirestack needs UDP sockets of Deno: " +
        'add --unstable-net to "deno run", or "unstable": ["net"] to deno.json\n',
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
