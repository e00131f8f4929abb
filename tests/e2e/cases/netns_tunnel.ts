/** netns.sh: counters, roaming, cryptokey routing, WireGuard in WireGuard, NAT. */

import assert from "node:assert/strict";
import { startGateway } from "../gateway.ts";
import { eventually, type Host, labTest, measuredLabTest } from "../lab.ts";
import { iperf, NetnsSite, pingFlood, pingOnce } from "../netns_site.ts";
import { preset } from "../../preset.ts";
import { NatSite } from "../nat_site.ts";
import {
  CLIENT,
  endpoint,
  type Family,
  GATEWAY,
  LISTEN_PORT,
  OUTER,
  Site,
  TARGET,
  withLength,
} from "../site.ts";
import { keyPair, peerSections, WireguardGo } from "../wireguard_go.ts";
import { tries } from "../../tries.ts";

// 148 and 92 bytes of a handshake, ten pings of 84 padded to 96 and 32 around them; and a keepalive of
// 32 if the initiator has one to confirm the session before its first ping.
const OF_RESPONDER = 92 + 10 * 128;
const OF_INITIATOR = [148 + 10 * 128, 148 + 10 * 128 + 32];

/** Its timers send more after five seconds, which a machine that has others to serve may take. */
function countedLabTest(name: string, fn: () => Promise<void>): void {
  labTest(name, () => tries(5, fn), ["ping"]);
}

countedLabTest(
  "netns.sh: the counters after ten pings, and the time of the handshake",
  async () => {
    await using site = await Site.start({ isQuiet: true });
    await pingFlood(site.client, GATEWAY[4]);
    const n2 = await site.wireguard.peer();
    const n1 = await site.gateway.peer(site.clientPublicKey);
    assert.equal(n2.received, OF_RESPONDER);
    assert.ok(OF_INITIATOR.includes(n2.sent), `${n2.sent} bytes`);
    assert.equal(n1.sentBytes, OF_RESPONDER);
    assert.equal(n1.receivedBytes, n2.sent);
    const seconds = Math.abs(n1.lastHandshake / 1000 - Date.now() / 1000);
    assert.ok(seconds < 60, `a handshake ${seconds} s ago`);
  },
);

countedLabTest("netns.sh: the counters after ten pings when Wirestack begins", async () => {
  await using site = await NetnsSite.start({
    isQuiet: true,
    gatewaySidePeer: { endpoint: "192.0.2.2:51821" },
    clientSidePeer: { endpoint: undefined },
  });
  await pingFlood(site.inside, CLIENT[4]);
  const n2 = await site.site.wireguard.peer();
  const n1 = await site.site.gateway.peer(site.site.clientPublicKey);
  assert.equal(n1.receivedBytes, OF_RESPONDER);
  assert.ok(OF_INITIATOR.includes(n1.sentBytes), `${n1.sentBytes} bytes`);
  assert.equal(n2.sent, OF_RESPONDER);
  assert.equal(n2.received, n1.sentBytes);
});

labTest("netns.sh: roaming to another IPv4 address and port, and to IPv6", async () => {
  await using site = await Site.start();
  const { client, wireguard, gateway, clientPublicKey: peer } = site;
  await client.ip("address del 192.0.2.2/24 dev wan", "address add 192.0.2.99/24 dev wan");
  await wireguard.set("listen-port", "9999");
  await pingOnce(client, GATEWAY[6]);
  assert.equal((await gateway.peer(peer)).endpoint, "192.0.2.99:9999");

  await wireguard.set("listen-port", "9998");
  await wireguard.set(
    ...["peer", site.gatewayPublicKey, "endpoint", endpoint(OUTER[6], LISTEN_PORT)],
  );
  await pingOnce(client, GATEWAY[4]);
  assert.equal((await gateway.peer(peer)).endpoint, "[2001:db8:2::2]:9998");
}, ["ping"]);

labTest("netns.sh: n2 follows Wirestack to another address", async () => {
  await using site = await NetnsSite.start();
  const { gatewayHost, wireguard } = site.site;
  await gatewayHost.ip(
    `address del ${OUTER[4]}/24 dev wan`,
    "address add 192.0.2.98/24 dev wan",
  );
  await pingOnce(site.inside, CLIENT[6]);
  assert.equal((await wireguard.peer()).endpoint, `192.0.2.98:${LISTEN_PORT}`);
}, ["ping"]);

