import assert from "node:assert/strict";
import type { AccessRecord } from "../../proxy/watch/access_log.ts";
import { eventually, labTest } from "./lab.ts";
import { PORTS } from "./ports.ts";
import { CLIENT, Site, TARGET } from "./site.ts";

labTest(
  "the access log has a line for each UDP session and each ping, where they are asked for",
  async () => {
    const folder = await Deno.makeTempDir();
    await Deno.chmod(folder, 0o777); // the gateway is another user's
    try {
      await using site = await Site.start({
        subject: "deno task start",
        pingGroups: "0 2147483647",
        gatewaySidePeer: { lines: ["Name = laptop"] },
        proxy: [
          "Subnets = 10.50.0.0/16, fd50::/64",
          ...["UdpIdleTimeout = 1", "IcmpIdleTimeout = 1"],
          ...["[Rule]", "Ports = udp, icmp, tcp"],
          ...["[Log]", `Access = ${folder}/access.log`],
        ],
      });
      const records = async () =>
        (await Deno.readTextFile(`${folder}/access.log`)).split("\n").slice(0, -1)
          .map((line) => JSON.parse(line) as AccessRecord);
      const ended = (protocol: string, count: number) =>
        eventually(`${count} lines of ${protocol}`, async () => {
          const found = (await records()).filter((each) => each.protocol === protocol);
          return found.length >= count ? found : undefined;
        });
      for (const family of [4, 6] as const) {
        assert.deepEqual(await site.ask("udp", TARGET[family], PORTS.echo, 100, 100, 100), {
          failures: [],
        });
        await site.client.output(["ping", "-c", "3", "-i", "0.2", "-w", "60", TARGET[family]]);
      }
      const sessions = await ended("udp", 2);
      const pings = await ended("icmp", 2);
      assert.deepEqual([sessions.length, pings.length], [2, 2]);
      for (const family of [4, 6] as const) {
        const place = (address: string, port: number) =>
          family === 4 ? `${address}:${port}` : `[${address}]:${port}`;
        const ofFamily = (all: AccessRecord[]) =>
          all.find(({ destination }) => destination.includes(TARGET[family]))!;
        const session = ofFamily(sessions);
        assert.deepEqual(
          [session.peer, session.verdict, session.ending, session.rule],
          ["laptop", "allowed", "idle", 1],
        );
        assert.ok(session.source.includes(CLIENT[family]), session.source);
        assert.equal(session.destination, place(TARGET[family], PORTS.echo));
        assert.equal(session.dialled, session.destination);
        // What was not answered in time was asked again.
        assert.ok(session.packetsUp >= 3 && session.packetsDown >= 3);
        assert.equal(session.bytesUp, session.packetsUp * 100);
        assert.equal(session.bytesDown, session.packetsDown * 100);
        assert.deepEqual([session.rttMs, session.targetRttMs], [null, null]);

        const ping = ofFamily(pings);
        assert.deepEqual(
          [ping.peer, ping.verdict, ping.ending, ping.rule],
          ["laptop", "allowed", "idle", 1],
        );
        assert.equal(ping.destination, place(TARGET[family], 0));
        assert.ok(ping.packetsUp >= 3 && ping.packetsDown >= 3, JSON.stringify(ping));
        assert.equal(ping.bytesUp, ping.packetsUp * 56);
        assert.ok(ping.targetRttMs! > 0 && ping.targetRttMs === ping.rttMs, `${ping.targetRttMs}`);
      }

      // Switched off, they have none: the line of what came after them is there.
      const file = `${site.lab.directory}/${site.gatewayHost.namespace}.conf`;
      const config = await Deno.readTextFile(file);
      await Deno.writeTextFile(file, `${config}AccessProtocols = tcp\n`);
      const from = site.gateway.process.lines.length;
      Deno.kill(site.gateway.process.worker, "SIGHUP");
      await site.gateway.process.line(/reloaded/, { from });
      await site.client.output(["ping", "-c", "1", "-w", "60", TARGET[4]]);
      await eventually("the ping is over", async () => {
        const { flows } = await site.gateway.stats() as { flows: { total: { live: number } } };
        return flows.total.live === 0 ? true : undefined;
      });
      await site.client.output(["curl", "--silent", "--fail", `http://${TARGET[4]}/`]);
      const [connection] = await ended("tcp", 1);
      assert.equal(connection!.ending, "closed");
      assert.ok(connection!.rttMs! > 0 && connection!.targetRttMs! > 0);
      assert.equal((await records()).length, 5);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
  ["curl", "ping"],
);
