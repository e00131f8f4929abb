import assert from "node:assert/strict";
import { reset } from "npm:@logtape/logtape@2.4.2";
import { configureLog } from "../../../proxy/log/log.ts";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { SITE, startPair, until } from "../pair.ts";
import { startWirestack } from "../start.ts";

Deno.test("what comes to nothing is logged in words, with the peer it was for", async () => {
  const lines: string[] = [];
  configureLog({ level: "debug", format: "text", write: (line) => lines.push(line) });
  try {
    await using pair = await startPair({
      proxy: { subnets: ["0.0.0.0/0"], maxTcpConnections: 1 },
    });
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    await assert.rejects(pair.client.connect({ hostname: SITE, port }));
    await assert.rejects(pair.client.connect({ hostname: "169.254.169.254", port }));
    using open = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    using _only = await pair.client.connect({ hostname: SITE, port: open.addr.port });
    await assert.rejects(pair.client.connect({ hostname: SITE, port: open.addr.port }));
    const said = (pattern: RegExp) =>
      assert.ok(lines.some((line) => pattern.test(line)), `${pattern} in\n${lines.join("")}`);
    const key = "[A-Za-z0-9+/]{43}=";
    said(
      new RegExp(
        `: ${key}, 10\\.9\\.0\\.2 port \\d+: 127\\.0\\.0\\.1 port ${port}: refused: nobody listens there\n`,
      ),
    );
    said(
      new RegExp(
        `: ${key}, 10\\.9\\.0\\.2 port \\d+: 169\\.254\\.169\\.254 port ${port} is refused: loopback, link-local, multicast or the ` +
          "like, which no map names\n",
      ),
    );
    said(
      new RegExp(
        `: ${key}, 10\\.9\\.0\\.2 port \\d+: 10\\.50\\.0\\.1 port ${open.addr.port} is refused: ` +
          "as many as are allowed are open\n",
      ),
    );
    // Words, and no fields of a program behind them.
    for (const line of lines) assert.doesNotMatch(line, / \w+="|\w+=\d/, line);
  } finally {
    await reset();
  }
});

Deno.test("a peer is called by its name", async () => {
  const lines: string[] = [];
  configureLog({ level: "info", format: "text", write: (line) => lines.push(line) });
  const [own, other] = [generatePrivateKey(), generatePrivateKey()];
  try {
    await using gateway = await startWirestack({
      interface: { privateKey: encodeKey(own), address: "10.9.0.1/24" },
      peers: [{
        name: "phone of A.",
        publicKey: encodeKey(publicKeyOf(other)),
        allowedIps: "10.9.0.2",
      }],
    });
    await using _client = await startWirestack({
      interface: { privateKey: encodeKey(other), address: "10.9.0.2/24" },
      peers: [{
        name: "home",
        publicKey: encodeKey(publicKeyOf(own)),
        allowedIps: "10.9.0.0/24",
        endpoint: `127.0.0.1:${gateway.port}`,
        persistentKeepalive: 1,
      }],
    });
    for (const name of ["phone of A.", "home"]) {
      const line = `peer ${name}: handshake complete with 127.0.0.1:`;
      await until(() => lines.some((each) => each.includes(line)), line);
    }
    assert.deepEqual(gateway.stats().peers.map(({ name }) => name), ["phone of A."]);
    for (const line of lines.filter((line) => line.includes("peer "))) {
      assert.doesNotMatch(line, /[A-Za-z0-9+/]{43}=/);
    }
  } finally {
    await reset();
  }
});
