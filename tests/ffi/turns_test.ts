import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { Turns } from "../../ffi/turns.ts";
import { eventually } from "../e2e/lab.ts";
import { TextLineStream } from "../e2e/text_lines.ts";

const PROGRAM = fileURLToPath(new URL("turns_process.ts", import.meta.url));
const MESSAGES = 20;

/** A process that may wait in place; this one sends. */
class Lab implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly sender = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  sent = 0;

  constructor(...args: string[]) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--allow-all", PROGRAM, ...args],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#lines = this.#child.stdout.pipeThrough(new TextLineStream()).getReader();
  }

  async line() {
    return JSON.parse((await this.#lines.read()).value!);
  }

  /** Sends `count` datagrams, one in about `gapMs`. */
  async send(port: number, count: number, gapMs: number): Promise<void> {
    for (const end = this.sent + count; this.sent < end; this.sent++) {
      await this.sender.send(Uint8Array.of(1), { transport: "udp", hostname: "127.0.0.1", port });
      await new Promise((resolve) => setTimeout(resolve, gapMs));
    }
  }

  /** @returns what the process has seen. */
  async end() {
    await this.#child.stdin.close();
    return await this.line();
  }

  async [Symbol.asyncDispose]() {
    this.sender.close();
    await this.#lines.cancel();
    try {
      this.#child.kill();
    } catch { // it has ended
    }
    await this.#child.status;
  }
}

Deno.test({
  name:
    "a thread that waits in place loses nothing, keeps the order, and leaves the runtime its turns",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using lab = new Lab();
    const { begun, udp, tcp } = await lab.line();
    assert.equal(begun, true);
    const sending = lab.send(udp, 1_600, 2);
    // The runtime's own socket is answered while datagrams come.
    using connection = await Deno.connect({ hostname: "127.0.0.1", port: tcp });
    const answer = new Uint8Array(1);
    for (let i = 0; i < MESSAGES; i++) {
      await connection.write(Uint8Array.of(i));
      assert.equal(await connection.read(answer), 1);
      assert.equal(answer[0], i);
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
    await sending;
    // After a rest, and alone.
    await new Promise((resolve) => setTimeout(resolve, 100));
    await lab.send(udp, 3, 100);
    const seen = await lab.end();
    assert.deepEqual(
      [seen.datagrams, seen.called, seen.inOrder, seen.queued],
      [lab.sent, lab.sent, true, lab.sent],
    );
    // Of 1,600; less where others have the processor, and what was sent meanwhile comes at once.
    assert.ok(seen.inPlace > 100, `it waited in place ${seen.inPlace} times`);
    assert.ok(seen.timers > 50, `${seen.timers} timers, the latest ${seen.latestMs} ms late`);
  },
});

Deno.test({
  name: "what comes without a pause does not keep the runtime's own sockets waiting",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using lab = new Lab("flood");
    const { tcp } = await lab.line();
    using connection = await Deno.connect({ hostname: "127.0.0.1", port: tcp });
    const answer = new Uint8Array(1);
    const times: number[] = [];
    for (let i = 0; i < MESSAGES; i++) {
      const start = performance.now();
      await connection.write(Uint8Array.of(i));
      assert.equal(await connection.read(answer), 1);
      times.push(performance.now() - start);
    }
    const median = times.sort((a, b) => a - b)[MESSAGES / 2]!;
    // It was 560 to 600, sixty turns of 10 ms, before the runtime's turn was seen to.
    assert.ok(median < 200, `an answer takes ${median} ms`);
  },
});

Deno.test("without a beginning nothing is waited for, and what is to be done soon is, in order", async () => {
  const turns = new Turns();
  const waiting = { fd: 0, isWaiting: true, wake() {}, arm() {} };
  assert.equal(turns.add(waiting), -1);
  const seen: number[] = [];
  turns.soon(() => {
    seen.push(1);
    turns.soon(() => seen.push(4));
  });
  turns.soon(() => seen.push(2));
  turns.soon(() => seen.push(3));
  await eventually("all", () => seen.length === 4);
  assert.deepEqual(seen, [1, 2, 3, 4]);
});

Deno.test("however much is to be done, and always something, it is done in its order", async () => {
  const turns = new Turns();
  const seen: number[] = [];
  const expected: number[] = [];
  // Two that ask again before they are over, so that the queue is never empty.
  const ask = (who: number, left: number) =>
    turns.soon(() => {
      if (left > 0) ask(who, left - 1);
      seen.push(who);
    });
  for (const who of [1, 2, 3]) ask(who, 500);
  for (let i = 0; i <= 500; i++) expected.push(1, 2, 3);
  await eventually("all", () => seen.length === expected.length);
  assert.deepEqual(seen, expected);
});
