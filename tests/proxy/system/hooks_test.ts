/**
 * Commands of a configuration, as real programs: their limits, and who ends them.
 *
 * @module
 */

import assert from "node:assert/strict";
import { LinuxSystem } from "../../../ffi/mod.ts";
import { type HookName, Hooks } from "../../../proxy/system/hooks.ts";
import { until } from "../until.ts";

/** Of what is waited for. */
const LIMIT_MS = 10_000;
const LIMITS = { preUp: 60_000, postUp: 60_000, preDown: 60_000, postDown: 60_000 };

/** Hooks that write into a file, `$F` in their lines. */
async function withHooks(
  lines: Partial<Record<HookName, string[]>>,
  run: (hooks: Hooks, text: () => string) => Promise<void>,
  limitsMs: Partial<Record<HookName, number>> = {},
): Promise<void> {
  const file = await Deno.makeTempFile();
  using system = new LinuxSystem();
  const all = { preUp: [], postUp: [], preDown: [], postDown: [], ...lines };
  const hooks = new Hooks({
    device: "wg0",
    lines: Object.fromEntries(
      Object.entries(all).map(([name, lines]) => [
        name,
        lines.map((line) => line.replaceAll("$F", file)),
      ]),
    ) as typeof all,
    label: (which, index) => `${which} ${index}`,
    signal: (group, signal) => system.signalGroup(group, signal),
    limitsMs: { ...LIMITS, ...limitsMs },
  });
  try {
    await run(hooks, () => Deno.readTextFileSync(file));
  } finally {
    hooks.kill();
    await Deno.remove(file);
  }
}

/** Says its own number, and that of a program it has started, and hangs. */
const HANGS = 'sleep 600 & echo "$$ $!" >> $F; wait';

function isRunning(text: () => string): Promise<void> {
  return until(() => text() !== "", "the hook runs", LIMIT_MS);
}

async function isGone(text: string): Promise<void> {
  for (const pid of text.trim().split(" ")) {
    const hasEnded = () => {
      try {
        return /^State:\tZ/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
      } catch {
        return true;
      }
    };
    await until(hasEnded, `process ${pid} has ended`, LIMIT_MS);
  }
}

Deno.test("a hook has the device's name for %i, and its status counts", () =>
  withHooks(
    { preUp: ['echo "%i-%i" > $F'], postUp: ["exit 7", "echo no > $F"] },
    async (hooks, text) => {
      await hooks.up("preUp");
      await assert.rejects(hooks.up("postUp"), {
        name: "SystemTunnelError",
        message: "postUp 0: ended with status 7, expected 0",
      });
      assert.equal(text(), "wg0-wg0\n");
    },
  ));

Deno.test("on the way down one that fails does not keep the next from running", () =>
  withHooks({ preDown: ["exit 7", "echo next > $F"] }, async (hooks, text) => {
    await hooks.down("preDown");
    assert.equal(text(), "next\n");
  }));

Deno.test("all lines of a kind have one limit, and what runs then is ended with what it has started", () =>
  withHooks({ preUp: ["sleep 0.1", HANGS, "echo never >> $F"] }, async (hooks, text) => {
    await assert.rejects(hooks.up("preUp"), {
      message: "preUp 1: not done within 0.5 s, and ended",
    });
    await isGone(text());
  }, { preUp: 500 }));

Deno.test("what does not heed SIGTERM is killed a second later", () =>
  withHooks({ preDown: ["trap '' TERM; sleep 600"] }, async (hooks) => {
    await hooks.down("preDown");
  }, { preDown: 200 }));

Deno.test("a signal ends a hook of the way up, and none begins after it", () =>
  withHooks({ preUp: [HANGS], postUp: ["echo never >> $F"] }, async (hooks, text) => {
    const up = hooks.up("preUp");
    await isRunning(text);
    hooks.interrupt();
    await assert.rejects(up, { message: "preUp 0: ended by a signal" });
    await assert.rejects(hooks.up("postUp"), {
      message: "postUp 0: not run, for a signal has come",
    });
    await isGone(text());
  }));

Deno.test("the signal that asks for the end leaves the hooks of the way down, another ends the one that runs", () =>
  withHooks({ preDown: [HANGS], postDown: ["echo after > $F"] }, async (hooks, text) => {
    hooks.interrupt();
    const down = hooks.down("preDown");
    await isRunning(text);
    const pids = text();
    hooks.interrupt();
    await down;
    await isGone(pids);
    await hooks.down("postDown");
    assert.equal(text(), "after\n");
  }));

Deno.test("a program that exits leaves no hook behind", () =>
  withHooks({ preDown: [HANGS] }, async (hooks, text) => {
    const down = hooks.down("preDown");
    await isRunning(text);
    hooks.kill();
    await down;
    await isGone(text());
  }));
