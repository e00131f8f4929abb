/**
 * `wirestack up --tun` with everything in the tunnel while UDP to the hub is dropped: the connection that
 * carries the tunnel then goes around it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { block, PORTS, relay, type Transport } from "./fallback_site.ts";
import { eventually, labTest } from "./lab.ts";
import { FILE_BYTES, fileHash, hashOf } from "./tunnel_services.ts";
import { LINKS, PUBLIC, SERVER, SERVER_PORT, TunnelSite } from "./tunnel_site.ts";

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

/** The hub listens at the first of both addresses alone. */
async function name(site: TunnelSite, isFound: boolean): Promise<void> {
  const hub = isFound ? SERVER.map((address) => `${address} ${HUB}\n`) : [];
  await site.client.etc("hosts", `127.0.0.1 localhost\n${hub.join("")}`);
}

/** Whether a program of the client's gets a connection to the hub. */
async function reaches(site: TunnelSite, port: number): Promise<boolean> {
  const command = ["timeout", "3", "bash", "-c", `echo > /dev/tcp/${SERVER[0]}/${port}`];
  return (await site.client.run(command)).code === 0;
}

/** Fetches half a megabyte each 50 ms until a file is there, and the rest as fast as it comes. */
const DOWNLOAD = `
import os, sys, time, urllib.request
url, file, go = sys.argv[1:]
with urllib.request.urlopen(url) as body, open(file, "wb", 0) as out:
    while part := body.read(500_000):
        out.write(part)
        if out.tell() < 50_000_000 and not os.path.exists(go): time.sleep(0.05)
        while out.tell() >= 50_000_000 and not os.path.exists(go): time.sleep(0.05)
`;

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
    assert.equal((await process.exit()).code, 0, `${process}`);
    assert.deepEqual(await site.state(), before);
  }, PROGRAMS);
}

for (const lines of [[], ["KillSwitch = true"]]) {
  const title = lines[0] ?? "without a kill switch";

  labTest(
    `UDP is dropped during a download, and the uplink changes: it goes on, ${title}`,
    async () => {
      await using site = await start("tls");
      await name(site, true);
      const before = await site.state();
      const process = await site.up([...lines]);
      await site.isUp();
      const file = `${site.lab.directory}/file`;
      const go = `${site.lab.directory}/go`;
      const url = `http://${PUBLIC[0]}:8000/file`;
      const download = site.client.spawn("download", ["python3", "-c", DOWNLOAD, url, file, go]);
      const size = () => Deno.stat(file).then(({ size }) => size, () => 0);
      const goesOn = async () => {
        const from = await size();
        await eventually("more of it", async () => await size() > from + 2e6);
      };
      await goesOn();
      const from = process.lines.length;
      await block(site.router, true);
      await process.line(/by tls now/, { from });
      await goesOn();
      assert.ok(await size() < FILE_BYTES, "it was under way");
      await Deno.writeTextFile(go, "");
      assert.equal((await download.exit(120_000)).code, 0);
      assert.equal(hashOf(await Deno.readFile(file)), fileHash());
      await site.elsewhere(() => site.carries("the tunnel goes on", 60_000));
      process.signal("SIGTERM");
      assert.equal((await process.exit()).code, 0, `${process}`);
      assert.deepEqual(await site.state(), before);
    },
    PROGRAMS,
  );
}

labTest(
  "the kill switch lets the fallback through and nothing beside it, also after a crash",
  async () => {
    await using site = await start("tls");
    await block(site.router, true);
    await name(site, true);
    const other = site.server.spawn("other", ["python3", "-m", "http.server", "9000"]);
    await eventually("a second service", () => reaches(site, 9000));
    const before = await site.state();
    const process = await site.up(["KillSwitch = true"]);
    await site.isUp();
    const isHeld = async () => {
      await eventually("a connection of the fallback's", () => reaches(site, PORTS.tls));
      assert.equal(await reaches(site, 9000), false, "another port of that host");
    };
    await isHeld();
    await site.kill(process);
    await isHeld();
    for (const address of PUBLIC) assert.equal(await site.seenAs(address, 3), undefined);
    const again = await site.up(["KillSwitch = true"]);
    await again.line(/: \d+ steps of an earlier wg0 taken back$/);
    await site.isUp();
    await site.kill(again);
    const down = await site.wirestack("down", "wg0");
    assert.equal(down.code, 0, down.stderr);
    await eventually("all of that host", () => reaches(site, 9000));
    assert.deepEqual(await site.state(), before);
    other.signal("SIGTERM");
    await other.exit();
  },
  PROGRAMS,
);

labTest(
  "what goes around the tunnel follows the name, and the file, when it is another user's",
  async () => {
    await using site = await start("tls");
    await name(site, true);
    const before = await site.state();
    const process = await site.up(["KillSwitch = true"]);
    await site.isUp();
    const around = async () => {
      const rules = await site.client.output(["ip", "rule"]);
      const set = await site.client.output([
        ...["nft", "list", "set", "inet", "wirestack-kill-wg0", "bypass4"],
      ]);
      return {
        rules: [...rules.matchAll(/to (\S+) lookup main/g)].map(([, to]) => to).sort(),
        set: [...set.matchAll(/([\d.]+) \. (\d+)/g)].map(([, to, port]) => `${to} ${port}`).sort(),
      };
    };
    const isAround = (rules: string[]) =>
      eventually(`${rules} around the tunnel`, async () => {
        const found = await around();
        return `${found.rules}` === `${rules}` &&
          `${found.set}` === `${rules.map((address) => `${address} ${PORTS.tls}`)}`;
      });
    await isAround([SERVER[0]]);
    const moved = `${LINKS.server}.77`;
    await site.client.etc("hosts", `127.0.0.1 localhost\n${moved} ${HUB}\n`);
    await site.reload((text) => text.replace(/^AllowedIPs = .*$/m, "$&, 10.77.0.0/16"));
    await isAround([SERVER[0], moved]);
    await site.reload((text) =>
      text.replace(/^(Fallback|Cert|Key|Ca) = .*$\n/mg, "").replace(", 10.77.0.0/16", "")
    );
    await isAround([]);
    process.signal("SIGTERM");
    assert.equal((await process.exit()).code, 0, `${process}`);
    assert.deepEqual(await site.state(), before);
  },
  PROGRAMS,
);
