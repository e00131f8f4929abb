/**
 * A tunnel whose commands hang: a signal takes it down all the same.
 *
 * @module
 */

import assert from "node:assert/strict";
import { eventually, labTest } from "./lab.ts";
import { PUBLIC, TunnelSite } from "./tunnel_site.ts";

labTest(
  "SIGTERM ends a command that hangs, and takes back what was done by then",
  async () => {
    await using site = await TunnelSite.start("wireguard-go");
    const before = await site.state();
    const hangs = `sleep 9${Deno.pid}`; // nobody else sleeps so long
    const mark = `${site.lab.directory}/runs`;
    for (const hook of ["PreUp", "PostUp"]) {
      const process = await site.up(
        [`DNS = ${PUBLIC[0]}`, "KillSwitch = true", `${hook} = touch ${mark}; ${hangs}`],
        { isReady: false },
      );
      await eventually(`${hook} runs`, () => Deno.stat(mark).catch(() => undefined));
      await Deno.remove(mark);
      Deno.kill(await site.pid(), "SIGTERM");
      assert.equal((await process.exit()).code, 1, `${process}`);
      await process.line(new RegExp(`: ${hook}: ended by a signal$`));
      assert.deepEqual(await site.state(), before, hook);
      await eventually("the end of the command", async () => {
        return (await site.here(["pgrep", "-f", hangs])).stdout === "";
      });
    }
  },
  ["bash"],
);
