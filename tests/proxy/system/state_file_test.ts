/**
 * The state file: what a process leaves behind, however it ends.
 *
 * @module
 */

import assert from "node:assert/strict";
import fc from "fast-check";
import { runningNow } from "../../../proxy/system/leftovers.ts";
import { ownNamespace } from "../../../proxy/system/namespace.ts";
import {
  findStates,
  forget,
  StateFile,
  type TunnelRecord,
} from "../../../proxy/system/state_file.ts";
import { StateLines, type WrittenFile } from "../../../proxy/system/state_lines.ts";
import type { Undo } from "../../../proxy/system/step.ts";
import { alone } from "../../alone.ts";

const RULE: Undo = {
  kind: "rule",
  family: 4,
  priority: 32764,
  table: 254,
  suppressPrefixLength: 0,
};
const TABLE: Undo = { kind: "nft-table", family: "inet", table: "wirestack-wg0" };

Deno.test("steps are found in their order after the process is gone, without those taken back", () => {
  using lab = new Folder();
  {
    using state = StateFile.create(lab.record, lab.path);
    state.begin("rule", RULE);
    state.begin("table", TABLE);
    state.undone(0);
    state.begin("rule again", RULE);
    const [found] = findStates(lab.path);
    assert.equal(found!.isRunning, true);
  }
  const [found, ...others] = findStates(lab.path);
  assert.deepEqual(others, []);
  assert.deepEqual(found!.record, lab.record);
  assert.deepEqual(found!.steps, [
    { index: 1, title: "table", undo: TABLE },
    { index: 2, title: "rule again", undo: RULE },
  ]);
  assert.equal(found!.isRunning, false);
});

Deno.test("a second process does not get the file of one that runs, and is told which it is", () => {
  using lab = new Folder();
  using _state = StateFile.create(lab.record, lab.path);
  assert.throws(() => StateFile.create(lab.record, lab.path), {
    name: "SystemTunnelError",
    message: `wg0: runs already (process ${Deno.pid}), expected wirestack down wg0 first`,
  });
  assert.throws(() => StateFile.take(findStates(lab.path)[0]!), /runs already/);
});

Deno.test("what is left behind is taken over before another can begin", () => {
  using lab = new Folder();
  {
    using state = StateFile.create(lab.record, lab.path);
    state.begin("table", TABLE);
  }
  assert.throws(() => StateFile.create(lab.record, lab.path), /has not been taken back/);
  const [found] = findStates(lab.path);
  {
    using taken = StateFile.take(found!);
    taken.undone(0);
    taken.remove();
  }
  assert.deepEqual(findStates(lab.path), []);
  StateFile.create(lab.record, lab.path).remove();
});

Deno.test("devices of one name in two namespaces have a file each", () => {
  using lab = new Folder();
  const other = { ...lab.record, namespace: { ...lab.record.namespace, inode: 1, cookie: "2" } };
  using a = StateFile.create(lab.record, lab.path);
  using b = StateFile.create(other, lab.path);
  assert.notEqual(a.path, b.path);
  assert.equal(findStates(lab.path).length, 2);
});

Deno.test("a file cut off anywhere gives the steps that stand in it whole", () => {
  using lab = new Folder();
  const path = (() => {
    using state = StateFile.create(lab.record, lab.path);
    for (const undo of [RULE, TABLE, RULE]) state.begin("step", undo);
    return state.path;
  })();
  const whole = Deno.readTextFileSync(path);
  fc.assert(fc.property(fc.nat(whole.length), (length) => {
    const text = whole.slice(0, length);
    Deno.writeTextFileSync(path, text);
    const found = findStates(lab.path)[0];
    const expected = text.split("\n").filter((line) => {
      try {
        return "step" in JSON.parse(line);
      } catch {
        return false;
      }
    }).length;
    assert.equal(found?.steps.length ?? 0, expected);
    // And what is begun from there on is not lost in the line that was cut off.
    if (found === undefined) return;
    using state = StateFile.take(found);
    state.begin("later", TABLE);
    assert.equal(findStates(lab.path)[0]!.steps.length, expected + 1);
  }));
});

