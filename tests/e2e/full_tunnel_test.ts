/**
 * `wirestack up --tun` with everything in the tunnel while UDP to the hub is dropped: the connection that
 * carries the tunnel then goes around it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { block, relay, type Transport } from "./fallback_site.ts";
import { labTest } from "./lab.ts";
import { PUBLIC, SERVER, SERVER_PORT, TunnelSite } from "./tunnel_site.ts";

const PROGRAMS = ["curl", "ping", "bash", "python3"];
const HUB = "hub.test";

/** The hub has a name, which the client finds as long as nothing of it is in the tunnel. */
function start(transport: Transport): Promise<TunnelSite> {
  return TunnelSite.start(
    "wirestack",
    `${SERVER[0]}:${SERVER_PORT}`,
    (lab) => relay(lab, [transport], HUB),
  );
}

async function name(site: TunnelSite, isFound: boolean): Promise<void> {
  await site.client.etc("hosts", `127.0.0.1 localhost\n${isFound ? `${SERVER[0]} ${HUB}\n` : ""}`);
}

const CASES = [
  { transport: "tls", lines: [], allowedIps: "0.0.0.0/0, ::/0" },
  { transport: "tls", lines: ["KillSwitch = true"], allowedIps: "0.0.0.0/0, ::/0" },
  { transport: "grpc", lines: ["KillSwitch = true"], allowedIps: "0.0.0.0/0, ::/0" },
  { transport: "tls", lines: [], allowedIps: "0.0.0.0/1, 128.0.0.0/1, ::/1, 2000::/3" },
] as const;

for (const { transport, lines, allowedIps } of CASES) {
  const title = `${transport}, ${lines[0] ?? "without a kill switch"}, ${allowedIps}`;

  labTest(`UDP is dropped from the beginning: ${title}`, async () => {
    await using site = await start(transport);
    await block(site.router, true);
    await name(site, true);
    const before = await site.state();
    const process = await site.up([...lines], { allowedIps });
    // From here on the way to a name server is the tunnel, in which nobody answers yet.
    await name(site, false);
    await site.isUp();
    await process.line(new RegExp(`by ${transport} now`));
    assert.equal(await site.seenAs(PUBLIC[0]), SERVER[0]);
    assert.equal(await site.seenAs(PUBLIC[1]), SERVER[1]);
    await name(site, true);
    process.signal("SIGTERM");
    assert.equal((await process.exit(30_000)).code, 0, `${process}`);
    assert.deepEqual(await site.state(), before);
  }, PROGRAMS);
}
