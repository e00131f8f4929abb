/** What a hub and a peer do alike, whichever transport carries it. */

import assert from "node:assert/strict";
import { Farewell, farewellText } from "../../../../proxy/bind/stream/mod.ts";
import { captureLog } from "../../log/capture.ts";
import { replaceFile } from "../../../../proxy/state/replace_file.ts";
import { connectProxy } from "./listening.ts";
import { Lab, until } from "./tls/lab.ts";

const TITLES = {
  tls: {
    bothWays: "datagrams go both ways, and each side knows who the other is",
    thousands: "what arrives is what was sent, thousands of datagrams both ways",
    again: "a hub that went and came back is found again, by whoever wants it",
    revoked: "who is revoked while it is there has to go, though nobody else comes",
  },
  grpc: {
    bothWays: "datagrams go both ways in gRPC, and each side knows who the other is",
    thousands: "what arrives in gRPC is what was sent, thousands of datagrams",
    again: "a hub that closes a call says so, and is found again",
    revoked: "who is revoked while its call goes on has to go, though nobody else comes",
  },
} as const;

for (const transport of ["tls", "grpc"] as const) {
  const titles = TITLES[transport];

  Deno.test(titles.bothWays, async () => {
    await using lab = await Lab.start({ transport });
    const { side, endpoint } = await lab.client({ name: "laptop" });
    endpoint.open();
    await until(() => endpoint.state === "open");
    side.send(endpoint, new Uint8Array(148).fill(1));
    const { bytes, from } = await lab.hub.next();
    assert.deepEqual(bytes, new Uint8Array(148).fill(1));
    assert.match(`${from}`, new RegExp(`^${transport}:127\\.0\\.0\\.1:\\d+$`));
    lab.hub.send(from, new Uint8Array(92).fill(2));
    assert.deepEqual((await side.next()).bytes, new Uint8Array(92).fill(2));
    assert.equal(endpoint.state, "open");
    assert.equal(endpoint.remote!.description, "hub");
    assert.deepEqual(endpoint.address, Uint8Array.of(127, 0, 0, 1));
    const [accepted] = lab.hub.bind.accepted;
    assert.equal(accepted!.remote!.description, "laptop");
  });

  Deno.test(titles.thousands, async () => {
    await using lab = await Lab.start({
      transport,
      bind: { limits: { bytes: 1 << 24, ageMs: 60_000 } },
    });
    const { side, endpoint } = await lab.client();
    endpoint.open();
    await until(() => endpoint.state === "open");
    const [accepted] = lab.hub.bind.accepted;
    const pattern = (i: number) => new Uint8Array(32 + i % 1_400).fill(i);
    for (let i = 0; i < 5_000; i++) lab.hub.send(accepted!, pattern(i));
    await until(() => side.heard.length === 5_000);
    side.heard.forEach(({ bytes }, i) => assert.deepEqual(bytes, pattern(i)));
  });

  Deno.test(titles.again, async () => {
    await using lab = await Lab.start({ transport });
    const { endpoint } = await lab.client();
    endpoint.open();
    await until(() => endpoint.state === "open");
    const [accepted] = lab.hub.bind.accepted;
    // It may not wait long, whose time is chosen by chance.
    const seen: string[] = [];
    endpoint.onState = (state) => seen.push(state === "waiting" ? `${endpoint.problem}` : state);
    accepted!.close(1);
    await until(() => seen.includes("open"));
    assert.deepEqual(seen.slice(0, 1), ["the other side has closed it"]);
  });

  Deno.test(titles.revoked, async () => {
    await using lab = await Lab.start({ transport, revoked: [], lookMs: 20 });
    const { leaf, ...files } = await lab.files({ name: "laptop" });
    const [laptop, phone] = [await lab.client({}, files), await lab.client({ name: "phone" })];
    for (const { endpoint } of [laptop, phone]) {
      endpoint.open();
      await until(() => endpoint.state === "open");
    }
    using log = captureLog("info");
    const list = await lab.authority.revoke([leaf.serial]);
    replaceFile(`${lab.folder}/crl.pem`, list);
    await until(() => laptop.endpoint.problem === farewellText(Farewell.Revoked));
    assert.equal(phone.endpoint.state, "open");
    assert.equal(phone.endpoint.problem, undefined);
    const lines = log.lines.filter((line) => line.includes("had to go"));
    assert.equal(lines.length, 1, "once, and of nobody else");
    assert.match(
      lines[0]!,
      new RegExp(
        `${transport}:.*: laptop from 127\\.0\\.0\\.1:\\d+ had to go: .* has been revoked$`,
        "m",
      ),
    );
    assert.equal(lab.listener.server.counters.expelled, 1);
  });

  Deno.test(`${transport} goes through an HTTP proxy, and what that says is said`, async () => {
    await using lab = await Lab.start({ transport });
    using proxy = await connectProxy(lab.listener.port);
    const { told, through } = proxy;
    const { side, endpoint } = await lab.client({ name: "laptop" }, { proxy: () => through });
    endpoint.open();
    await until(() => endpoint.state === "open");
    side.send(endpoint, new Uint8Array(148).fill(1));
    assert.deepEqual((await lab.hub.next()).bytes, new Uint8Array(148).fill(1));
    // The proxy, and nobody here, looks the name up.
    assert.deepEqual(told.asked, [`CONNECT localhost:${lab.listener.port} HTTP/1.1`]);
    for (
      const [said, expected] of [
        ["HTTP/1.1 407 No\r\n\r\n", " refuses the user and password of HTTPS_PROXY"],
        ["HTTP/1.1 403 No\r\n\r\n", ` does not connect to localhost:${lab.listener.port}: 403 No`],
        ["220 mail\r\n", " does not answer as an HTTP proxy does"],
      ] as const
    ) {
      told.answer = said;
      const { endpoint } = await lab.client({}, { proxy: () => through });
      endpoint.open();
      await until(() => endpoint.problem !== undefined);
      assert.equal(endpoint.problem, `the proxy 127.0.0.1:${through.port}${expected}`);
      endpoint.close();
    }
    const { endpoint: last } = await lab.client({}, {
      proxy: () => ({ ...through, port: 1 }),
    });
    last.open();
    await until(() => last.problem !== undefined);
    assert.equal(last.problem, "the proxy 127.0.0.1:1: nobody listens there");
  });
}