labTest(
  "netns.sh: a source that a more specific peer owns is dropped, and still roams",
  async () => {
    const { publicKey: moreSpecific } = await keyPair();
    for (
      const furtherPeers of [[], [{ publicKey: moreSpecific, allowedIps: [`${CLIENT[4]}/32`] }]]
    ) {
      await using site = await Site.start({
        isQuiet: true,
        gatewaySidePeer: { allowedIps: ["10.9.0.0/24", "fd09::/64"] },
        furtherPeers,
      });
      await pingOnce(site.client, GATEWAY[6]);
      await site.wireguard.set("listen-port", "9997");
      const isDropped = furtherPeers.length > 0;
      const code = await pinged(site.client, isDropped ? 1 : 30);
      assert.equal(code === 0, !isDropped);
      await eventually("the dropped one is counted", async () => {
        const { counters } = await site.gateway.stats();
        const { wireguard } = counters as { wireguard: Record<string, number> };
        return wireguard.droppedInnerSource === furtherPeers.length;
      });
      const { endpoint } = await site.gateway.peer(site.clientPublicKey);
      assert.equal(endpoint, "192.0.2.2:9997");
    }
  },
  ["ping"],
);

labTest(
  "netns.sh: the answer comes from the address that was asked, while the host has it",
  async () => {
    await using site = await Site.start({ subject: "deno task start", isControlled: true });
    const { client, gateway, gatewayHost, wireguard, gatewayPublicKey } = site;
    const further = ["192.0.2.10", "192.0.2.11", "2001:db8:2::10", "2001:db8:2::11"];
    const add = (address: string) =>
      gatewayHost.ip(
        `address add ${withLength(address, 24, 64)} dev wan${
          address.includes(":") ? " nodad" : ""
        }`,
      );
    for (const address of further) await add(address);
    // wireguard-go follows the answers to where they come from.
    for (const address of [...further, OUTER[4], OUTER[6], ...further.reverse()]) {
      await wireguard.set(
        ...["peer", gatewayPublicKey, "endpoint", endpoint(address, LISTEN_PORT)],
      );
      await pingFlood(client, GATEWAY[4]);
      assert.equal((await wireguard.peer()).endpoint, endpoint(address, LISTEN_PORT));
    }
    // The one it was last asked at is gone: what it begins itself comes from another, and is followed.
    const keepalive = (seconds: string) =>
      gateway.set("peer", site.clientPublicKey, "persistent-keepalive", seconds);
    for (const address of ["192.0.2.11", "2001:db8:2::11"]) {
      const gone = endpoint(address, LISTEN_PORT);
      // One on its way from the address before would be followed back.
      await keepalive("off");
      await wireguard.set("peer", gatewayPublicKey, "endpoint", gone);
      await pingFlood(client, GATEWAY[6]);
      assert.equal((await wireguard.peer()).endpoint, gone);
      await keepalive("1");
      await gatewayHost.ip(`address del ${withLength(address, 24, 64)} dev wan`);
      await eventually("it is followed", async () => (await wireguard.peer()).endpoint !== gone);
      await pingOnce(client, GATEWAY[4]);
    }
  },
  ["ping"],
);

labTest(
  "netns.sh: FwMark decides the route of what WireGuard sends, and can be changed",
  async () => {
    await using site = await Site.start({
      subject: "deno task start",
      capabilities: ["net_admin"],
      isControlled: true,
      interface: ["FwMark = 0x2a"],
    });
    const { client, gateway, gatewayHost } = site;
    const answers = async () => await pinged(client, 30) === 0;
    const isSilent = async () => await pinged(client, 1) !== 0;
    assert.equal((await gateway.show("fwmark")).trim(), "0x2a");
    assert.ok(await answers());
    await gatewayHost.ip("rule add fwmark 42 prohibit");
    assert.ok(await isSilent());
    await gateway.set("fwmark", "0x2b");
    assert.ok(await answers());
    await gateway.set("fwmark", "42");
    assert.ok(await isSilent());
    await gateway.set("listen-port", "9996"); // another socket, the same mark
    await site.wireguard.set(
      ...["peer", site.gatewayPublicKey, "endpoint", endpoint(OUTER[4], 9996)],
    );
    assert.ok(await isSilent());
    assert.equal((await gateway.show("fwmark")).trim(), "0x2a");
    await gateway.set("fwmark", "off");
    assert.ok(await answers());
    assert.equal((await gateway.show("fwmark")).trim(), "off");
  },
  ["ping"],
);

