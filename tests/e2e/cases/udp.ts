/** Datagrams: sizes, whose answers they are, and how long a session lives. */

import assert from "node:assert/strict";
import { type Gateway, SUBJECTS } from "../gateway.ts";
import { eventually, labTest } from "../lab.ts";
import { PORTS } from "../ports.ts";
import { ask, endpoint, LISTEN_PORT, Site, TARGET, TUNNELLED } from "../site.ts";
import { keyPair, WireguardGo } from "../wireguard_go.ts";

/** The largest payload of an IPv4 datagram (RFC 791 §3.1, RFC 768): 65,535 − 20 − 8. */
const LARGEST = 65507;
const PROXY = ["Subnets = 10.50.0.0/16, fd50::/64"];
const SMALL = Array.from({ length: 1400 }, (_, index) => index + 1);

for (const subject of SUBJECTS) {
  for (const family of [4, 6] as const) {
    labTest(
      `${subject}: UDP echo of 1 to 1,400, 8,000 and 65,507 bytes, IPv${family}`,
      async () => {
        await using site = await Site.start({ subject });
        const sizes = [...SMALL, 8000, LARGEST];
        assert.deepEqual(await site.ask("udp", TARGET[family], PORTS.echo, ...sizes), {
          failures: [],
        });
      },
    );
  }

  labTest(
    `${subject}: two clients of one port number do not see each other's replies`,
    async () => {
      const neighbour = await keyPair();
      await using site = await Site.start({
        subject,
        furtherPeers: [{ publicKey: neighbour.publicKey, allowedIps: ["10.9.0.3/32"] }],
      });
      const other = await site.lab.host("neighbour");
      await site.lab.connect(
        { host: other, device: "wan", addresses: ["192.0.3.2/24"] },
        { host: site.gatewayHost, device: "wan2", addresses: ["192.0.3.1/24"] },
      );
      await WireguardGo.start(other, {
        privateKey: neighbour.privateKey,
        addresses: ["10.9.0.3/32"],
        routes: TUNNELLED.filter((prefix) => !prefix.includes(":")),
        peers: [{
          publicKey: site.gatewayPublicKey,
          allowedIps: TUNNELLED,
          endpoint: endpoint("192.0.3.1", LISTEN_PORT),
        }],
      });
      const asked = [
        { host: site.client, port: 4000, text: "from the first client" },
        { host: site.client, port: 4001, text: "from its other socket" },
        { host: other, port: 4000, text: "from the second client" },
      ];
      const answered = await Promise.all(
        asked.map(({ host, port, text }) =>
          ask(host, "udp-ask", TARGET[4], PORTS.echo, port, text, 1, 1000)
        ),
      );
      assert.deepEqual(
        answered.map(({ answers }) => answers),
        asked.map(({ text }) => [{ text, from: `${TARGET[4]} ${PORTS.echo}` }]),
      );
    },
  );

  labTest(`${subject}: a UDP session ends after its idle time`, async () => {
    await using site = await Site.start({ subject, proxy: [...PROXY, "UdpIdleTimeout = 3"] });
    const before = await sockets(site.gateway);
    await eventually("three sessions at once", async () => {
      await Promise.all(
        [4000, 4001, 4002].map((port) =>
          site.ask("udp-ask", TARGET[4], PORTS.echo, port, "x", 1, 0)
        ),
      );
      return await sockets(site.gateway) === before + 3;
    });
    await eventually("the end of the sessions", async () => {
      return await sockets(site.gateway) === before;
    }, { timeoutMs: 30_000 }); // half of what it would be otherwise
  });
}

labTest(
  "with UdpFiltering = address-port a datagram from another port does not reach the client",
  async () => {
    await using site = await Site.start({ proxy: [...PROXY, "UdpFiltering = address-port"] });
    for (const target of Object.values(TARGET)) {
      const { answers } = await site.ask("udp-ask", target, PORTS.stranger, 0, "question", 1, 500);
      assert.deepEqual(answers, [{ text: "question", from: `${target} ${PORTS.stranger}` }]);
    }
  },
);

labTest(
  "by default another port of an address that was asked may answer, and arrives from there",
  async () => {
    await using site = await Site.start();
    for (const target of Object.values(TARGET)) {
      const { answers } = await site.ask("udp-ask", target, PORTS.stranger, 0, "question", 2, 0);
      const [other, asked] = (answers as { text: string; from: string }[]).sort((a, b) =>
        a.text < b.text ? -1 : 1
      );
      assert.deepEqual(asked, { text: "question", from: `${target} ${PORTS.stranger}` });
      assert.equal(other!.text, "from a stranger");
      assert.match(other!.from, new RegExp(`^${target} \\d+$`));
      assert.notEqual(other!.from, asked!.from);
    }
  },
);

labTest("one client address and port has one socket, whichever target it asks", async () => {
  await using site = await Site.start({
    proxy: [...PROXY, "Map = 10.50.0.99/32 -> 10.50.0.2/32"],
  });
  const seen = new Set<string>();
  for (const target of [TARGET[4], "10.50.0.99"]) {
    const { answers } = await site.ask("udp-ask", target, PORTS.who, 4000, "who", 1, 200);
    assert.equal(answers.length, 1);
    assert.equal(answers[0].from, `${target} ${PORTS.who}`);
    seen.add(answers[0].text);
  }
  assert.equal(seen.size, 1);
});

/** UDP sockets that the gateway's process holds. */
async function sockets(gateway: Gateway): Promise<number> {
  const pid = gateway.process.worker;
  const own = new Set<string>();
  for await (const { name } of Deno.readDir(`/proc/${pid}/fd`)) {
    const link = await Deno.readLink(`/proc/${pid}/fd/${name}`).catch(() => "");
    const inode = link.match(/^socket:\[(\d+)\]$/)?.[1];
    if (inode !== undefined) own.add(inode);
  }
  let count = 0;
  for (const table of ["udp", "udp6"]) {
    const lines = (await Deno.readTextFile(`/proc/${pid}/net/${table}`)).trim().split("\n");
    count += lines.filter((line) => own.has(line.trim().split(/\s+/)[9]!)).length;
  }
  return count;
}
