/** The link under a tunnel gets smaller than the tunnel's packets, and large again. */

import assert from "node:assert/strict";
import { eventually, labTest } from "./lab.ts";
import { PORTS } from "./ports.ts";
import { Site, TARGET } from "./site.ts";

/** Each way: enough that the transfers outlast all that is done to the link. */
const FILE_BYTES = 100_000_000;
/** What has to pass each way before a rate is told, bytes. */
const SPAN = 4_000_000;

/** What the client's side of the link has carried, each way, bytes. */
async function carried({ client }: Site): Promise<[down: number, up: number]> {
  const text = await client.output(["ip", "-j", "-s", "link", "show", "dev", "wan"]);
  const [{ stats64: { rx, tx } }] = JSON.parse(text);
  return [rx.bytes, tx.bytes];
}

/** Waits until both ways have moved. @returns bytes per ms, both together. */
async function rate(site: Site): Promise<number> {
  const [down, up] = await carried(site);
  const begin = performance.now();
  return await eventually("bytes, both ways", async () => {
    const [downNow, upNow] = await carried(site);
    const [moreDown, moreUp] = [downNow - down, upNow - up];
    return moreDown > SPAN && moreUp > SPAN &&
      (moreDown + moreUp) / (performance.now() - begin);
  }, { intervalMs: 20 });
}

async function setMtu({ client, gatewayHost }: Site, mtu: number): Promise<void> {
  await Promise.all([client, gatewayHost].map((host) => host.ip(`link set wan mtu ${mtu}`)));
}

for (const outer of [4, 6] as const) {
  labTest(
    `the outer IPv${outer} link's MTU falls to 1,280 during transfers and rises again: they go on, as fast as before`,
    async () => {
      await using site = await Site.start({
        subject: "deno task start",
        outer,
        fileBytes: FILE_BYTES,
      });
      const { path, sha256 } = site.file;
      const transfer = site.ask("duplex", TARGET[4], PORTS.duplex, path);
      const before = await rate(site);
      await setMtu(site, 1_280);
      await rate(site);
      await setMtu(site, 1_500);
      await eventually("the rate of before", async () => await rate(site) > before / 2);
      assert.deepEqual(await transfer, { downloaded: sha256, uploaded: sha256 });
    },
  );
}