/** The status of a ping of the gateway, which waits so many seconds. */
async function pinged(client: Host, seconds: number): Promise<number> {
  return (await client.run(["ping", "-c", "1", "-W", `${seconds}`, GATEWAY[4]])).code;
}

labTest(
  "a mark that the gateway's user may not set is refused, and the tunnel goes on",
  async () => {
    await using site = await Site.start({ subject: "deno task start", isControlled: true });
    const { gateway, client } = site;
    await assert.rejects(gateway.set("fwmark", "0x2a"), /Operation not permitted/);
    assert.equal((await gateway.show("fwmark")).trim(), "off");
    await gateway.set("fwmark", "0");
    await pingOnce(client, GATEWAY[4]);
  },
  ["ping"],
);

for (const outer of [4, 6] as const) {
  measuredLabTest(`netns.sh: WireGuard in WireGuard over IPv${outer}`, async () => {
    await using site = await Site.start({ outer });
    await nested(site, outer);
  }, ["iperf3", "ping"]);
}

/** A second gateway on the target, whose datagrams go through the first. */
async function nested(site: Site, family: Family): Promise<void> {
  const [ours, theirs] = [await keyPair(), await keyPair()];
  const own = ["192.168.241.2/32", "fd00::2/128"];
  const inner: Record<Family, { gateway: string; mapped: string }> = {
    4: { gateway: "192.168.241.1", mapped: "192.168.242.1" },
    6: { gateway: "fd00::1", mapped: "fd00:2::1" },
  };
  const config = [
    "[Interface]",
    `PrivateKey = ${ours.privateKey}`,
    "Address = 192.168.241.1/24, fd00::1/112",
    "ListenPort = 5005",
    // The target has several. Over Deno's sockets it would answer from any of them.
    ...preset.ffi ? [] : [`ListenAddress = ${TARGET[family]}`],
    "MTU = 1340",
    "",
    peerSections([{ publicKey: theirs.publicKey, allowedIps: own }]),
    "[Proxy]",
    "Subnets = 192.168.242.1/32, fd00:2::1/128",
    ...([4, 6] as const).map((version) => {
      const length = version === 4 ? 32 : 128;
      return `Map = ${inner[version].mapped}/${length} -> ${TARGET[version]}/${length}`;
    }),
    "",
  ].join("\n");
  await startGateway(site.target, site.lab.directory, config);
  const routes = ["192.168.241.0/24", "192.168.242.0/24", "fd00::/112", "fd00:2::/112"];
  await WireguardGo.start(site.client, {
    privateKey: theirs.privateKey,
    addresses: own,
    routes,
    mtu: 1340,
    peers: [{
      publicKey: ours.publicKey,
      allowedIps: routes,
      endpoint: endpoint(TARGET[family], 5005),
    }],
  });
  for (const version of [4, 6] as const) {
    await pingFlood(site.client, inner[version].gateway);
    for (const udp of [false, true]) {
      await iperf(site.client, site.target, inner[version].mapped, { udp });
    }
  }
  for (const flows of [4, 5, 50]) {
    await iperf(site.client, site.target, inner[4].mapped, { flows });
  }
}

labTest("netns.sh: a keepalive of 1 s holds a NAT mapping of 2 s open", async () => {
  await using site = await NatSite.start({ persistentKeepalive: 1, mappingSeconds: 2 });
  await site.reached();
  await pingOnce(site.peer, GATEWAY[4]);
  assert.match((await site.wireguard.peer()).endpoint, /^198\.51\.100\.1:/);
  // The scenario's own figure: a mapping without keepalives would have been forgotten.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  await site.reached(); // which nobody but the keepalives makes possible
}, ["curl", "ping"]);
