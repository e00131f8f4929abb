/** netns.sh: what is changed by `wg` while packets go. */

import assert from "node:assert/strict";
import { startGateway } from "../gateway.ts";
import { eventually, Lab, labTest } from "../lab.ts";
import { NetnsSite, pingOnce } from "../netns_site.ts";
import { CLIENT, endpoint, GATEWAY, gatewayConfig, OUTER } from "../site.ts";
import { keyPair, presharedKey } from "../wireguard_go.ts";

const CLIENT_OUTER = { 4: "192.0.2.2", 6: "2001:db8:2::2" } as const;

labTest("netns.sh: Wirestack roams to another address and port, and to IPv6", async () => {
  await using site = await NetnsSite.start({ isControlled: true });
  const { gateway, gatewayHost, wireguard, clientPublicKey } = site.site;
  await gatewayHost.ip(`address del ${OUTER[4]}/24 dev wan`, "address add 192.0.2.99/24 dev wan");
  await gateway.set("listen-port", "9999");
  await site.isAt(9999);
  await pingOnce(site.inside, CLIENT[6]);
  assert.equal((await wireguard.peer()).endpoint, "192.0.2.99:9999");

  await gateway.set("listen-port", "9998");
  await site.isAt(9998);
  await gateway.set("peer", clientPublicKey, "endpoint", endpoint(CLIENT_OUTER[6], 51821));
  await pingOnce(site.inside, CLIENT[4]);
  assert.equal((await wireguard.peer()).endpoint, endpoint(OUTER[6], 9998));
}, ["ping"]);

labTest("netns.sh: cryptokey routing while a more specific peer comes and goes", async () => {
  await using site = await NetnsSite.start({ isControlled: true });
  const { gateway, wireguard, clientPublicKey, client } = site.site;
  await gateway.set("peer", clientPublicKey, "allowed-ips", "10.9.0.0/24");
  await pingOnce(client, GATEWAY[4]);
  const { publicKey: moreSpecific } = await keyPair();
  await gateway.set("peer", moreSpecific, "allowed-ips", `${CLIENT[4]}/32`);
  await wireguard.set("listen-port", "9997");
  assert.notEqual((await client.run(["ping", "-c", "1", "-W", "1", GATEWAY[4]])).code, 0);
  await gateway.set("peer", moreSpecific, "remove");
  await eventually("its endpoint is followed all the same", async () => {
    return (await gateway.show("endpoints"))
      .includes(`${clientPublicKey}\t${CLIENT_OUTER[4]}:9997`);
  });
  await pingOnce(client, GATEWAY[4]);
}, ["ping"]);

labTest("netns.sh: another private key, and the next packet brings a handshake", async () => {
  await using site = await NetnsSite.start({ isControlled: true });
  const { gateway, wireguard, clientPublicKey, gatewayPublicKey, lab } = site.site;
  const [key3, key4, psk] = [await keyPair(), await keyPair(), await presharedKey()];
  const file = async (name: string, text: string) => {
    const path = `${lab.directory}/${name}`;
    await Deno.writeTextFile(path, text, { mode: 0o600 });
    return path;
  };
  const pskFile = await file("psk", psk);
  const replace = (on: { set(...args: string[]): Promise<void> }, old: string, publicKey: string) =>
    on.set(
      ...["peer", publicKey, "preshared-key", pskFile, "allowed-ips"],
      on === gateway ? `${CLIENT[4]}/32` : "10.9.0.0/24",
      ...["peer", old, "remove"],
    );
  // n1's, with n2 told; nobody but n1 knows where the other is.
  await gateway.set("private-key", await file("key3", key3.privateKey));
  await gateway.set("peer", clientPublicKey, "preshared-key", pskFile);
  await replace(wireguard, gatewayPublicKey, key3.publicKey);
  await site.hasKey(key3.publicKey);
  await pingOnce(site.inside, CLIENT[4]);
  assert.equal((await wireguard.peer()).endpoint, `${OUTER[4]}:51820`);

  // And n2's.
  await wireguard.set("private-key", await file("key4", key4.privateKey));
  await replace(gateway, clientPublicKey, key4.publicKey);
  await pingOnce(site.n2, GATEWAY[4]);
}, ["ping"]);

labTest(
  "netns.sh: keys shown, taken away and clamped; overlapping prefixes; 130,560 of them",
  async () => {
    await using lab = await Lab.create();
    const host = await lab.host("n0");
    const [own, other, psk] = [await keyPair(), await keyPair(), await presharedKey()];
    const config = gatewayConfig({ keys: await keyPair(), peers: [] });
    const gateway = await startGateway(host, lab.directory, config, { isControlled: true });
    const file = async (name: string, text: string) => {
      await Deno.writeTextFile(`${lab.directory}/${name}`, text, { mode: 0o600 });
      return `${lab.directory}/${name}`;
    };
    const [key1, key2] = [await file("1", own.privateKey), await file("2", other.privateKey)];
    const pskFile = await file("psk", psk);
    const peer = ["peer", other.publicKey];

    await gateway.set("private-key", key1, ...peer, "preshared-key", pskFile);
    assert.equal(await gateway.show("private-key"), own.privateKey);
    assert.equal(await gateway.show("preshared-keys"), `${other.publicKey}\t${psk}`);
    await gateway.set("private-key", "/dev/null", ...peer, "preshared-key", "/dev/null");
    assert.equal(await gateway.show("private-key"), "(none)");
    assert.equal(await gateway.show("preshared-keys"), `${other.publicKey}\t(none)`);

    // One's own key is no peer's, whichever came first.
    await gateway.set(...peer);
    await gateway.set("private-key", key2);
    assert.equal(await gateway.show("public-key"), other.publicKey);
    assert.equal(await gateway.show("peers"), "");
    await gateway.set(...peer);
    assert.equal(await gateway.show("peers"), "");
    await gateway.set("private-key", key1);
    await gateway.set(...peer);
    assert.equal(await gateway.show("peers"), other.publicKey);
    await gateway.set("private-key", await file("3", `/${own.privateKey.slice(1)}`));
    assert.equal(await gateway.show("private-key"), `+${own.privateKey.slice(1)}`);

    for (
      const prefixes of [
        "0.0.0.0/0,10.0.0.0/8,100.0.0.0/10,172.16.0.0/12,192.168.0.0/16",
        "0.0.0.0/0",
        "::/0,1700::/111,5000::/4,e000::/37,9000::/75",
        "::/0",
      ]
    ) {
      await gateway.set(...peer, "allowed-ips", prefixes);
      const [, ...shown] = (await gateway.show("allowed-ips")).split(/\s/);
      assert.deepEqual(shown.sort(), prefixes.split(",").sort());
    }
    await gateway.set(...peer, "remove");

    const lines = ["[Interface]", `PrivateKey = ${own.privateKey}`, "[Peer]"];
    lines.push(`PublicKey = ${other.publicKey}`);
    for (let a = 1; a <= 255; a++) {
      for (let b = 0; b <= 255; b++) lines.push(`AllowedIPs = ${a}.${b}.0.0/16, ${a}::${b}/128`);
    }
    await gateway.setconf(lines.join("\n") + "\n");
    assert.equal((await gateway.show("allowed-ips")).split(/\s+/).length, 255 * 256 * 2 + 1);
  },
);
