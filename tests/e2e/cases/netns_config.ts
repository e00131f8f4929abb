/** netns.sh: what a configuration may hold, who is told that nobody is there, and what is left. */

import assert from "node:assert/strict";
import { startGateway, type Stats } from "../gateway.ts";
import { eventually, Lab, labTest } from "../lab.ts";
import { run } from "../process.ts";
import { CLIENT, endpoint, gatewayConfig, Site, TARGET } from "../site.ts";
import { PORTS } from "../ports.ts";
import { keyPair, type PeerSettings } from "../wireguard_go.ts";

labTest(
  "netns.sh: nobody there is an ICMP unreachable from the gateway's own address",
  async () => {
    const { publicKey } = await keyPair();
    await using site = await Site.start({
      interface: ["PeerToPeer = true"],
      // Without an endpoint: it has not been heard of.
      furtherPeers: [{ publicKey, allowedIps: ["10.9.0.9/32", "fd09::9/128"] }],
    });
    for (const host of [9, 77]) { // a peer without an endpoint, and no peer
      const four = await ping(site, `10.9.0.${host}`);
      assert.match(four, /From 10\.9\.0\.1 icmp_seq=1 Destination Host Unreachable/);
      const six = await ping(site, `fd09::${host}`);
      assert.match(six, /From fd09::1 icmp_seq=1 Destination unreachable: Address unreachable/);
    }
  },
  ["ping"],
);

async function ping(site: Site, address: string): Promise<string> {
  return (await site.client.run(["ping", "-n", "-c", "1", "-W", "30", address])).stdout;
}

labTest(
  "netns.sh: 255×256×2 allowed IPs of a peer, 52 of each of 40 peers, 197 of one",
  async () => {
    const prefixes: string[] = [];
    for (let a = 1; a <= 255; a++) {
      for (let b = 0; b <= 255; b++) prefixes.push(`${a}.${b}.0.0/16`, `${a}::${b}/128`);
    }
    assert.equal(prefixes.length, 255 * 256 * 2);
    const many = Array.from(
      { length: 40 },
      (_, index) => Array.from({ length: 52 }, (_, b) => `${index + 1}.${b + 1}.0.0/16`),
    );
    const some = Array.from({ length: 197 }, (_, index) => `abcd::${index + 1}/128`);
    for (const lists of [[prefixes], many, [[], some]]) {
      await using lab = await Lab.create();
      const peers = await Promise.all(lists.map(async (allowedIps): Promise<PeerSettings> => {
        return { publicKey: (await keyPair()).publicKey, allowedIps };
      }));
      const host = await lab.host("gateway");
      const config = gatewayConfig({ keys: await keyPair(), peers });
      const gateway = await startGateway(
        host,
        lab.directory,
        config.replace(/^AllowedIPs = $/m, ""),
      );
      const stats = await gateway.stats();
      const found = stats.peers as unknown as { publicKey: string; allowedIps: string[] }[];
      assert.deepEqual(
        found.map(({ publicKey, allowedIps }) => [publicKey, allowedIps.length]),
        peers.map(({ publicKey, allowedIps }) => [publicKey, allowedIps.length]),
      );
    }
  },
);

labTest("netns.sh: one's own key as a peer is refused", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("gateway");
  const keys = await keyPair();
  const peers = [{ publicKey: keys.publicKey, allowedIps: ["10.9.0.2/32"] }];
  await assert.rejects(
    startGateway(host, lab.directory, gatewayConfig({ keys, peers })),
    /\.conf:\d+: PublicKey: .*own/,
  );
});

labTest("netns.sh: of overlapping prefixes the longest has the packet", async () => {
  const { publicKey } = await keyPair();
  const wide = ["0.0.0.0/0", "10.0.0.0/8", "::/0", "fc00::/7", "fd09::/75"];
  const narrow = [`${CLIENT[4]}/32`, `${CLIENT[6]}/128`];
  // Whichever comes first in the file.
  for (const [client, other] of [[wide, ["10.9.0.128/25"]], [narrow, wide]] as const) {
    await using site = await Site.start({
      gatewaySidePeer: { allowedIps: [...client] },
      furtherPeers: [{ publicKey, allowedIps: [...other] }],
    });
    for (const target of Object.values(TARGET)) {
      assert.equal((await site.ask("connect", target, PORTS.echo)).error, null);
    }
  }
});

labTest("netns.sh: nothing is ever sent to a peer with a low-order public key", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("gateway");
  const peers = LOW_ORDER.map((publicKey, index) => ({
    publicKey,
    allowedIps: [`10.9.1.${index}/32`],
    endpoint: endpoint("127.0.0.1", 1111),
    persistentKeepalive: 1,
  }));
  await host.output(["nft", "-f", "-"], {
    input: `table inet sent { chain output { type filter hook output priority 0;
      udp dport 1111 counter;
    }; }\n`,
  });
  const sent = async () => {
    const text = await host.output(["nft", "list", "chain", "inet", "sent", "output"]);
    return Number(text.match(/counter packets (\d+)/)![1]);
  };
  const gateway = await startGateway(
    host,
    lab.directory,
    gatewayConfig({ keys: await keyPair(), peers }),
  );
  assert.equal(((await gateway.stats()).peers as unknown[]).length, LOW_ORDER.length);
  // netns.sh listens for as long: two keepalives of each peer are due meanwhile.
  await new Promise((resolve) => setTimeout(resolve, 2000));
  assert.equal(await sent(), 0);
  await host.output(["bash", "-c", "echo >/dev/udp/127.0.0.1/1111"]);
  assert.equal(await sent(), 1, "the counter counts");
});

/** Points whose order divides 8, as netns.sh lists them. */
const LOW_ORDER = [
  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
  "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
  "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=",
  "X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=",
  "7P///////////////////////////////////////38=",
  "7f///////////////////////////////////////38=",
  "7v///////////////////////////////////////38=",
];

labTest("netns.sh: everything that was made is gone when its use has ended", async () => {
  await using site = await Site.start();
  const { gateway, gatewayHost } = site;
  const atRest = descriptors(gateway.process.worker);
  for (const target of Object.values(TARGET)) {
    const { failures } = await site.ask("many", target, PORTS.echo, 20, 1000);
    assert.deepEqual(failures, {});
    await site.ask("udp", target, PORTS.echo, 100);
  }
  assert.ok(descriptors(gateway.process.worker) > atRest, "a UDP session has a socket");
  // All but the UDP sessions, whose 60 s are the soak's.
  await eventually("connections, relays and slots are gone", async () => {
    const resources = (await gateway.stats()).resources as Record<string, Stats>;
    return Object.entries(resources)
      .filter(([name]) => !name.toLowerCase().includes("udp"))
      .every(([, count]) => Number(count) === 0);
  });
  assert.equal(await gateway.stop(), 0);
  const { stdout } = await run(["ip", "netns", "pids", gatewayHost.namespace]);
  assert.equal(stdout.trim(), "", "no process of the gateway is left");
  assert.equal(await gatewayHost.output(["ss", "-Haun"]), "");
  assert.equal(await gatewayHost.output(["ss", "-Hatn", "state", "listening"]), "");
}, ["ss"]);

/** Open files and sockets of a process. */
function descriptors(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}