Deno.test("a tunnel that changes again and again has a file that stays short, and begins no number twice", () => {
  using lab = new Folder();
  const path = (() => {
    using state = StateFile.create(lab.record, lab.path);
    state.begin("the first", TABLE);
    let last = state.begin("rule", RULE);
    let longest = 0;
    for (let i = 0; i < 5_000; i++) {
      // What is missing is made before what is too much is taken away.
      const next = state.begin("rule", RULE);
      assert.ok(next > last);
      state.undone(last);
      last = next;
      if (i % 50 === 0) longest = Math.max(longest, Deno.statSync(state.path).size);
    }
    assert.ok(longest < 70_000, `${longest} bytes`);
    return state.path;
  })();
  const [found] = findStates(lab.path);
  assert.deepEqual([found!.path, found!.record], [path, lab.record]);
  assert.deepEqual(found!.steps.map(({ index, title }) => [index, title]), [
    [0, "the first"],
    [5_001, "rule"],
  ]);
  assert.deepEqual(found!.problems, []);
});

Deno.test("a process that is killed while it makes its file shorter leaves what it has begun", () => {
  using lab = new Folder();
  const path = (() => {
    using state = StateFile.create(lab.record, lab.path);
    return state.path;
  })();
  const image = new Image(Deno.readFileSync(path));
  const lines = new StateLines(image, { wirestack: 1, ...lab.record });
  const live = new Map<number, string>();
  const begin = (step: number, undo: Undo) => {
    live.set(step, `step ${step}`);
    lines.begin(step, { step, title: `step ${step}`, undo });
  };
  const end = (step: number) => {
    live.delete(step);
    lines.end(step, { undone: step });
  };
  begin(0, TABLE);
  begin(1, RULE);
  for (let step = 2; image.cut === Infinity || image.bytes.length > 65_000; step++) {
    begin(step, step % 2 === 0 ? RULE : TABLE);
    // At last whatever is written is cut wherever it may be.
    if (image.bytes.length > 65_300) image.cut = 251;
    if (step > 3) end(step);
    assert.ok(step < 1_000, "it is made shorter");
  }
  assert.ok(image.moments.length > 250, `${image.moments.length}`);
  for (const moment of [...image.moments, image.bytes]) {
    Deno.writeFileSync(path, moment);
    const [found] = findStates(lab.path);
    assert.deepEqual(found!.record, lab.record);
    // The last to end may be there still: its end is not written yet.
    const steps = found!.steps.filter(({ index }) => live.has(index));
    assert.deepEqual(steps.map(({ title }) => title), [...live.values()]);
    assert.ok(found!.steps.length <= live.size + 1);
    using state = StateFile.take(found!);
    assert.ok(state.begin("later", TABLE) > 3);
  }
});

Deno.test("a record that names anything but what is ours is passed over", () => {
  using lab = new Folder();
  const path = (() => {
    using state = StateFile.create(lab.record, lab.path);
    return state.path;
  })();
  const undos = [
    { kind: "nft-table", family: "inet", table: "filter" },
    { kind: "nft-table", family: "inet", table: 'wirestack-a"; flush ruleset' },
    { kind: "nft-rule", family: "ip", table: "filter", chain: "FORWARD", comment: "docker" },
    { kind: "sysctl", key: "kernel.core_pattern", value: "a", before: "b" },
    { kind: "sysctl", key: "net.//.kernel.core_pattern", value: "a", before: "b" },
    { kind: "dns", method: "file", device: "../../etc" },
    { kind: "rule", family: 5, table: 1, priority: 1 },
    { kind: "program", path: "/bin/sh" },
    null,
  ];
  const lines = undos.map((undo, step) => JSON.stringify({ step, title: "forged", undo }));
  Deno.writeTextFileSync(path, `${lines.join("\n")}\n`, { append: true });
  const [found] = findStates(lab.path);
  assert.deepEqual(found!.steps, []);
  assert.equal(found!.problems.length, undos.length);
});

Deno.test("lines that are JSON and no objects are passed over", () => {
  using lab = new Folder();
  const path = (() => {
    using state = StateFile.create(lab.record, lab.path);
    state.begin("table", TABLE);
    return state.path;
  })();
  Deno.writeTextFileSync(path, 'null\n7\n"text"\n', { append: true });
  const [found] = findStates(lab.path);
  assert.equal(found!.steps.length, 1);
  assert.equal(found!.problems.length, 3);
});

