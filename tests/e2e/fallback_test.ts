/**
 * The walk-through of two networks behind agents while UDP is dropped, from the beginning and in the middle
 * of a download.
 *
 * @module
 */

import assert from "node:assert/strict";
import { FallbackSite, type Transport } from "./fallback_site.ts";
import { labTest, promptLabTest } from "./lab.ts";
import { Waiting } from "./waiting.ts";
import { FIRST, SECOND } from "./redirect_site.ts";
import { fileHash } from "./tunnel_services.ts";

const PROGRAMS = ["curl", "ping", "bash", "python3"];
/**
 * ms, of docs/transports.md, until both use the fallback: two seconds, and on a machine that has much to do
 * some more, for three handshakes of TLS at once.
 */
const LONGEST_PATH = 10_000;
/** ms, from then on until something comes: the sender's next attempt, once or twice. */
const LONGEST_WAIT = 4_000;
/** ms, when UDP is taken back. */
const LONGEST_BACK = 1_500;
/** Since packets pass both ways again: five seconds and a trial, twice where the first came too early. */
const RETURN_MS = 40_000;

for (const transport of ["tls", "grpc"] satisfies Transport[]) {
  labTest(`UDP is dropped: two networks with the same addresses by ${transport}`, async (t) => {
    await using fallback = await FallbackSite.start([transport], true);
    const { site } = fallback;
    await site.write();
    await site.tunnel.keepToRoot();
    const process = await site.tunnel.up();
    assert.ok(process.lines.some((line) => line.includes("user nobody")), `${process}`);
    await t.step("each address leads to its own target", async () => {
      for (const [addresses, name] of [[FIRST, "target 1"], [SECOND, "target 2"]] as const) {
        for (const address of addresses) assert.equal(await site.nameAt(address), name);
      }
    });
    await t.step("a file arrives as it is, and pings are answered", async () => {
      const { stdout } = await site.client.run(
        ["bash", "-c", `curl --silent http://${FIRST[0]}/file | sha256sum`],
      );
      assert.equal(stdout.split(" ")[0], fileHash());
      await site.client.output(["ping", "-c", "3", "-W", "30", SECOND[0]]);
    });
    await t.step("UDP too", async () => {
      const reply = await site.client.output(["python3", "-c", ASK, FIRST[0]]);
      assert.equal(reply.trim(), "target 1: hello");
    });
    process.signal("SIGTERM");
    assert.equal((await process.exit()).code, 0, `${process}`);
    await t.step("a redirect, and its key is root's", async () => {
      const process = await site.redirect();
      assert.ok(process.lines.some((line) => line.includes("user nobody")), `${process}`);
      for (const [[address], name] of [[FIRST, "target 1"], [SECOND, "target 2"]] as const) {
        assert.equal(await site.nameAt(address), name, `${process}`);
      }
      process.signal("SIGTERM");
      assert.equal((await process.exit()).code, 0, `${process}`);
    });
  }, PROGRAMS);

  promptLabTest(
    `UDP is dropped during a download: it goes on by ${transport}, and comes back`,
    async (t) => {
      await using fallback = await FallbackSite.start([transport], false);
      const { site } = fallback;
      await site.write();
      const process = await site.tunnel.up();
      const { hub } = site;
      const download = await fallback.download(FIRST[0]);
      await new Promise((resolve) => setTimeout(resolve, 3_000)); // as a download that is under way
      const logs = [process, site.agents[0]!.process, hub.process];
      for (const log of logs) await fallback.isByUdp(log);
      await t.step("blocked", async () => {
        const from = logs.map(({ lines }) => lines.length);
        const start = Date.now();
        const waiting = new Waiting();
        await fallback.block(true);
        const ready = await Promise.all(logs.map(async (log, i) => {
          await fallback.isBy(transport, log, from[i]!);
          return Date.now() - start;
        }));
        await download.goesOn();
        const stall = download.stall(start);
        const { ms } = waiting;
        const path = Math.max(...ready.slice(0, 2));
        const wait = Math.max(0, stall - path);
        console.log(
          `${transport}: nothing came for ${stall} ms (goal: less than 4000); of that ${path} ms without ` +
            `a path (client ${ready[0]}, agent ${ready[1]}), and TCP's ${wait}`,
        );
        assert.ok(path - ms < LONGEST_PATH, `${path} ms, ${ms} of them waiting`);
        assert.ok(wait - ms < LONGEST_WAIT, `${stall} ms, ${path} without a path, ${ms} waiting`);
      });
      await t.step("unblocked", async () => {
        const from = process.lines.length;
        const start = Date.now();
        const waiting = new Waiting();
        await fallback.block(false);
        await fallback.isBy("udp", process, from);
        const seconds = (Date.now() - start) / 1000;
        await download.goesOn();
        await download.goesOn();
        const stall = download.stall(start);
        const { ms } = waiting;
        console.log(`back by UDP after ${seconds} s, nothing came for ${stall} ms meanwhile`);
        assert.ok(seconds * 1000 - ms < RETURN_MS, `${seconds} s`);
        assert.ok(stall - ms < LONGEST_BACK, `${stall} ms, ${ms} of them waiting`);
      });
      assert.ok(download.isRight, "every byte");
    },
    PROGRAMS,
  );
}

const ASK = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
s.sendto(b"hello", (sys.argv[1], 7))
print(s.recvfrom(100)[0].decode())
`;
