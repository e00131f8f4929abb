/**
 * What a tunnel takes for the state of this host before any of ours.
 *
 * @module
 */

import assert from "node:assert/strict";
import { originalValue, recordedBeside, runningBeside } from "../../../proxy/system/look.ts";
import type { FoundState } from "../../../proxy/system/state_file.ts";

const NAMESPACE = { inode: 1, boot: "b" };

function state(device: string, isRunning: boolean, ...changes: [string, string, string][]) {
  const steps = changes.map(([key, value, before], index) => ({
    index,
    title: key,
    undo: { kind: "sysctl" as const, key, value, before },
  }));
  const record = { device, pid: 1, namespace: NAMESPACE };
  return { path: device, record, steps, isRunning, problems: [] } satisfies FoundState;
}

const MARK = "net.ipv4.conf.all.src_valid_mark";

Deno.test("a setting that a killed tunnel has changed is as it was before that one", () => {
  const states = [state("wg0", false, [MARK, "1", "0"]), state("wg1", true)];
  const beside = recordedBeside(states, NAMESPACE, "wg1");
  assert.equal(originalValue(MARK, beside), "0");
  assert.equal(originalValue("net.ipv4.ip_forward", beside), undefined);
  assert.deepEqual(runningBeside(states, NAMESPACE, "wg1"), [], "it needs nothing any more");
});

Deno.test("devices that IPv6's switch for all has put on count as off, but those that were on", () => {
  const key = (device: string) => `net.ipv6.conf.${device}.forwarding`;
  const states = [state("wg0", true, [key("lan"), "0", "1"], [key("all"), "1", "0"])];
  assert.equal(originalValue(key("all"), states), "0");
  assert.equal(originalValue(key("lan"), states), "1");
  assert.equal(originalValue(key("wan"), states), "0");
  const before = [state("wg0", true, [key("all"), "1", "1"])];
  assert.equal(originalValue(key("wan"), before), undefined, "they were as they are");
});