Deno.test("one that has lost its first line says what is to be done by hand", () => {
  using lab = new Folder();
  const path = (() => {
    using state = StateFile.create(lab.record, lab.path);
    state.begin("nft: the kill switch", TABLE);
    return state.path;
  })();
  const lines = Deno.readTextFileSync(path).split("\n");
  Deno.writeTextFileSync(
    path,
    lines.map((line) => line.includes('wirestack":1') ? "#" : line).join("\n"),
  );
  assert.throws(() => StateFile.create(lab.record, lab.path), /by hand.*: nft: the kill switch$/);
});

Deno.test("a folder that others may write to is refused", () => {
  using lab = new Folder();
  Deno.chmodSync(lab.path, 0o777);
  assert.throws(() => StateFile.create(lab.record, lab.path), /mode 777, expected/);
});

Deno.test("who becomes another user can read both later, whatever the umask is", (t) =>
  alone(t, () => {
    using lab = new Folder();
    const mode = (path: string) => Deno.statSync(path).mode! & 0o777;
    Deno.umask(0o077);
    const directory = `${lab.path}/new`;
    using state = StateFile.create(lab.record, directory);
    assert.deepEqual([mode(directory), mode(state.path)], [0o755, 0o644]);
    return Promise.resolve();
  }));

Deno.test("one that may not be read is an error with its path, and what runs beside is what ran before", () => {
  using lab = new Folder();
  using _state = StateFile.create(lab.record, lab.path);
  const { namespace } = lab.record;
  const known = findStates(lab.path);
  const running = () => runningNow(lab.path, known, namespace, "wg1").map((s) => s.record.device);
  assert.deepEqual(running(), ["wg0"]);
  Deno.symlinkSync("loop.state", `${lab.path}/loop.state`); // root may read all that can be read
  assert.throws(() => findStates(lab.path), {
    name: "SystemTunnelError",
    message: /loop\.state: /,
  });
  assert.deepEqual(running(), ["wg0"]);
});

Deno.test("an emptied file says nothing, as one that could not be removed", () => {
  using lab = new Folder();
  const path = (() => {
    using state = StateFile.create(lab.record, lab.path);
    return state.path;
  })();
  Deno.truncateSync(path);
  assert.deepEqual(findStates(lab.path), []);
  StateFile.create(lab.record, lab.path)[Symbol.dispose]();
  forget(findStates(lab.path)[0]!);
  assert.deepEqual(findStates(lab.path), []);
});

Deno.test("this process's namespace is told by its inode, its cookie and the machine's start", () => {
  const { inode, boot } = ownNamespace();
  assert.ok(inode > 0);
  assert.match(boot, /^[0-9a-f-]{36}$/);
});

/** A file in memory, and what it was between any two of its changes. */
class Image implements WrittenFile {
  bytes: Uint8Array;
  readonly moments: Uint8Array[] = [];
  /** Most bytes of a write. */
  cut = Infinity;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  writeSync(bytes: Uint8Array): number {
    const length = Math.min(bytes.length, this.cut);
    const next = new Uint8Array(Math.max(this.bytes.length, this.#at + length));
    next.set(this.bytes);
    next.set(bytes.subarray(0, length), this.#at);
    this.#at += length;
    this.#become(next);
    return length;
  }

  seekSync(offset: number, whence: Deno.SeekMode): number {
    return this.#at = whence === Deno.SeekMode.End ? this.bytes.length + offset : offset;
  }

  truncateSync(length: number): void {
    this.#become(this.bytes.slice(0, length));
  }

  #become(next: Uint8Array): void {
    if (this.cut < Infinity) this.moments.push(this.bytes);
    this.bytes = next;
  }
}

class Folder implements Disposable {
  readonly path = Deno.makeTempDirSync();
  readonly record: TunnelRecord = {
    device: "wg0",
    gateway: "home",
    pid: Deno.pid,
    namespace: ownNamespace(),
  };

  constructor() {
    Deno.chmodSync(this.path, 0o755);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}
