/**
 * What `show` says of tunnels that were killed.
 *
 * @module
 */

import assert from "node:assert/strict";
import { leftBehind } from "../../../proxy/cli/left_behind.ts";
import { ownNamespace } from "../../../proxy/system/namespace.ts";
import { runHere } from "./run_here.ts";
import { StateFile } from "../../../proxy/system/state_file.ts";

Deno.test({
  name: "a tunnel that was killed is named while something of it is left, one that runs is not",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const folder = await Deno.makeTempDir();
    const namespace = ownNamespace();
    const begin = (device: string, table: string, inode = namespace.inode) => {
      const record = {
        device,
        gateway: `of-${device}`,
        pid: 1,
        namespace: { ...namespace, inode },
      };
      const state = StateFile.create(record, folder);
      state.begin("a table", { kind: "nft-table", family: "inet", table });
      return state;
    };
    try {
      assert.deepEqual(leftBehind(undefined, folder), []);
      const killed = begin("wg0", "wirestack-kill-wg0");
      begin("wg1", "wirestack-wg1")[Symbol.dispose]();
      begin("wg2", "wirestack-wg2", namespace.inode + 1)[Symbol.dispose]();
      const other = "wg1: was killed, and not all was taken back, expected wirestack down wg1";
      assert.deepEqual(leftBehind(undefined, folder), [other], "wg0 runs, wg2 is elsewhere");
      killed[Symbol.dispose]();
      const line =
        "wg0: was killed, and its kill switch is there still, expected wirestack down wg0";
      assert.deepEqual(leftBehind(undefined, folder), [line, other]);
      assert.deepEqual(leftBehind("of-wg0", folder), [line]);
      assert.deepEqual(leftBehind("/etc/wireguard/wg1.conf", folder), [other]);
      assert.deepEqual(leftBehind("wg3", folder), []);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test("show keeps the calls that take it, which no other command that only asks does", async () => {
  const givenUp: string[] = [];
  const terminal = (command: string) => ({ giveUpFfi: () => void givenUp.push(command) });
  const none = ["--control-dir", "/nonexistent"];
  await runHere(["show", ...none], "", terminal("show"));
  await runHere(["show", "flows", ...none], "", terminal("show flows"));
  await runHere(["reload", ...none], "", terminal("reload"));
  assert.deepEqual(givenUp, ["show flows", "reload"]);
});
