/**
 * Two whole-system clients whose MTU is what their own ways leave, 1440 bytes, and a hub between them
 * with the usual 1420.
 *
 * @module
 */

import assert from "node:assert/strict";
import { startGateway } from "./gateway.ts";
import { HUB, HUB_PORT, startInternet } from "./internet.ts";
import { allAnswered } from "./all_answered.ts";
import { eventually, type Host, Lab, labTest } from "./lab.ts";
import { TunnelHost } from "./tunnel_host.ts";
import { keyPair } from "./wireguard_go.ts";

const INSIDE = [["10.9.0.2", "fd09::2"], ["10.9.0.3", "fd09::3"]] as const;

labTest(
  "packets that are too big for the hub between two clients find their size, or go in fragments",
  async (t) => {
    await using lab = await Lab.create();
    const { client, hub, nats } = await startInternet(lab);
    const hosts = [client, nats[0]];
    const [hubKeys, ...keys] = await Promise.all([keyPair(), keyPair(), keyPair()]);
    const own = (i: number) => INSIDE[i]!.map((address, j) => `${address}/${[32, 128][j]}`);
    await startGateway(
      hub,
      lab.directory,
      [
        ...["[Interface]", `PrivateKey = ${hubKeys!.privateKey}`, `ListenPort = ${HUB_PORT}`],
        "Address = 10.9.0.1/24, fd09::1/64",
        ...keys.flatMap(({ publicKey }, i) => [
          ...["[Peer]", `PublicKey = ${publicKey}`, `AllowedIPs = ${own(i).join(", ")}`],
        ]),
        "",
      ].join("\n"),
      { subject: "deno task start", command: "hub" },
    );
    for (const [i, host] of hosts.entries()) {
      const tunnel = await TunnelHost.create(host, `${lab.directory}/client${i}`);
      await Deno.writeTextFile(
        tunnel.file,
        [
          ...["[Interface]", `PrivateKey = ${keys[i]!.privateKey}`],
          `Address = ${own(i).join(", ")}`,
          ...["[Peer]", `PublicKey = ${hubKeys!.publicKey}`, "AllowedIPs = 10.9.0.0/24, fd09::/64"],
          ...[`Endpoint = ${HUB}:${HUB_PORT}`, "PersistentKeepalive = 10", ""],
        ].join("\n"),
        { mode: 0o600 },
      );
      await (await tunnel.up()).line(/handshake complete/);
      const [link] = JSON.parse(await host.output(["ip", "-j", "link", "show", "wg0"]));
      assert.equal(link.mtu, 1440);
    }
    const [there, there6] = INSIDE[1];
    const ping = (from: Host, to: string, ...more: string[]) =>
      from.run(["ping", "-n", "-c", "3", "-i", "0.2", "-W", "30", ...more, to]);
    await t.step("a ping that may be fragmented gets through", async () => {
      const { code, stdout } = await ping(client, there, "-s", "1412", "-M", "dont");
      assert.equal(code, 0, stdout);
      assert.match(stdout, / 3 received/);
    });
    await t.step(
      "one that may not is told the size, from then on its kernel knows it",
      async () => {
        const told = await ping(client, there, "-s", "1412", "-M", "do");
        assert.match(`${told.stdout}${told.stderr}`, /mtu ?= ?1420/);
        assert.match(await client.output(["ip", "route", "get", there]), / mtu 1420 /);
        assert.equal((await ping(client, there, "-s", "1412", "-M", "want")).code, 0);
      },
    );
    await t.step("so does IPv6", async () => {
      const first = await ping(client, there6, "-s", "1392", "-c", "1");
      assert.match(first.stdout, /Packet too big: mtu=1420/);
      assert.match(first.stdout, / 0 received/);
      // So is the first answer, which is as long, and the other's kernel knows it too.
      await eventually("an answer", async () => {
        return (await ping(client, there6, "-s", "1392", "-c", "1", "-W", "3")).code === 0;
      });
      // The others go in fragments.
      await allAnswered(client, there6, 3, "-i", "0.2", "-s", "1392");
    });
    for (const [family, address] of [["4", there], ["6", there6]] as const) {
      await t.step(`TCP over IPv${family}, from the one that knows nothing yet`, async () => {
        const server = client.spawn("iperf3", ["iperf3", "-s", "-1", "--forceflush"]);
        await server.line(/Server listening/);
        const { end } = JSON.parse(
          await nats[0].output(
            ["iperf3", "-J", "-n", "5M", "-c", address === there ? INSIDE[0][0] : INSIDE[0][1]],
          ),
        );
        // What is under way when the sender is done is not counted.
        assert.ok(end.sum_received.bytes > 1_000_000, JSON.stringify(end.sum_received));
        await server.exit();
      });
    }
  },
  ["ping", "iperf3"],
);
