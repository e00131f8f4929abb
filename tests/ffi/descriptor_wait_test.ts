import assert from "node:assert/strict";
import { openLibc } from "../../ffi/libc.ts";
import { DescriptorWait } from "../../ffi/descriptor_wait.ts";

const CALLS = {
  close: { parameters: ["i32"], result: "i32" },
  pipe2: { parameters: ["buffer", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
} as const;

/** Stands for a device: readable from a write on, until it is read. */
class Descriptor implements Disposable {
  readonly #libc = openLibc(CALLS);
  readonly #byte = new Uint8Array(128);
  readonly fd: number;
  readonly #other: number;

  constructor() {
    const pair = new Int32Array(32);
    this.#libc.symbols.pipe2(new Uint8Array(pair.buffer), 0o4000);
    [this.fd, this.#other] = [pair[0]!, pair[1]!];
  }

  write(): void {
    this.#libc.symbols.write(this.#other, this.#byte, 1n);
  }

  /** @returns whether there was something. */
  read(): boolean {
    return this.#libc.symbols.read(this.fd, this.#byte, 1n) === 1;
  }

  [Symbol.dispose](): void {
    this.#libc.symbols.close(this.fd);
    this.#libc.symbols.close(this.#other);
    this.#libc.close();
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

Deno.test("the runtime's own loop waits, and no wake is lost whenever something comes", async () => {
  using descriptor = new Descriptor();
  const wait = new DescriptorWait(descriptor.fd);
  assert.equal(wait.isOnThread, true);
  await wait.tried;
  assert.equal(wait.isOnThread, false);
  let seen = 0;
  let empty = 0;
  const reading = (async () => {
    while (seen < 300) {
      if (descriptor.read()) seen++;
      else {
        empty++;
        await wait.wait();
      }
    }
  })();
  for (let i = 0; i < 300; i++) {
    for (let turns = i % 4; turns > 0; turns--) await turn();
    descriptor.write();
    while (seen <= i) await turn();
  }
  await reading;
  assert.ok(empty < 700, `${empty} reads for nothing`);
  await wait.close();
});

Deno.test("until that has been tried a thread waits, and gives way", async () => {
  using descriptor = new Descriptor();
  const wait = new DescriptorWait(descriptor.fd);
  const first = wait.wait();
  await wait.tried;
  await first; // ended by the change, so that who waits looks again
  const second = wait.wait();
  descriptor.write();
  await second;
  assert.equal(descriptor.read(), true);
  await wait.close();
});

Deno.test("closing ends a wait, however soon it comes", async () => {
  using descriptor = new Descriptor();
  for (const isTried of [false, true]) {
    const wait = new DescriptorWait(descriptor.fd);
    if (isTried) await wait.tried;
    const waiting = wait.wait();
    await wait.close();
    await waiting;
    await wait.wait();
    await wait.close();
  }
});
