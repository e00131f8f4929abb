/**
 * Two hosts that send all they have through a tunnel of ours, and a server of ours that lets them out:
 * every direction, both families, each kind of server, and nothing left on any of the three.
 *
 * @module
 */

import assert from "node:assert/strict";
import { eventually, type Host, labTest } from "./lab.ts";
import type { Process } from "./process.ts";
import { GATE, INSIDE, ServerSite } from "./server_site.ts";
import { FILE_BYTES, fileHash, hashOf } from "./tunnel_services.ts";
import { PUBLIC, SERVER } from "./tunnel_site.ts";
import { tries } from "../tries.ts";

/** Peers reach the HTTP server of the second, and nothing else of each other. */
const RULES = `[Rule]\nTo = ${INSIDE[1].join(", ")}\nPorts = tcp/8000\n` +
  `[Rule]\nTo = ${INSIDE.flat().join(", ")}\nAction = reject\n`;
const ARGS = ["--peer-to-peer", "true"];
/** Of `iperf3`, one for each client: it serves one at a time. */
const PORTS = ["5201", "5202"];

labTest(
  "two clients send everything through a server of either kind, and all three are as before",
  async (t) => {
    await using site = await ServerSite.start("wirestack");
    const [client, other] = site.clients as [Host, Host];
    // Whoever has been elsewhere has its addresses in another order.
    await site.move("away");
    await site.move("home");
    const before = await site.states();
    const homes = await Promise.all(site.clients.map((from) => site.seenAs(from, PUBLIC[0])));
    assert.deepEqual(homes, ["198.51.100.2", "198.51.101.2"], "without a tunnel");
    for (const port of PORTS) {
      await site.public.spawn("iperf3", ["iperf3", "--server", "--forceflush", "--port", port])
        .line(/Server listening/);
    }
    /** All that a client does, at once with the other. */
    const each = async (what: (from: Host, index: number) => Promise<void>) => {
      await Promise.all(site.clients.map(what));
    };
    const areOutside = () =>
      each(async (from) => {
        for (const family of [0, 1] as const) {
          await eventually(
            `${from.label} gets out as the server`,
            async () => await site.seenAs(from, PUBLIC[family], 3) === SERVER[family],
          );
        }
      });

    for (const kind of ["rootless", "masquerade"] as const) {
      const startServer = () => site.up(kind, RULES, ARGS);
      // The second lets nothing leave around the tunnel.
      const startClients = () =>
        Promise.all(
          site.tunnels.map((tunnel, index) => tunnel.up(["--kill-switch", `${index === 1}`])),
        );
      let [server, tunnels] = await Promise.all([startServer(), startClients()]);

      await t.step(`${kind}: connections and pings, both families`, async () => {
        await areOutside();
        await each(async (from) => {
          for (const address of [...PUBLIC, ...GATE]) {
            await from.output(["ping", "-c", "2", "-i", "0.2", "-W", "30", address]);
          }
        });
      });
      await t.step(`${kind}: names`, () =>
        each(async (from) => {
          const found = await from.output(["getent", "ahosts", "public.test"]);
          assert.ok(found.includes(PUBLIC[0]) && found.includes(PUBLIC[1]), found);
        }));
      await t.step(`${kind}: iperf3, both ways`, () =>
        each((from, index) =>
          tries(10, async () => { // a second may be nobody's
            const said = await from.output([
              ...["iperf3", "--json", "--bidir", "--time", "1", "--port", PORTS[index]!],
              ...["--client", PUBLIC[1 - index]!],
            ]);
            const { end } = JSON.parse(said);
            assert.ok(end.sum_received?.bytes > 100_000, said);
            assert.ok(end.sum_received_bidir_reverse?.bytes > 100_000, said);
          })
        ));
      await t.step(`${kind}: each other, where a rule allows it`, async () => {
        for (const [family, address] of INSIDE[1].entries()) {
          assert.equal(await site.seenAs(client, address), INSIDE[0][family]);
        }
        const ping = (from: Host, address: string) =>
          from.run(["ping", "-c", "1", "-W", "30", address]);
        for (const family of [0, 1] as const) {
          const answers = await Promise.all([
            ping(client, INSIDE[1][family]),
            ping(other, INSIDE[0][family]),
          ]);
          for (const { stdout } of answers) assert.match(stdout, /filtered|prohibited/);
        }
      });
      await t.step(`${kind}: killed and started again`, async () => {
        if (kind === "rootless") {
          // The clients' sessions are of no use any more.
          Deno.kill(server.worker, "SIGKILL");
          await server.exit();
          server = await startServer();
        } else {
          await site.kill(server);
          await killAll(site, tunnels);
          assert.notDeepEqual(await site.states(), before);
          [server, tunnels] = await Promise.all([startServer(), startClients()]);
          for (const process of [server, ...tunnels]) {
            await process.line(/: \d+ steps of an earlier wg0 taken back$/);
          }
        }
        await areOutside();
      });
      await t.step(`${kind}: 100 MB to the byte, from one uplink to another`, async () => {
        const files = site.clients.map(({ label }) => `${site.lab.directory}/${label}.file`);
        let isMoved = false;
        await tries(5, async () => {
          if (isMoved) await site.move("home"); // and once more
          const fetched = each(async (from, index) => {
            const host = index === 0 ? PUBLIC[0] : `[${PUBLIC[1]}]`;
            const paced = ["curl", "--silent", "--fail", "--limit-rate", "30M"];
            await from.output(
              [...paced, "--output", files[index]!, `http://${host}:8000/file`],
              { timeoutMs: 300_000 },
            );
          });
          for (const file of files) {
            await eventually("a tenth", () => sizeOf(file) > FILE_BYTES / 10);
          }
          await site.move("away");
          isMoved = true;
          const sizes = files.map(sizeOf);
          await fetched;
          for (const file of files) {
            assert.equal(hashOf(await Deno.readFile(file)), fileHash());
            await Deno.remove(file);
          }
          for (const size of sizes) assert.ok(size < FILE_BYTES, "has not ended before");
        });
      });
      await t.step(`${kind}: home again`, async () => {
        await site.move("home");
        await areOutside();
      });
      await t.step(`${kind}: ended, all is as before`, async () => {
        for (const process of [server, ...tunnels]) process.signal("SIGTERM");
        for (const process of [server, ...tunnels]) {
          assert.equal((await process.exit()).code, 0, `${process}`);
        }
        assert.deepEqual(await site.states(), before);
      });
    }
  },
  ["curl", "ping", "bash", "iperf3"],
);

async function killAll(site: ServerSite, tunnels: readonly Process[]): Promise<void> {
  await Promise.all(site.tunnels.map((tunnel, i) => tunnel.kill(tunnels[i]!)));
}

function sizeOf(file: string): number {
  try {
    return Deno.statSync(file).size;
  } catch {
    return 0; // not there yet
  }
}
