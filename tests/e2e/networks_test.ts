/**
 * What goes wrong in networks that are joined, and how long it keeps them apart: docs/networks.md has the
 * same limits.
 *
 * @module
 */

import assert from "node:assert/strict";
import { forgetEndpoints } from "./gateway.ts";
import { eventually, promptLabTest } from "./lab.ts";
import { kill, NetworksSite, SHARED, SINGLE } from "./networks_site.ts";

/** ms. Of the documentation, for a machine with other things to do. */
const LIMITS = {
  twin: 5_000,
  back: 5_000,
  restarted: 20_000,
  killed: 20_000,
  /** WireGuard's own 15 s at the client. */
  forgotten: 25_000,
  mended: 5_000,
  mapping: 15_000,
  mappingTwin: 5_000,
  /** wireguard-go sends from the address that it had until its next handshake. */
  roamed: 20_000,
  roamedOurs: 3_000,
} as const;

const CUT_MS = 20_000;

function measured(what: keyof typeof LIMITS, ms: number): void {
  console.log(`pause, ${what}: ${ms} ms`);
  assert.ok(ms < LIMITS[what], `${what}: ${ms} ms, at most ${LIMITS[what]}`);
}

promptLabTest(
  "hub restarted and killed, agent killed, cut off and forgotten by its NAT, client elsewhere: nothing needs a hand",
  async (t) => {
    await using site = await NetworksSite.start("wireguard-go");
    assert.equal(await site.answers(SHARED), "target 1");
    assert.equal(await site.answers(SINGLE), "target 2");
    const [shared, single] = [await site.ping(SHARED), await site.ping(SINGLE)];

    await t.step("an agent is killed, and its twin takes over", async () => {
      measured("twin", await shared.pause(() => kill(site.agents[0]!)));
      await site.hub.process.line(/100\.64\.1\.0\/24: site-b has it now, site-a/);
      assert.equal(await site.answers(SHARED), "target 2");
    });

    await t.step(
      "it is started again, and has its network again when it is there to stay",
      async () => {
        const file = `${site.lab.directory}/download`;
        const connection = site.client.spawn("curl", [
          ...["curl", "--silent", "--show-error", "--limit-rate", "500k", "--output", file],
          `http://${SHARED}/file`,
        ]);
        const pause = shared.pause(async () => {
          await site.startAgent(0);
          const line = /100\.64\.1\.0\/24: site-a has it again, not site-b/;
          await site.hub.process.line(line, { timeoutMs: 90_000 });
        });
        measured("back", await pause);
        await eventually("the first again", async () => await site.answers(SHARED) === "target 1");
        // Which began by the second, and goes on there.
        const { size } = await Deno.stat(file);
        await eventually("the download goes on", async () => {
          return (await Deno.stat(file)).size > size + 2_000_000;
        });
        connection.signal("SIGKILL");
        await connection.exit();
      },
    );

    await t.step("the hub is restarted", async () => {
      measured(
        "restarted",
        await single.pause(async () => {
          assert.equal(await site.hub.stop(), 0);
          await site.startHub();
        }),
      );
      await shared.goesOn();
    });

    await t.step("the hub is killed, and started again", async () => {
      measured(
        "killed",
        await single.pause(async () => {
          await kill(site.hub);
          await site.startHub();
        }),
      );
      await shared.goesOn();
    });

    await t.step("the hub is killed, and started again with no memory", async () => {
      measured(
        "forgotten",
        await single.pause(async () => {
          await kill(site.hub);
          await forgetEndpoints(site.hubHost, site.lab.directory);
          await site.startHub();
        }),
      );
      await shared.goesOn();
    });

    await t.step("an agent's line is cut for a while", async () => {
      const [agent] = site.agentHosts.slice(1);
      const pause = await single.pause(async () => {
        await agent!.ip("link set wan down");
        await new Promise((resolve) => setTimeout(resolve, CUT_MS));
        await agent!.ip("link set wan up", "route add default via 10.77.0.1");
      });
      measured("mended", pause - CUT_MS);
    });

    const forget = async (i: number) => {
      const nat = site.nats[i]!;
      // With the device the kernel forgets its mappings; the next ones have other ports.
      await nat.output(["nft", "flush", "chain", "ip", "nat", "post"]);
      await nat.output([
        ...["nft", "add", "rule", "ip", "nat", "post", "oifname", "wan", "masquerade"],
        "fully-random",
      ]);
      await nat.ip("link set wan down", "link set wan up");
      await nat.ip(`route add default via ${["192.0.2.1", "198.18.7.1"][i]}`);
    };
    await t.step("an agent's NAT forgets its mapping", async () => {
      measured("mapping", await single.pause(() => forget(1)));
    });
    await t.step("the same where it has a twin", async () => {
      await eventually("the first has it", async () => await site.answers(SHARED) === "target 1");
      measured("mappingTwin", await shared.pause(() => forget(0)));
    });

    await t.step("the client is in another network", async () => {
      measured("roamed", await single.pause(() => site.moveClient()));
    });
  },
  ["curl", "ping"],
);

promptLabTest("a client of ours is in another network", async () => {
  await using site = await NetworksSite.start("wirestack");
  const single = await site.ping(SINGLE);
  measured("roamedOurs", await single.pause(() => site.moveClient()));
}, ["ping"]);
