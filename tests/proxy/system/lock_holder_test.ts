/**
 * Who holds a state file locked.
 *
 * @module
 */

import assert from "node:assert/strict";
import { LinuxSystem } from "../../../ffi/mod.ts";
import { holdsLock } from "../../../proxy/system/lock_holder.ts";
import { findStates, StateFile } from "../../../proxy/system/state_file.ts";
import { ownNamespace } from "../../../proxy/system/namespace.ts";

Deno.test("the process that holds the file is told from any other", () => {
  const locks = "1: POSIX  ADVISORY  WRITE 7 00:1b:42 0 EOF\n" +
    "2: FLOCK  ADVISORY  READ 8 00:1b:42 0 EOF\n" +
    "3: FLOCK  ADVISORY  WRITE 9 00:1b:42 0 EOF\n3: -> FLOCK  ADVISORY  WRITE 10 00:1b:42 0 EOF\n" +
    "4: FLOCK  ADVISORY  WRITE 11 00:1b:421 0 EOF\n";
  assert.deepEqual([7, 8, 9, 10, 11, 0, -1, 1].filter((pid) => holdsLock(locks, pid, 42)), [9]);
});

Deno.test("this process holds its own state file, and nobody else does", () => {
  const path = Deno.makeTempDirSync();
  Deno.chmodSync(path, 0o755);
  using system = new LinuxSystem();
  try {
    const record = { device: "wg0", pid: Deno.pid, namespace: ownNamespace() };
    using _state = StateFile.create(record, path);
    const { ino } = Deno.statSync(findStates(path)[0]!.path);
    const locks = system.readText("/proc/locks")!;
    assert.ok(holdsLock(locks, Deno.pid, ino!));
    assert.ok(!holdsLock(locks, 1, ino!));
  } finally {
    Deno.removeSync(path, { recursive: true });
  }
});
