/**
 * A tunnel of the whole system whose `AllowedIPs` gain and lose default routes while it is up.
 *
 * @module
 */

import assert from "node:assert/strict";
import { labTest } from "./lab.ts";
import { CLIENT, PUBLIC, SERVER, TunnelSite } from "./tunnel_site.ts";

const PROGRAMS = ["curl", "ping", "bash"];
const FULL = "0.0.0.0/0, ::/0";
const NARROW = "10.77.0.0/16";
/** What a default route comes with. The device and its addresses stay. */
const OF_DEFAULTS = ["rule", "rule6", "nft", "sysctl", "resolvConf"] as const;

/** Has the running tunnel read its file again with other allowed IPs. */
function reload(site: TunnelSite, allowedIps: string): Promise<void> {
  return site.reload((text) => text.replace(/^AllowedIPs = .*$/m, `AllowedIPs = ${allowedIps}`));
}

/** Without numbers of the kernel's, and what has been counted since. */
function part(state: Record<string, unknown>): unknown {
  return JSON.parse(
    JSON.stringify(OF_DEFAULTS.map((name) => [name, state[name]])),
    (key, value) => ["handle", "bytes", "packets"].includes(key) ? undefined : value,
  );
}

/** Without what the kernel makes of a new device by itself, in its time. */
function routes(state: Record<string, unknown>): unknown[] {
  const all = [...state.route as unknown[], ...state.route6 as unknown[]] as { dst: string }[];
  return all.filter(({ dst }) => !/^(?:fe80|ff00|multicast)/.test(dst)).map((route) =>
    JSON.stringify(route)
  ).sort();
}

labTest(
  "default routes come and go with a reload, each family by itself, with all that belongs to them",
  async () => {
    await using site = await TunnelSite.start("wireguard-go");
    const before = await site.state();
    const process = await site.up();
    await site.isUp();
    const full = await site.state();

    const { code, stderr } = await site.wirestack("reload", "wg0");
    assert.equal(code, 2);
    assert.match(
      stderr,
      /permission denied.*\n.* the user nobody by now: .* wirestack reload FILE /,
    );
    await reload(site, `0.0.0.0/0, ${NARROW}`);
    const half = await site.state();
    assert.deepEqual(half.rule, full.rule);
    assert.deepEqual(half.rule6, before.rule6);
    assert.equal(await site.seenAs(PUBLIC[0]), SERVER[0]);
    assert.equal(await site.seenAs(PUBLIC[1]), CLIENT[1], "IPv6 goes as it went before");

    await reload(site, NARROW);
    const none = await site.state();
    assert.deepEqual(part(none), part(before));
    assert.equal(await site.seenAs(PUBLIC[0]), CLIENT[0]);
    assert.match(await site.client.output(["ip", "route", "get", "10.77.0.1"]), / dev wg0 /);

    await reload(site, FULL);
    await site.isUp();
    const again = await site.state();
    assert.deepEqual(part(again), part(full));
    assert.deepEqual(routes(again), routes(full));
    assert.equal(await site.seenAs(PUBLIC[0]), SERVER[0]);
    assert.equal(await site.seenAs(PUBLIC[1]), SERVER[1]);
    await site.elsewhere(() => site.carries("the endpoint's packets have the mark"));

    await site.kill(process);
    const down = await site.wirestack("down", "wg0");
    assert.match(down.stdout, /^wg0: down, 6 steps of a process that had ended taken back$/m);
    assert.deepEqual(await site.state(), before);
  },
  PROGRAMS,
);

labTest(
  "a default route that comes later carries everything, and a kill switch holds before and after it",
  async () => {
    await using site = await TunnelSite.start("wireguard-go");
    const before = await site.state();
    const process = await site.up(["KillSwitch = true"], { allowedIps: NARROW });
    const narrow = await site.state();
    for (const address of PUBLIC) assert.equal(await site.seenAs(address, 3), undefined);

    await reload(site, FULL);
    await site.isUp();
    assert.equal(await site.seenAs(PUBLIC[0]), SERVER[0]);
    assert.equal(await site.seenAs(PUBLIC[1]), SERVER[1]);

    await reload(site, NARROW);
    assert.deepEqual(part(await site.state()), part(narrow));
    for (const address of PUBLIC) assert.equal(await site.seenAs(address, 3), undefined);

    await reload(site, FULL);
    await site.carries("it carries again");
    process.signal("SIGTERM");
    assert.equal((await process.exit()).code, 0, `${process}`);
    assert.deepEqual(await site.state(), before);
  },
  PROGRAMS,
);
