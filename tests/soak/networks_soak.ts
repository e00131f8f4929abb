/**
 * What goes wrong in networks that are joined for a whole minute: the same as tests/e2e/networks_test.ts
 * has for 20 s. Some three minutes.
 *
 * @module
 */

import assert from "node:assert/strict";
import { labTest } from "../e2e/lab.ts";
import { NetworksSite, SHARED, SINGLE } from "../e2e/networks_site.ts";

const CUT_MS = 60_000;
/** Once the line is there again. Of docs/networks.md, as in the shorter test. */
const LIMIT_MS = 5_000;

labTest("an agent's line is cut for a minute: both its networks go on without a hand", async () => {
  await using site = await NetworksSite.start("wireguard-go");
  assert.equal(await site.answers(SINGLE), "target 2");
  assert.equal(await site.answers(SHARED), "target 1");
  const [shared, single] = [await site.ping(SHARED), await site.ping(SINGLE)];
  // The second agent alone has the one network, and is the twin of the other's.
  const [, agent] = site.agentHosts;
  const cut = async () => {
    await agent!.ip("link set wan down");
    await new Promise((resolve) => setTimeout(resolve, CUT_MS));
    await agent!.ip("link set wan up", "route add default via 10.77.0.1");
  };
  let pause = await single.pause(cut, 90_000) - CUT_MS;
  console.log(`pause, a minute, mended: ${pause} ms`);
  assert.ok(pause < LIMIT_MS, `${pause} ms after the line was there, at most ${LIMIT_MS}`);
  assert.equal(await site.answers(SINGLE), "target 2");

  // Whose twin is there goes on by that, and comes back when it is there to stay.
  const [first] = site.agentHosts;
  pause = await shared.pause(async () => {
    await first!.ip("link set wan down");
    await new Promise((resolve) => setTimeout(resolve, CUT_MS));
  }, 90_000);
  console.log(`pause, a minute, with a twin: ${pause} ms`);
  assert.ok(pause < LIMIT_MS, `${pause} ms, at most ${LIMIT_MS}`);
  assert.equal(await site.answers(SHARED), "target 2");
  pause = await shared.pause(async () => {
    await first!.ip("link set wan up", "route add default via 10.77.0.1");
    const line = /100\.64\.1\.0\/24: site-a has it again, not site-b/;
    await site.hub.process.line(line, { timeoutMs: 90_000 });
  });
  console.log(`pause, the first is back: ${pause} ms`);
  assert.ok(pause < LIMIT_MS, `${pause} ms, at most ${LIMIT_MS}`);
  assert.equal(await site.answers(SHARED), "target 1");
}, ["ping", "curl"]);
